"""Characters drawn by a procedure: few-shot classification without a data set, and without end."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.models import Conv4
from mtnets.task import Task
from mtnets.tasks.episodes import check_episode, episode
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.images import Images

IMAGES = Images(size=28, channels=1, invert=True)

STROKES, CONTROLS = 3, 5  # at most so many strokes; control points of each
BEND = 0.75  # typical turn from one control point of a stroke to the next, radians
STEP = (
    0.15,
    0.5,
)  # bounds of the distance between control points, before the character is fitted to its frame
FRAME = (0.6, 0.8)  # bounds of the longer side of a character, in image sides


@dataclasses.dataclass(frozen=True)
class Glyphs:
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
      seed: another one is another set of characters.
      network: the usual network of the family.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    wobble: float = 0.03
    slant: float = 0.12
    shift: float = 0.03
    seed: int = 0
    network: Conv4 = Conv4()

    def build(self) -> Family:
        """The family.

        Raises:
          OptionError: ways below 2, shots or queries below 1.
        """
        check_episode(self.ways, self.shots, self.queries)
        train, validation, test = (
            Characters(jax.random.fold_in(jax.random.key(self.seed), split), self) for split in range(3)
        )
        recipe = Recipe(inner_lr=2.0, inner_steps=1, meta_batch=32, meta_steps=10_000)
        return Family(
            train, validation, test, "cross-entropy", recipe,
            lambda: self.network.build(self.ways, IMAGES.size, IMAGES.channels), options=self, images=IMAGES,
        )  # fmt: skip


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Characters:
    """The characters of one split.

    Attributes:
      alphabet: the split's key; character n is drawn from `fold_in(alphabet, n)`.
      options: what tasks are made of.
    """

    alphabet: Array
    options: Glyphs = dataclasses.field(metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One task: support `[ways * shots, 28, 28, 1]`, query `[ways * queries, 28, 28, 1]`, labels int32."""
        ways, drawings = self.options.ways, self.options.shots + self.options.queries
        key_class, key_drawing = jax.random.split(key)
        numbers = jax.random.bits(key_class, (ways,), jnp.uint32)
        characters, pens = jax.vmap(self.character)(numbers)
        keys = jax.random.split(key_drawing, (ways, drawings))
        each = jax.vmap(self.draw, in_axes=(0, None, None))
        return episode(jax.vmap(each)(keys, characters, pens), self.options.shots)

    def character(self, number: Array) -> tuple[Array, Array]:
        """Character `number`: control points `[strokes, controls, (x, y)]` in image sides from the centre, and which
        of its strokes there are, `[strokes]` (0 or 1)."""
        keys = jax.random.split(jax.random.fold_in(self.alphabet, number), 8)
        bend = BEND * jax.random.normal(keys[0], (STROKES, 1))
        turns = bend + 0.5 * BEND * jax.random.normal(keys[1], (STROKES, CONTROLS - 1))
        headings = jax.random.uniform(keys[2], (STROKES, 1), maxval=2 * jnp.pi) + jnp.cumsum(turns, axis=1)
        steps = jax.random.uniform(keys[3], headings.shape, minval=STEP[0], maxval=STEP[1])
        moves = steps[..., None] * jnp.stack([jnp.cos(headings), jnp.sin(headings)], axis=-1)
        strokes = jnp.cumsum(jnp.pad(moves, ((0, 0), (1, 0), (0, 0))), axis=1)
        # A hand sets the pen down where it has drawn already: a stroke is hung by one of its control points on one
        # of the stroke before it, a little beside it.
        first, second, third = strokes
        hooks = jax.random.randint(keys[4], (2, 2), 0, CONTROLS)
        beside = 0.1 * jax.random.normal(keys[5], (2, 2))
        second += first[hooks[0, 0]] - second[hooks[0, 1]] + beside[0]
        third += second[hooks[1, 0]] - third[hooks[1, 1]] + beside[1]
        strokes = jnp.stack([first, second, third])
        pens = jnp.arange(STROKES) < 1 + jax.random.choice(keys[6], 3, p=jnp.array([0.25, 0.45, 0.3]))
        # Fitted to the frame: the longer side of the box around all control points, and its middle.
        inked = pens[:, None, None]
        low = jnp.min(jnp.where(inked, strokes, jnp.inf), axis=(0, 1))
        high = jnp.max(jnp.where(inked, strokes, -jnp.inf), axis=(0, 1))
        side = jax.random.uniform(keys[7], minval=FRAME[0], maxval=FRAME[1])
        return (strokes - (low + high) / 2) * side / jnp.max(high - low), pens.astype(jnp.float32)

    def draw(self, key: Array, strokes: Array, pens: Array) -> Array:
        """One drawing of a character, `[28, 28, 1]`."""
        key_wobble, key_map, key_place, key_pen = jax.random.split(key, 4)
        strokes += self.options.wobble * jax.random.normal(key_wobble, strokes.shape)
        turn, shear, tall, wide = self.options.slant * jax.random.normal(key_map, (4,))
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        affine = jnp.array([[cos, -sin], [sin, cos]]) @ jnp.array(
            [[jnp.exp(wide), shear], [0.0, jnp.exp(tall)]]
        )
        place = 0.5 + self.options.shift * jax.random.normal(key_place, (2,))
        thickness = 0.7 * jnp.exp(0.15 * jax.random.normal(key_pen))
        return ink(IMAGES.size * (strokes @ affine.T + place), pens, thickness)


def ink(strokes: Array, pens: Array, thickness: Array) -> Array:
    """What strokes leave on paper, smooth at the edges.

    A Gaussian spot is laid at every point of a stroke. Gaussians of x and y are products, so that the sum over points is one
    product of two matrices `[28, points]`, far cheaper than the distance of every pixel from every segment.

    Args:
      strokes: control points `[strokes, controls, (x, y)]`, pixels.
      pens: which strokes are drawn, `[strokes]`.
      thickness: standard deviation of a spot, pixels.

    Returns:
      Ink from 0 to 1, `[28, 28, 1]`.
    """
    points = SPLINE @ strokes
    ends = jnp.concatenate([points[:, :1], points, points[:, -1:]], axis=1)
    # Weighted by the distance between neighbours, points add up to a line of the same darkness everywhere.
    spacing = jnp.linalg.norm(ends[:, 2:] - ends[:, :-2] + 1e-6, axis=-1) / 2
    weights = (spacing * pens[:, None] / (thickness * jnp.sqrt(2 * jnp.pi))).reshape(-1)
    centres = jnp.arange(IMAGES.size) + 0.5
    across, down = jnp.exp(
        -0.5 * ((centres[:, None, None] - points.reshape(-1, 2)) / thickness) ** 2
    ).transpose(2, 0, 1)
    return 1 - jnp.exp(-4 * ((down * weights) @ across.T))[..., None]


def _spline(points: int) -> Array:
    """The quadratic B-spline through the first and last control point, as weights `[points, controls]`."""
    pieces = CONTROLS - 2
    place = jnp.linspace(0, pieces, points)
    piece = jnp.minimum(place.astype(jnp.int32), pieces - 1)
    t = (place - piece)[:, None]
    bezier = jnp.concatenate([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)
    # Neighbouring Bezier pieces meet halfway between two control points, but for both ends of the stroke.
    one = jnp.eye(CONTROLS)
    joints = jnp.concatenate([one[:1], (one[1:-2] + one[2:-1]) / 2, one[-1:]])
    corners = jnp.stack([joints[:-1], one[1:-1], joints[1:]], axis=1)
    return jnp.einsum("pb,pbc->pc", bezier, corners[piece])


SPLINE = _spline(32)
