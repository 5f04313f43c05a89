"""Methods as plain values, for saved learners, configurations and run folders."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtnets.errors import OptionError, one_of
from mtnets.inner.method import METHODS, Method
from mtnets.inner.seams import ESTIMATORS, Estimator

CUSTOM = "custom"  # a value of the user's that cannot be written down, such as a function


def method_to_json(method: Method) -> dict[str, Any]:
    """The name and the fields of a method as plain values."""
    return {"name": method.name} | _plain_fields(method) | {"estimator": estimator_to_json(method.estimator)}


def estimator_to_json(estimator: Estimator) -> Any:
    """The name and the fields of an estimator as plain values."""
    if type(estimator) is not ESTIMATORS.get(estimator.name):
        return CUSTOM
    return {"name": estimator.name} | _plain_fields(estimator)


def method_from_json(values: Mapping[str, Any]) -> Method:
    """The method that `method_to_json` has written, also with version 0.1.

    Raises:
      OptionError: for a method that is not in `METHODS`, an option that it does not have, or a function of the user's,
        which is not written.
    """
    options = dict(values)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in METHODS:
        raise OptionError(f"The method {name!r} is not registered; import the module that defines it, or pass it.")
    options = _from_0_1(name, options)
    for option, value in options.items():
        if value == CUSTOM:
            raise OptionError(f"{option} was a function of your own, which is not recorded; pass the method again.")
    if isinstance(options.get("estimator"), Mapping):
        options["estimator"] = estimator_from_json(options["estimator"])
    return _built(name, METHODS[name], options)


def estimator_from_json(values: Mapping[str, Any]) -> Estimator:
    """The estimator that `estimator_to_json` has written."""
    options = dict(values)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in ESTIMATORS:
        raise OptionError(f"There is no estimator {name!r}; {one_of(str(name), ESTIMATORS)}")
    return _built(name, ESTIMATORS[name], options)


def _built(name: str, kind: Any, options: Mapping[str, Any]) -> Any:
    """A method or an estimator with these options; JSON has lists for tuples."""
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise OptionError(f"{name} has no option {option!r}; it has {', '.join(known) or 'none'}.")
    return kind(**{option: tuple(value) if isinstance(value, list) else value for option, value in options.items()})


def _plain_fields(values: Any) -> dict[str, Any]:
    """Without options that earlier versions did not have, where these have their defaults."""
    fields = {field: getattr(values, field.name) for field in dataclasses.fields(values)}
    return {
        field.name: _plain(value)
        for field, value in fields.items()
        if not (field.metadata.get("added") and value == field.default)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | None) or type(value) is tuple else CUSTOM


def _from_0_1(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a record of version 0.1, where an estimator was a name with options beside it."""
    options = dict(options)
    beside = {option: options.pop(option) for option in ("cg_steps", "damping", "last_steps") if option in options}
    if not beside and "meta_gradient" not in options:
        return options
    if options.get("inner_clip", "off") is None:  # settled by then: no clipping
        options["inner_clip"] = "off"
    estimator = options.pop("meta_gradient", None) or METHODS[name]().estimator.name
    if estimator in ESTIMATORS:
        of_estimator = {field.name for field in dataclasses.fields(ESTIMATORS[estimator])}
        if "proximal" in of_estimator and options.get("proximal"):
            beside["proximal"] = options.pop("proximal")
        settings = {n: value for n, value in beside.items() if n in of_estimator and value is not None}
        options["estimator"] = {"name": estimator, **settings}
    else:
        options["estimator"] = estimator  # "custom", or a name that is none
    return options
