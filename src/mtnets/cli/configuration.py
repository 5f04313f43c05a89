"""Configurations of trainings, from a recipe or from the files of a run."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtnets.arguments import check, check_fields
from mtnets.cli.options import CriterionOptions, training_options
from mtnets.errors import MtnetsError, OptionError, RunError, perhaps
from mtnets.files import MOST_JSON_BYTES, checked, parse_json, read
from mtnets.inner import METHODS, Method, loss_from_json, loss_to_text, method_from_json
from mtnets.networks.models import model_from_config
from mtnets.outer import Training
from mtnets.outer.settings import training_from_json
from mtnets.shipped import recipes
from mtnets.tasks import Family, Options, options_from_record

COMMENT = "//"
PARTS = ("tasks", "method", "training")  # what every configuration has


class Configuration(NamedTuple):
    """What a recipe or a run says of a training.

    Attributes:
      path: of its file, or the name of a recipe.
      tasks: options of the family.
      method: how the network adapts.
      training: settings of the outer loop; None leaves a choice to the family.
      seed: of the starting weights and of all tasks.
      network: what builds it, see `Model.config`; empty for a recipe, which has none.
      criterion: what tasks are learned by and judged by.
    """

    path: str
    tasks: Options
    method: Method
    training: Mapping[str, Any]
    seed: int
    network: Mapping[str, Any]
    criterion: CriterionOptions

    def check_repeats(self, tasks: Family) -> None:
        """Compares the network, which the command line takes from the family, with that of the run.

        Raises:
          OptionError: for another.
        """
        # options that the user changes may be those of the network
        if not self.network or tasks.options != self.tasks:
            return
        if tasks.network(self.criterion.loss or tasks.loss).config != self.network:
            raise OptionError(f"{self.path} is of a run with a network of its own; repeat it in Python.")


def read_config(family: str, path: str) -> Configuration:
    """A recipe, or the configuration in the `config.json` or `result.json` of a run.

    Raises:
      OptionError: if it is none, of other tasks, or of a run with code of its own.
    """
    try:
        shipped = path in recipes.names() and not Path(path).exists()
        config = recipes.read(path) if shipped else _read_commented(path)
    except OSError as error:
        raise _no_configuration(path, error.strerror or str(error), perhaps(path, recipes.names())) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _no_configuration(path, f"it holds no JSON: {error}") from error
    except ValueError as error:  # a pipe, nested too deeply, or damaged
        raise _no_configuration(path, str(error)) from error
    config = config.get("config", config) if isinstance(config, Mapping) else config  # a result holds its configuration
    if not isinstance(config, Mapping):
        raise _no_configuration(path, f"it holds {config!r:.60}, not a JSON object")
    for part in PARTS:
        if not isinstance(config.get(part), Mapping):
            raise _no_configuration(path, f"{part} is {config.get(part)!r:.60}, not a JSON object")
    try:
        return _configuration(family, path, config)
    except MtnetsError as error:
        raise OptionError(f"{path} cannot be repeated: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # an object may hold anything
        raise _no_configuration(path, str(error)) from error


def _read_commented(path: str) -> Any:
    """The value of a JSON file in which lines may be comments.

    Raises:
      OSError, ValueError: as `mtnets.files.read_json`.
    """
    lines = read(path, MOST_JSON_BYTES).decode("utf-8").split("\n")
    # empty in their place, so that errors count lines as people do; a string of JSON has no line breaks
    return checked(parse_json("\n".join("" if line.lstrip().startswith(COMMENT) else line for line in lines)))


def _no_configuration(path: str, why: str, meant: str = "") -> OptionError:
    return OptionError(
        f"{path} is not a configuration ({why}); {meant}name the config.json or result.json of a run, or a recipe."
    )


def _configuration(family: str, path: str, config: Mapping[str, Any]) -> Configuration:
    """The values of a configuration, checked."""
    if not config["tasks"].get("family"):
        raise RunError("it is of a run on tasks of its own, which only Python can repeat.")
    tasks = options_from_record(config["tasks"])
    if tasks.family != family:
        raise RunError(f"it is for {tasks.family} tasks; run: mtnets train {tasks.family} --config {path}")
    if config.get("optimiser", "adam") != "adam":
        raise RunError("it is of a run with an optimiser of its own, which only Python can repeat.")
    network: Mapping[str, Any] = {}
    if config.get("model", {}) is None:
        raise RunError("it is of a run with a network of its own, which only Python can repeat.")
    if config.get("model", {}):
        network = model_from_config(config["model"]).config or {}
    name = config["method"].get("name")
    if not isinstance(name, str) or name not in METHODS:
        raise RunError(f"it is of a run with a method of its own, {name!r}, which only Python can repeat.")
    unknown = config["training"].keys() - {field.name for field in dataclasses.fields(Training)}
    if unknown:
        raise OptionError(f"it has {', '.join(sorted(unknown))}, which no training has; take it out.")
    training, seed = training_from_json(config["training"]), config.get("seed", 0)
    check_fields(training_options()(**training))
    check("seed", seed, int)
    method = method_from_json(config["method"])
    return Configuration(path, tasks, method, training, seed, network, _criterion(config))


def _criterion(config: Mapping[str, Any]) -> CriterionOptions:
    """What the tasks of a run were learned by and judged by.

    Raises:
      OptionError, RunError: for what is none, or of the user's own.
    """
    texts: dict[str, str] = {}
    for name in ("loss", "inner_loss"):
        record = config.get(name)
        if isinstance(record, Mapping) and "custom" in record:
            raise RunError("it is of a run with a loss of its own, which only Python can repeat.")
        if record is not None:
            texts[name] = loss_to_text(loss_from_json(record, name))
    metrics, best = config.get("metrics"), config.get("best")
    check("metrics", metrics, Mapping | None)
    check("best", best, str | None)
    own = [name for name, record in (metrics or {}).items() if name != record]
    if own:
        raise RunError(f"it is of a run with a metric of its own, {own[0]!r}, which only Python can repeat.")
    return CriterionOptions(**texts, metrics=None if metrics is None else tuple(metrics), best=best)
