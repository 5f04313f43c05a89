"""A stream of bytes: a small transformer that learns a text while it reads it.

python examples/bytes_stream.py        (about four minutes on two cores)

A task is a passage of one file of Python's standard library: 5 × 4 lines of 32 bytes. Each inner step sees the next
four lines, predicts every byte from those before it in its line, and then learns them. What meta-training makes small
is the loss along the way, so that the network learns to learn from what it has just read. Files of training, validation
and test are different ones.
"""

import dataclasses
import math
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
TEST_TASKS, VALIDATION_TASKS = min(200, 4 * STEPS), min(50, 4 * STEPS)
RATES = (0.03, 0.1, 0.3, 1.0)  # of what was not meta-trained to adapt
LINE, LINES, SLICES = 32, 4, 5  # bytes of a line, lines of a slice, slices that are learned
FILES, LEAST = 150, 20_000  # how many files are read, and how long each must be, in bytes
BYTES, WIDTH, HEADS = 128, 64, 4


def texts():
    """The first bytes of files of the standard library, `[files, 20000]`; bytes beyond ASCII are question marks."""
    paths = sorted(Path(os.__file__).parent.glob("**/*.py"))
    read = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths if "site-packages" not in path.parts]
    long = [text[:LEAST] for text in read if len(text) >= LEAST][:FILES]
    return np.random.default_rng(0).permutation(np.where(np.stack(long) < BYTES, np.stack(long), ord("?")))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Passages:
    """Random passages of some files."""

    files: jax.Array

    def sample(self, key):
        """One passage: lines x `[lines, 32]`, and the same one byte later, y."""
        lines = LINES * (SLICES + 1)
        file, place = jax.random.randint(key, (2,), 0, jnp.array([len(self.files), LEAST - lines * LINE]))
        read = jax.lax.dynamic_slice(self.files[file], (place,), (lines * LINE + 1,)).astype(jnp.int32)
        x, y = (part.reshape(lines, LINE) for part in (read[:-1], read[1:]))
        cut, all_bytes = LINES * SLICES, jnp.ones(BYTES, bool)  # which are the same in all passages
        return mtnets.Task(
            mtnets.Batch(x[:cut], y[:cut], outputs=all_bytes), mtnets.Batch(x[cut:], y[cut:], outputs=all_bytes)
        )


class Transformer(nnx.Module):
    """One block: attention to the bytes before, and two dense layers; inputs `[lines, 32]`, logits for each place."""

    def __init__(self, rngs):
        self.bytes, self.places = nnx.Embed(BYTES, WIDTH, rngs=rngs), nnx.Embed(LINE, WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(3)])
        self.wide, self.narrow = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs), nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, BYTES, rngs=rngs)

    def __call__(self, x):
        h = self.bytes(x) + self.places(jnp.arange(LINE))
        h = h + self.attention(self.norms[0](h), mask=nnx.make_causal_mask(x))
        h = h + self.narrow(nnx.gelu(self.wide(self.norms[1](h))))
        return self.head(self.norms[2](h))


def row(name, learner, rates=(None,)):
    """Prints bits per byte of each slice before it is learned, at the inner rate that does best on validation files."""

    def nats(rate):
        return mtnets.evaluate(learner, splits["validation"], VALIDATION_TASKS, inner_lr=rate, seed=1).final

    estimate = mtnets.evaluate(learner, splits["test"], TEST_TASKS, inner_lr=min(rates, key=nats))
    mean = mtnets.Estimate("loss", estimate.scores.mean(1, keepdims=True), estimate.losses[:, :1])
    bits = "".join(f"{score / math.log(2):8.3f}" for score in estimate.mean)
    print(f"{name:34}{bits}   {mean.mean[0] / math.log(2):.3f} ± {mean.ci95[0] / math.log(2):.3f}", flush=True)


files = jnp.asarray(texts())
tenth = len(files) // 10
parts = {"train": files[2 * tenth :], "validation": files[:tenth], "test": files[tenth : 2 * tenth]}
splits = {name: Passages(part) for name, part in parts.items()}
network = mtnets.wrap(Transformer, (LINE,), input_dtype=jnp.int32, norm="none")
options = {
    "loss": "cross-entropy",
    "metrics": {},
    "meta_batch": 4,
    "validate_every": 0,
    "clip_norm": 1.0,
    "schedule": "cosine",
}


def trained(method, meta_steps):
    """A learner of streams."""
    return mtnets.meta_train(
        network, method, splits["train"], stream=True, inner_steps=SLICES, meta_steps=meta_steps, **options
    )


print(f"Bits per byte on {TEST_TASKS} passages of other files, of four lines before they are learned; mean ± 95 %")
lines = [f"{first}–{first + LINES - 1}" for first in range(1, LINES * (SLICES + 1), LINES)]
print(f"{'lines':34}" + "".join(f"{each:>8}" for each in lines) + "   mean")
row("Meta-SGD, along the way", trained(mtnets.meta_sgd(0.1), STEPS))
still = trained(mtnets.maml(0.0), STEPS)  # a rate of 0 learns nothing from a passage: the usual training
row("trained as usual, not adapted", still)
row("trained as usual, gradient descent", still, RATES)
row("from nothing, gradient descent", trained(mtnets.maml(0.0), 0), RATES)
