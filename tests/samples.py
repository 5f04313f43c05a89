"""Images and tasks that tests are made of."""

import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from mtnets.files import checked, parse_json
from mtnets.inner.task import Distribution, Task


def image(seed: int = 0, size: int | tuple[int, int] = 8, mode: str = "RGB") -> Image.Image:
    """Noise of some mode."""
    width, height = (size, size) if isinstance(size, int) else size
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def log_without_times(run: Path) -> list[dict[str, Any]]:
    """The lines of the log of a run, without what differs between two runs that are the same."""
    lines = [checked(parse_json(line)) for line in (run / "metrics.jsonl").read_bytes().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def draw(distribution: Distribution, tasks: int, seed: int = 0) -> Task:
    """Many tasks at once, drawn inside a compiled program, the distribution its argument."""
    return jax.tree.map(np.asarray, _draw(distribution, jax.random.split(jax.random.key(seed), tasks)))


@jax.jit
def _draw(distribution: Distribution, keys: jax.Array) -> Task:
    return jax.vmap(distribution.sample)(keys)


def arrays(types: Any, max_side: int = 3) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any bits, of up to three axes, some of them numbers (no axis) or empty; of these types."""

    def made(kind: np.dtype, shape: tuple[int, ...], seed: int) -> np.ndarray:
        size = int(np.prod(shape)) * kind.itemsize
        data = np.random.default_rng(seed).bytes(size)
        array = np.ndarray(shape, np.uint8 if kind.name == "bool" else kind, data)
        return array % 2 == 1 if kind.name == "bool" else array

    shapes = st.lists(st.integers(0, max_side), max_size=3).map(tuple)
    return st.builds(made, st.sampled_from(list(types)), shapes, st.integers(0, 2**32 - 1))
