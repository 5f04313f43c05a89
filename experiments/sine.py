"""First numbers on sine: MAML, Meta-SGD, T-net, MT-net by the paper's protocol, on the same test tasks.

    python experiments/sine.py                 (about 5 minutes on 2 cores)

Writes results/sine.json: per method and seed the loss after each inner step on 10 000 test tasks, the difference to
MAML paired by seed and task, and the seconds of one run.
"""

import argparse
import sys
import time

import numpy as np

import mtnets
from mtnets.files import write_json

METHODS = {"maml": mtnets.maml, "meta_sgd": mtnets.meta_sgd, "t_net": mtnets.t_net, "mt_net": mtnets.mt_net}


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and half-width of the 95 % interval over the first axis of `values`."""
    return {"mean": float(values.mean()), "ci95": float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meta-steps", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--inner-lr", type=float, default=0.01)
    parser.add_argument("--out", default="results/sine.json")
    args = parser.parse_args()

    tasks = mtnets.tasks.sinusoid(shots=10)
    network = mtnets.models.mlp(1, 40, 40, 1)
    seeds = list(range(args.seeds))
    result: dict = {"command": " ".join(["python", *sys.argv]), **vars(args), "methods": {}}
    losses = {}
    for name, method in METHODS.items():
        begun = time.perf_counter()
        learners = mtnets.meta_train(network, method(args.inner_lr), tasks, meta_steps=args.meta_steps, seed=seeds)
        seconds = time.perf_counter() - begun
        estimates = [mtnets.evaluate(learner, tasks, args.tasks, inner_steps=10) for learner in learners]
        losses[name] = np.stack([estimate.losses[:, 1] for estimate in estimates])
        result["methods"][name] = {
            "seconds_for_all_seeds": seconds,
            "test": [estimate.to_json()["inner_steps"] for estimate in estimates],
            "best_meta_step": [learner.record["meta_step"] for learner in learners],
            "moving": [learner.moving() for learner in learners],
            # over tasks, each averaged over seeds
            "loss_after_1_step": interval(losses[name].mean(0)),
            "maml_minus_this": interval((losses["maml"] - losses[name]).mean(0)),
        }
        print(name, f"{seconds:.0f} s", result["methods"][name]["loss_after_1_step"], flush=True)

    # a single run, as a user would start it, for its speed
    begun = time.perf_counter()
    mtnets.meta_train(network, mtnets.mt_net(args.inner_lr), tasks, meta_steps=args.meta_steps, seed=0, progress=False)
    result["seconds_of_one_mt_net_run_with_compilation"] = time.perf_counter() - begun
    write_json(args.out, result)
    print(f"one MT-net run: {result['seconds_of_one_mt_net_run_with_compilation']:.0f} s; written to {args.out}")


if __name__ == "__main__":
    main()
