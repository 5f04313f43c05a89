"""The same meta-training by other programs, side by side: are they equal, and how fast are they?

`docs/speed.md` says what is compared and how. Reading order: networks, cells, problem, networks_jax, networks_torch,
contender, contenders/, work, worker, harness, table, __main__.
"""
