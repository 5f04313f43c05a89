"""Task families and inputs as plain values, for configurations, run folders and saved learners."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtnets.errors import OptionError, RunError, perhaps
from mtnets.serialisation import dataclass_from_json
from mtnets.tasks.family import FAMILIES, Family, Options
from mtnets.tasks.inputs.base import AS_THEY_ARE, KINDS, Inputs

# names that version 0.1 wrote
_FAMILIES_0_1 = {"tabular": "random-tables"}
_KINDS_0_1 = {"columns": "table"}


def options_to_record(options: Options | None) -> dict[str, Any]:
    """The name and the options of a family; only `{"family": None}` for one that is not in `FAMILIES`."""
    name = getattr(options, "family", None)
    if options is None or FAMILIES.get(name or "") is not type(options):
        return {"family": None}
    return {"family": name, **dataclasses.asdict(options)}  # type: ignore[call-overload]


def options_from_record(record: Mapping[str, Any], *, data: str | None = None, **changes: Any) -> Options:
    """The options that `options_to_record` has written, also with version 0.1.

    Args:
      record: the options, with the name of the family.
      data: where the data are. Defaults to where they were.
      **changes: options to change, for example `shots=5`.

    Raises:
      RunError: for tasks of the user's own, which are not recorded, or a family that is not known.
      OptionError: for an option that the family does not have.
    """
    values = dict(record)
    name = str(values.pop("family", None) or "")
    name = _FAMILIES_0_1.get(name, name)
    if not name:
        raise RunError(
            "This learner was trained on tasks of your own; pass them, for example mtnets.evaluate(learner, tasks)."
        )
    if name not in FAMILIES:
        raise RunError(
            f"There is no family {name!r} of tasks; {perhaps(name, FAMILIES)}import the module that defines it, or "
            "pass the tasks."
        )
    kind = FAMILIES[name]
    if data is not None:
        if kind.data_option is None:
            raise OptionError(f"data={data} is given, but {name} tasks are made without data; leave it out.")
        changes[kind.data_option] = data
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for option, value in changes.items():
        if option not in names:
            raise OptionError(f"{option} is {value}, but {name} tasks have no {option}.")
    return dataclass_from_json(kind, {**values, **changes})


def family_from_record(record: Mapping[str, Any], *, data: str | None = None, **changes: Any) -> Family:
    """The family that a learner was trained on, from `learner.record["tasks"]`.

    Args:
      record: the options, with the name of the family.
      data: where the data are. Defaults to where they were.
      **changes: options to change, for example `shots=5`.

    Raises:
      RunError: for tasks of the user's own, which are not recorded.
      OptionError: for an option that the family does not have.
      DataError: for data that are not there, or cannot be used.
    """
    return options_from_record(record, data=data, **changes).build()


def inputs_from_json(values: Mapping[str, Any] | None, tasks: Mapping[str, Any] | None = None) -> Inputs:
    """The inputs that `Inputs.to_json` has written, also with version 0.1.

    Args:
      values: the fields of the inputs, with their kind; None for data that are inputs already.
      tasks: the record of the tasks, from which inputs that version 0.1 did not write are known.

    Raises:
      RunError: for a kind that is not known.
    """
    if values is None:
        return _inputs_0_1(tasks or {})
    fields = dict(values)
    name = str(fields.pop("kind", ""))
    kind = KINDS.get(_KINDS_0_1.get(name, name))
    if kind is None:
        raise RunError(f"The inputs are of kind {name!r}, which is not known; import the module that defines it.")
    return kind.from_json(fields)


def _inputs_0_1(tasks: Mapping[str, Any]) -> Inputs:
    """Version 0.1 wrote no inputs for random tables."""
    if tasks.get("family") in _FAMILIES_0_1:
        return options_from_record(tasks).inputs  # type: ignore[attr-defined]
    return AS_THEY_ARE
