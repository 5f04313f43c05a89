"""Draws augmentations.png: drawings of one character, and what each augmentation makes of them.

python docs/figures/augmentations.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

import mtnets
from mtnets.files import replacing
from mtnets.tasks.sampling.augmentations import augment_images, augmentations_of

DRAWINGS = 8
ROWS = ("flip", "crop", "rotate", "colour", "erase", "flip, crop, colour, erase")
INK, PAPER = jnp.array([0.1, 0.3, 0.7]), jnp.array([0.9, 0.85, 0.7])  # so that colour can be seen


def main() -> None:
    task = jax.jit(mtnets.tasks.glyphs(ways=2, shots=1, queries=DRAWINGS).test.sample)(jax.random.key(0))
    ink = task.query.x[-DRAWINGS:]
    drawings = ink * INK + (1 - ink) * PAPER
    rows = {"drawings": drawings}
    for number, names in enumerate(ROWS):
        keys, augmentations = jax.random.split(jax.random.key(number), DRAWINGS), augmentations_of(names.split(", "))
        rows[names.replace(", ", ",\n")] = augment_images(augmentations, keys, drawings)
    figure = Figure(figsize=(8, 6.6), layout="constrained")
    for axes, (names, images) in zip(figure.subplots(len(rows), DRAWINGS), rows.items(), strict=True):
        axes[0].set_ylabel(names, rotation=0, ha="right", va="center")
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image, vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
    with replacing(Path(__file__).with_suffix(".png")) as file:
        figure.savefig(file, dpi=80, format="png")


if __name__ == "__main__":
    main()
