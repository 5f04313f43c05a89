"""Draws docs/figures/idea.svg: what T and M do to a gradient, from real learners with two weights.

    python docs/figures/idea.py        (half a minute on two cores)

The network is `y = x W` with one input and two units, so that its weights are a point of the plane. A task is a point
near a line; its support set is one noisy example. The squared loss of a task is round about its point, so that plain
gradient descent steps towards wherever the noisy example says. A metric learns the line.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import mtnets

TASKS_DRAWN = 12
NOISE = 0.5  # of the two numbers of the support example
DIRECTION = np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])  # of the line on which tasks lie
CENTRE = np.array([0.3, -0.6])
METHODS = {
    "MAML: along the gradient": mtnets.maml(0.5, rates="layer-step"),
    "T-net: in a learned metric": mtnets.t_net(0.5),
    "MT-net: of the units that the mask leaves": mtnets.mt_net(0.5),
}


def task(rng: np.random.Generator):
    """One noisy support example; the query set knows the point itself."""
    point = CENTRE + rng.normal() * DIRECTION
    support = np.ones((1, 1)), (point + NOISE * rng.normal(size=2))[None]
    return support, (np.ones((1, 1)), point[None])


def main() -> None:
    """Trains the learners and draws what they do on the same tasks."""
    network = mtnets.wrap((lambda p, x: x @ p["w"], {"w": np.zeros((1, 2))}), (1,), layers={"linear": "w"})
    rng = np.random.default_rng(0)
    many = [[task(rng) for _ in range(count)] for count in (4000, 200, 2000)]
    tasks = mtnets.tasks.from_sequence(*many, loss="mse")
    drawn = many[2][:TASKS_DRAWN]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.1), sharex=True, sharey=True, layout="constrained")
    for place, (title, method) in zip(axes, METHODS.items(), strict=True):
        learner = mtnets.meta_train(
            network, method, tasks, meta_steps=4000, meta_batch=16, meta_lr=0.003, validate_every=0, progress=False
        )
        loss = mtnets.evaluate(learner, tasks, num_tasks=2000).final
        print(title, loss)
        start = None
        for number, ((x, y), (_, target)) in enumerate(drawn):
            after = np.asarray(learner.adapt(x, y).params["w"])[0]
            start = np.asarray(learner.adapt(x, y, inner_steps=0).params["w"])[0]
            place.annotate("", after, start, arrowprops=dict(arrowstyle="->", color="C0", lw=1.2))
            place.plot(*np.stack([after, target[0]]).T, color="0.6", lw=0.8, ls=":")
            place.plot(*target[0], "o", color="C2", ms=5, label="the task" if number == 0 else None)
            place.plot(*y[0], "x", color="C3", ms=5, label="its one noisy example" if number == 0 else None)
        assert start is not None
        place.plot(*start, "k.", ms=9, label="where every task starts")
        place.set(title=f"{title}\nsquared error on 2 000 tasks {loss:.3f}", xlabel="first weight", aspect="equal")
    axes[0].set_ylabel("second weight")
    axes[0].legend(loc="upper left", fontsize=8)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
