"""`python -m experiments NAME` runs an experiment; `python -m experiments` lists them."""

import sys
from collections.abc import Callable

import tyro

from experiments.augmentation import Augmentation
from experiments.battery.experiment import Battery
from experiments.complexity import Complexity
from experiments.gpu import Gpu
from experiments.image_recipes import ImageRecipes
from experiments.images import CifarFs, Fc100, MiniImageNet, Omniglot
from experiments.intervals.experiment import Intervals
from experiments.learners import Learners
from experiments.methods_on_images import MethodsOnImages
from experiments.methods_on_sine import MethodsOnSine
from experiments.report import Report
from experiments.robustness import Robustness
from experiments.sine import Sine
from experiments.sine_paired import SinePaired
from experiments.sine_stability import SineStability
from experiments.sine_variants import SineVariants
from experiments.tabular.experiment import Tabular
from experiments.updrs.experiment import Updrs
from mtnets import MtnetsError, OptionError
from mtnets.cli.parsing import parsed
from mtnets.cli.pipes import quiet_pipes
from mtnets.errors import perhaps

EXPERIMENTS: dict[str, Callable[..., Callable[[], None]]] = {
    "sine": Sine,
    "sine-variants": SineVariants,
    "sine-paired": SinePaired,
    "robustness": Robustness,
    "complexity": Complexity,
    "omniglot": Omniglot,
    "miniimagenet": MiniImageNet,
    "cifar-fs": CifarFs,
    "fc100": Fc100,
    "updrs": Updrs,
    "methods-on-sine": MethodsOnSine,
    "sine-stability": SineStability,
    "methods-on-images": MethodsOnImages,
    "image-recipes": ImageRecipes,
    "augmentation": Augmentation,
    "tabular": Tabular,
    "intervals": Intervals,
    "battery": Battery,
    "learners": Learners,
    "gpu": Gpu,
    "report": Report,
}


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
      args: arguments. Defaults to those of the process.

    Returns:
      The exit status: 0, or 1 after one sentence on standard error.
    """
    with quiet_pipes():
        return _run(sys.argv[1:] if args is None else args)
    return 0  # the reader has read enough


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(listing())
        return 0
    try:
        _parse(*args)()
    except MtnetsError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("experiments: stopped; the same command goes on.", file=sys.stderr)
        return 130
    return 0


def listing() -> str:
    """One line for each experiment."""
    width = max(map(len, EXPERIMENTS))
    lines = [f"  {name:{width}}  {(kind.__doc__ or '').splitlines()[0]}" for name, kind in EXPERIMENTS.items()]
    return "\n".join(["python -m experiments NAME; --help after a name lists its options.", "", *lines])


def _parse(name: str, *options: str) -> Callable[[], None]:
    if name not in EXPERIMENTS:
        raise OptionError(
            f"There is no experiment {name!r}; {perhaps(name, EXPERIMENTS)}there are {', '.join(EXPERIMENTS)}."
        )
    flat = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    prog = f"python -m experiments {name}"
    return parsed(EXPERIMENTS[name], args=options, prog=prog, example=prog, config=flat)


if __name__ == "__main__":
    sys.exit(main())
