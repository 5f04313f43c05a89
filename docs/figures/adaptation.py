"""Draws docs/figures/adaptation.gif: a learner that ships bends through ten points, step by step.

python docs/figures/adaptation.py        (a minute)
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter

import mtnets

CURVES = [(3.0, 1.0, 1.0), (1.5, 2.2, 0.85), (4.2, 0.3, 1.15)]  # amplitude, phase and frequency
STEPS = 10
HOLD = 6  # frames on the last step


def main() -> None:
    """Adapts to three curves by every number of steps, and draws them side by side."""
    learner = mtnets.load("sine-10shot")
    rng = np.random.default_rng(3)
    grid = np.linspace(-5, 5, 200)[:, None]
    figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.4), sharex=True, sharey=True, layout="constrained")
    drawn = []
    for place, (amplitude, phase, frequency) in zip(axes, CURVES, strict=True):
        x = rng.uniform(-5, 5, (10, 1))
        y = amplitude * np.sin(frequency * x - phase)
        predictions = [np.ravel(learner.adapt(x, y, inner_steps=step)(grid)) for step in range(STEPS + 1)]
        place.plot(grid, amplitude * np.sin(frequency * grid - phase), color="0.8", lw=3)
        place.plot(x, y, "o", color="C3", ms=5)
        drawn.append((place.plot(grid, predictions[0], color="C0", lw=2)[0], predictions))
        place.set(ylim=(-5.2, 5.2), xticks=[], yticks=[])

    def draw(frame: int) -> None:
        step = min(frame, STEPS)
        figure.suptitle(f"{step} gradient step{'' if step == 1 else 's'}", fontsize=11)
        for line, predictions in drawn:
            line.set_ydata(predictions[step])

    FuncAnimation(figure, draw, frames=STEPS + HOLD).save(
        Path(__file__).with_suffix(".gif"), writer=PillowWriter(fps=2), dpi=80
    )


if __name__ == "__main__":
    main()
