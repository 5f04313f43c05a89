"""A process that was forked after JAX had started is refused, where it would wait for ever."""

import os
import subprocess
import sys
import textwrap

import pytest

FORKED = """
    import os, signal, sys, warnings
    warnings.simplefilter("ignore")  # JAX warns of the fork too
    import numpy as np
    import mtnets
    model, tasks = mtnets.models.mlp(1, 2, 1), mtnets.tasks.sinusoid()
    method, x = mtnets.maml(0.1), np.ones((3, 1), np.float32)

    def train():
        return mtnets.meta_train(model, method, tasks, meta_steps=0, progress=False)

    if sys.argv[1] == "before":  # nothing has been computed: the child may
        uses = {"meta_train": train}
    else:
        learner = train()
        adapted = learner.adapt(x, x)
        uses = {
            "adapt": lambda: learner.adapt(x, x),
            "adapt_many": lambda: learner.adapt_many(x[None], x[None]),
            "adapt_batch": lambda: learner.adapt_batch(mtnets.Batch(x, x)),
            "predict": lambda: adapted(x),
            "evaluate": lambda: mtnets.evaluate(learner, tasks, num_tasks=1),
            "meta_train": train,
        }
    for name, use in uses.items():
        if (child := os.fork()) == 0:
            signal.alarm(60)
            try:
                use()
                print(name, "works", flush=True)
            except mtnets.RunError as error:
                print(name, error, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, f"{name} hangs"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.slow), "after"])
def test_forked_processes(moment) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FORKED), moment]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if moment == "before":
        assert lines == ["meta_train works"]
    else:
        names = ["adapt", "adapt_many", "adapt_batch", "predict", "evaluate", "meta_train"]
        assert [line.partition(" ")[0] for line in lines] == names
        assert all('get_context("spawn")' in line for line in lines)
