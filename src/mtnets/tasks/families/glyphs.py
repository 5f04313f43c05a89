"""Characters drawn by a procedure: few-shot classification without a data set, with any number of classes."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.arguments import Seed
from mtnets.inner.task import Task
from mtnets.networks.models import Conv4
from mtnets.precision import full_precision
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.augmented import Where, check_augment, warn_of_flips, with_augment
from mtnets.tasks.sampling.draws import between, check_episode
from mtnets.tasks.sampling.episodes import episode

IMAGES = Images(size=28, channels=1, invert=True)

STROKES, CONTROLS = 3, 5  # at most so many strokes; control points of each
NOISE = STROKES * CONTROLS + 4  # pairs of random numbers in a drawing
POINTS = 36  # points drawn along a stroke: less than a pixel apart on all but the longest
PENS = np.array([1.0, 0.8, 0.5], np.float32)  # how often there is a first, second, third stroke
PEN = 0.6  # half the usual width of a stroke, pixels
BEND = 0.75  # typical turn from one control point of a stroke to the next, radians
STEP = (0.15, 0.5)  # bounds of the distance between control points, before fitting to the frame
FRAME = (0.55, 0.8)  # bounds of a character's longer side, in image sides


@dataclasses.dataclass(frozen=True)
class Glyphs(Options):
    """Characters of one to three curved strokes, 28×28, ink 1 on 0.

    Random strokes make a class, small changes to them make its drawings. A class is a random number, so that there are
    2³² of them in each split; the numbers of a split make characters that no other split has.

    Attributes:
      ways: classes of a task.
      shots: support examples of each class.
      queries: query examples of each class.
      wobble: standard deviation of the control points between two drawings of a class, in image sides.
      slant: standard deviation of the affine map of a drawing (turn in radians, shear, log scale).
      shift: standard deviation of a drawing's place, in image sides.
      class_seed: seed of the set of characters.
      network: the usual network of the family.
      augment: how each training image is changed as it is drawn: crop, rotate, erase, colour(saturation=0), flip,
        one after the other, with options in brackets: 'crop(padding=2)'. Validation and test tasks are never changed.
      augment_where: whether all images of a training task are changed, or those of its query or support set alone.
    """

    family: ClassVar[str] = "glyphs"

    ways: int = 5
    shots: int = 1
    queries: int = 5
    wobble: float = 0.03
    slant: float = 0.12
    shift: float = 0.05
    class_seed: Seed = 0
    network: Conv4 = Conv4()
    augment: tuple[str, ...] = ()
    augment_where: Where = "all"

    def build(self) -> Family:
        """The family.

        Raises:
          OptionError: ways below 2, shots or queries below 1, augmentations that do not exist or mean nothing for ink
            on paper.
        """
        check_episode(self.ways, self.shots, self.queries)
        check_augment(self.augment, self.augment_where)
        warn_of_flips(self.augment)
        train, validation, test = (
            Characters(jax.random.fold_in(jax.random.key(self.class_seed), split), self) for split in range(3)
        )
        recipe = Recipe(inner_lr=2.0, inner_steps=1, meta_batch=32, meta_steps=10_000)
        family = Family(
            train, validation, test, "cross-entropy", recipe,
            lambda: self.network.build(self.ways, IMAGES.size, IMAGES.channels), options=self, inputs=IMAGES,
        )  # fmt: skip
        return with_augment(family, self.augment, self.augment_where)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Characters:
    """The characters of one split.

    Attributes:
      alphabet: the split's key; character n is drawn from `fold_in(alphabet, n)`.
      options: of the family.
    """

    alphabet: Array
    options: Glyphs = dataclasses.field(metadata={"static": True})

    @property
    def inputs(self) -> Images:
        """How raw drawings become inputs."""
        return IMAGES

    def sample(self, key: Array) -> Task:
        """One task: support `[ways * shots, 28, 28, 1]`, query `[ways * queries, 28, 28, 1]`."""
        ways, drawings = self.options.ways, self.options.shots + self.options.queries
        key_class, key_drawing = jax.random.split(key)
        numbers = jax.random.bits(key_class, (ways,), jnp.uint32)
        characters, pens = jax.vmap(self.character)(numbers)
        noise = jax.random.normal(key_drawing, (ways, drawings, NOISE, 2))
        each = jax.vmap(self.draw, in_axes=(0, None, None))
        return episode(jax.vmap(each)(noise, characters, pens), self.options.shots)

    def character(self, number: Array) -> tuple[Array, Array]:
        """Character `number`.

        Returns:
          Control points `[strokes, controls, (x, y)]`, in image sides from the centre, and which of its strokes are
          drawn, `[strokes]` (0 or 1).
        """
        # One draw for all random numbers: the calls cost a second to compile and most of the time to run.
        key = jax.random.fold_in(self.alphabet, number)
        random = jax.random.uniform(key, (STROKES, 2 * CONTROLS + 5), minval=np.nextafter(np.float32(-1), 0))
        normal = np.sqrt(2) * jax.lax.erf_inv(random[:, : CONTROLS + 2])
        uniform = (random[:, CONTROLS + 2 :] + 1) / 2
        turns = BEND * (normal[:, :1] + 0.7 * normal[:, 1:CONTROLS])
        headings = 2 * jnp.pi * uniform[:, :1] + jnp.cumsum(turns, axis=1)
        steps = between(uniform[:, 1:CONTROLS], STEP)
        moves = steps[..., None] * jnp.stack([jnp.cos(headings), jnp.sin(headings)], axis=-1)
        first, second, third = jnp.cumsum(jnp.pad(moves, ((0, 0), (1, 0), (0, 0))), axis=1)
        # A hand sets the pen down near the last stroke: a control point of a stroke is put a little beside one of the
        # stroke before it.
        beside = 0.15 * normal[:, CONTROLS:]
        hooks = (CONTROLS * uniform[:, CONTROLS : CONTROLS + 2]).astype(jnp.int32)
        second += first[hooks[1, 0]] - second[hooks[1, 1]] + beside[1]
        third += second[hooks[2, 0]] - third[hooks[2, 1]] + beside[2]
        strokes = jnp.stack([first, second, third])
        pens = uniform[:, -1].at[0].set(0) < PENS
        # Fitted to the frame by the box around all control points; a flat or narrow box is widened halfway to a square.
        inked = pens[:, None, None]
        low = jnp.min(jnp.where(inked, strokes, jnp.inf), axis=(0, 1))
        high = jnp.max(jnp.where(inked, strokes, -jnp.inf), axis=(0, 1))
        box = high - low + 0.05
        side = between(uniform[0, -1], FRAME)
        return (strokes - (low + high) / 2) * side / jnp.sqrt(box * jnp.max(box)), pens.astype(jnp.float32)

    def draw(self, normal: Array, strokes: Array, pens: Array) -> Array:
        """One drawing of a character, `[28, 28, 1]`, from standard normal numbers `[NOISE, 2]`."""
        strokes += self.options.wobble * normal[4:].reshape(strokes.shape)
        (tall, wide), (turn, shear) = self.options.slant * normal[:2]
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        stretched = jnp.stack(
            [jnp.exp(wide) * strokes[..., 0] + shear * strokes[..., 1], jnp.exp(tall) * strokes[..., 1]]
        )
        turned = jnp.stack([cos * stretched[0] - sin * stretched[1], sin * stretched[0] + cos * stretched[1]])
        place = 0.5 + self.options.shift * normal[2]
        return ink(IMAGES.size * (turned + place[:, None, None]), pens, PEN * jnp.exp(0.12 * normal[3, 0]))


@full_precision
def ink(strokes: Array, pens: Array, thickness: Array) -> Array:
    """The ink that strokes leave on paper, smooth at the edges.

    A Gaussian spot is laid at every point of a stroke. A Gaussian of x and y is a product, so that the sum over points
    is one product of two matrices, `[28, points]` and `[points, 28]`: far cheaper than the distance of every pixel from
    every segment.

    Args:
      strokes: control points `[(x, y), strokes, controls]`, pixels.
      pens: which strokes are drawn, `[strokes]`.
      thickness: standard deviation of a spot, pixels.

    Returns:
      Ink from 0 to 1, `[28, 28, 1]`.
    """
    points = strokes @ SPLINE.T
    ends = jnp.pad(points, ((0, 0), (0, 0), (1, 1)), mode="edge")
    # Weighted by the distance between neighbours, points add up to a line of the same darkness everywhere.
    spacing = jnp.sqrt(jnp.sum((ends[..., 2:] - ends[..., :-2]) ** 2, axis=0)) / 2
    weights = (spacing * pens[:, None] / (thickness * np.sqrt(2 * np.pi))).reshape(-1)
    x, y = points.reshape(2, -1)
    centres = np.arange(IMAGES.size, dtype=np.float32) + 0.5
    across = jnp.exp(-0.5 * ((x[:, None] - centres) / thickness) ** 2)
    down = jnp.exp(-0.5 * ((y - centres[:, None]) / thickness) ** 2) * weights
    return 1 - jnp.exp(-4 * (down @ across))[..., None]


def _spline(points: int) -> NDArray[np.float32]:
    """The quadratic B-spline through the first and last control point, as weights `[points, controls]`."""
    pieces = CONTROLS - 2
    # The outer pieces are half as long again as the inner ones, and get as many more points.
    ends = np.array([0, *np.arange(1.5, pieces), pieces + 1])
    place = np.interp(np.linspace(0, ends[-1], points), ends, np.arange(pieces + 1))
    piece = np.minimum(place.astype(int), pieces - 1)
    t = (place - piece)[:, None]
    bezier = np.concatenate([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)
    # Neighbouring Bezier pieces meet halfway between two control points, but for both ends of the stroke.
    one = np.eye(CONTROLS)
    joints = np.concatenate([one[:1], (one[1:-2] + one[2:-1]) / 2, one[-1:]])
    corners = np.stack([joints[:-1], one[1:-1], joints[1:]], axis=1)
    return np.einsum("pb,pbc->pc", bezier, corners[piece]).astype(np.float32)


SPLINE = _spline(POINTS)
