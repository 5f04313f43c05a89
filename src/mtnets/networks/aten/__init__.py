"""PyTorch modules as functions of JAX: `torch.export` writes a module as a graph of ATen operations, which run here.

Each file of operations has a table from their names in ATen to functions of JAX with PyTorch's arguments. What has no
entry is decomposed by PyTorch into what has.

Reading order: pointwise, creation, reductions, shapes, indexing, random, linear, convolutions, pooling, normalisation,
recurrent; operations; program; trace.

References:
  PyTorch's core ATen operations, https://docs.pytorch.org/docs/stable/torch.compiler_ir.html.
"""
