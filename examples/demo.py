"""MAML and an MT-net learn to learn sine curves, then meet curves they have never seen. Two minutes on two cores.

    make demo        or        python examples/demo.py [--meta-steps 15000]

Prints a table and writes demo.png.
"""

import argparse
import time

import jax
import matplotlib
import numpy as np

import mtnets

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {"MAML": "#0072B2", "MT-net": "#D55E00"}  # told apart by colour-blind readers too
INNER_STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meta-steps", type=int, default=15_000)
    parser.add_argument("--out", default="demo.png")
    args = parser.parse_args()

    tasks = mtnets.tasks.sinusoid(shots=10)
    network = mtnets.models.mlp(1, 40, 40, 1)
    learners, estimates = {}, {}
    for name, method in {"MAML": mtnets.maml(inner_lr=0.01), "MT-net": mtnets.mt_net(inner_lr=0.01)}.items():
        print(f"\n{name}: {args.meta_steps} meta-steps of 4 tasks", flush=True)
        begun = time.perf_counter()
        learners[name] = mtnets.meta_train(network, method, tasks, meta_steps=args.meta_steps, seed=0)
        print(f"{name}: {time.perf_counter() - begun:.0f} s")
        estimates[name] = mtnets.evaluate(learners[name], tasks, num_tasks=1000, inner_steps=INNER_STEPS)

    print("\nMean squared error on 1000 unseen sine curves, ± 95 %, after learning each from 10 points")
    print(f"{'inner steps':>12}" + "".join(f"{name:>20}" for name in learners))
    for step in range(INNER_STEPS + 1):
        cells = [f"{e.mean[step]:.3f} ± {e.ci95[step]:.3f}" for e in estimates.values()]
        print(f"{step:>12}" + "".join(f"{cell:>20}" for cell in cells))
    moving = " / ".join(f"{share:.2f}" for share in learners["MT-net"].moving().values())
    print(f"Share of units that the MT-net lets a task move, layer by layer: {moving}")

    draw(tasks, learners, estimates, args.out)
    print(f"Picture: {args.out}")


def draw(tasks: mtnets.tasks.Family, learners: dict, estimates: dict, path: str) -> None:
    """Three unseen curves with what each learner makes of ten points, and the error per inner step."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.4), layout="constrained", width_ratios=[1, 1, 1, 1.1])
    x = np.linspace(-5, 5, 200, dtype=np.float32)[:, None]
    for i, ax in enumerate(axes[:3]):
        amplitude, phase, frequency = np.random.default_rng(i).uniform([1, 0, 0.8], [5, np.pi, 1.2])
        support = np.random.default_rng(100 + i).uniform(-5, 5, (10, 1)).astype(np.float32)

        def curve(x: np.ndarray, a: float = amplitude, p: float = phase, f: float = frequency) -> np.ndarray:
            return a * np.sin(f * x - p)

        ax.plot(x, curve(x), color="0.6", linewidth=3, label="truth")
        ax.plot(support, curve(support), "ko", markersize=4, label="10 examples")
        for name, learner in learners.items():
            model = learner.adapt(support, curve(support), inner_steps=INNER_STEPS, key=jax.random.key(i))
            ax.plot(x, model(x), color=COLOURS[name], label=name)
        ax.set(title=f"unseen curve {i + 1}", xlabel="x", ylim=(-5.8, 5.8))
    axes[0].set_ylabel(f"y after {INNER_STEPS} inner steps")
    axes[0].legend(loc="lower left", fontsize=7, ncols=2)

    steps = np.arange(INNER_STEPS + 1)
    for name, estimate in estimates.items():
        mean, half = estimate.mean, estimate.ci95
        axes[3].plot(steps, mean, "o-", color=COLOURS[name], label=name)
        axes[3].fill_between(steps, mean - half, mean + half, color=COLOURS[name], alpha=0.2)
    axes[3].set(title="1000 unseen curves", xlabel="inner steps", ylabel="mean squared error ± 95 %", yscale="log")
    axes[3].set_yticks([0.3, 0.5, 1, 2, 3], labels=["0.3", "0.5", "1", "2", "3"])
    axes[3].minorticks_off()
    axes[3].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
