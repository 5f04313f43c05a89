"""Every construct of PyTorch on the page: output, gradient and second derivative are PyTorch's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import wrap

torch = pytest.importorskip("torch", reason="PyTorch modules need mtnets[torch]")

from networks.adapters.torch_constructs import CONSTRUCTS, PAGE, as_kept, with_table  # noqa: E402

EXAMPLES = 4


def in_torch(network, x, probe):
    """Output; gradient of `probe(output)`; gradient of a fixed combination of that gradient."""
    weights = dict(sorted(network.named_parameters()))  # as JAX orders dictionaries
    inputs = [*weights.values(), *([x.requires_grad_()] if x.is_floating_point() else [])]
    kept = lambda gradients: [as_kept(network, n, g) for n, g in zip([*weights, "x"], gradients, strict=False)]  # noqa: E731
    y = network(x)
    first = kept(torch.autograd.grad((probe(y) * y).sum(), inputs, create_graph=True, materialize_grads=True))
    combined = torch.stack([(probe(g) * g).sum() for g in first]).sum()
    if not combined.requires_grad:  # linear in its parameters
        return [a.detach().numpy() for a in (y, *first, *map(torch.zeros_like, first))]
    second = kept(torch.autograd.grad(combined, inputs, materialize_grads=True))
    return [a.detach().numpy() for a in (y, *first, *second)]


def weight_norm(v, g, dim):
    """PyTorch's own has a wrong second derivative (`torch.autograd.gradgradcheck` says so)."""
    return v * (g / torch.linalg.vector_norm(v, dim=[i for i in range(v.ndim) if i != dim], keepdim=True))


def embedding_bag(words, weight, *_, **__):
    """PyTorch's own has no second derivative."""
    return weight[words].mean(1)


def hardsigmoid(x, inplace=False):
    """PyTorch's own has no second derivative."""
    return torch.nn.functional.relu6(x + 3) / 6


def in_jax(model, x, probe):
    """The same, in the same order."""
    params, state = model.init(jax.random.key(0))
    inputs = (params, x) if jnp.issubdtype(x.dtype, jnp.floating) else (params,)

    def output(inputs):
        return model.apply(inputs[0], state, inputs[1] if len(inputs) > 1 else x, None)[0]

    def first(inputs):
        y, back = jax.vjp(output, inputs)
        return y, back(probe(y))[0]

    def combined(inputs):
        y, gradient = first(inputs)
        return sum((probe(g) * g).sum() for g in jax.tree.leaves(gradient)), (y, gradient)

    second, (y, gradient) = jax.jit(jax.grad(combined, has_aux=True))(inputs)
    return [np.asarray(a) for a in jax.tree.leaves((y, gradient, second))]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("construct", CONSTRUCTS, ids=lambda construct: construct.name)
def test_as_in_pytorch(construct, monkeypatch) -> None:
    torch.manual_seed(0)
    network = construct.build().double()
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, *construct.shape))
    if construct.integers:
        x = random.integers(0, 20, x.shape)
    dtype = jnp.int32 if construct.integers else jnp.float64
    norm = "running" if any("BatchNorm" in type(each).__name__ for each in network.modules()) else "none"
    model = wrap(network, construct.shape, norm=norm, input_dtype=dtype)
    numbers = np.cos(np.arange(10_000))  # a fixed direction
    found = in_jax(model, jnp.asarray(x, dtype), lambda a: jnp.asarray(numbers[: a.size].reshape(a.shape)))
    own = network.eval()(torch.tensor(x)).detach().numpy()
    monkeypatch.setattr(torch, "_weight_norm", weight_norm)
    monkeypatch.setattr(torch.nn.functional, "embedding_bag", embedding_bag)
    monkeypatch.setattr(torch.nn.functional, "hardsigmoid", hardsigmoid)
    probe = lambda a: torch.tensor(numbers[: a.numel()]).reshape(a.shape)  # noqa: E731
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the others have no second derivative
        expected = in_torch(network, torch.tensor(x), probe)
    np.testing.assert_allclose(expected[0], own, rtol=1e-10, atol=1e-10)
    leaves = [*sorted(model.init(jax.random.key(0))[0]), *(() if construct.integers else ["x"])]
    names = ["output", *(f"{part} derivative, {leaf}" for part in ("first", "second") for leaf in leaves)]
    for name, ours, theirs in zip(names, found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * max(1, np.abs(theirs).max()), err_msg=name)


def test_the_page_lists_them() -> None:
    assert len(CONSTRUCTS) >= 60
    page = PAGE.read_text("utf-8")
    assert page == with_table(page), "run python tests/networks/adapters/torch_constructs.py"
