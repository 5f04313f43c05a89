"""A model of pictures and one of a table, of linear networks with random weights, and a learner with a task."""

import jax
import numpy as np

import mtnets
from mtnets.learner import AdaptedModel
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn

random = np.random.default_rng(0)


def linear(shape, outputs, inputs, loss):
    weights = {"w": random.normal(size=(int(np.prod(shape)), outputs)), "b": np.zeros(outputs)}
    network = mtnets.wrap((lambda p, x: x.reshape(x.shape[0], -1) @ p["w"] + p["b"], weights), shape)
    return AdaptedModel(network, *network.init(jax.random.key(0)), inputs=inputs, loss=loss)


model = linear((8, 8, 1), 3, mtnets.tasks.Images(8, 1, invert=True), mtnets.losses.CrossEntropy())
images = random.integers(0, 256, (2, 8, 8, 1), np.uint8)
columns = (NumberColumn("age in years", 50.0, 10.0), CategoryColumn("colour", ("blue", "red")))
table = mtnets.tasks.TableInputs(columns, NumberColumn("price", 1000.0, 50.0), "shop")
prices = linear((3,), 1, table, mtnets.losses.Squared())
learner = mtnets.load("sine-10shot")
adapted = learner.adapt(np.zeros((2, 1)), np.ones((2, 1)))
