"""Families and inputs as plain values, of this version and of version 0.1."""

import dataclasses
import json
from typing import ClassVar

import pytest

import mtnets
from mtnets.errors import OptionError, RunError
from mtnets.networks.models import Conv4, Mlp
from mtnets.tasks import (
    AS_THEY_ARE,
    FAMILIES,
    Folder,
    Images,
    Options,
    RandomTables,
    Sinusoid,
    StandardisedRows,
    Table,
    family_from_record,
    inputs_from_json,
    options_from_record,
    options_to_record,
)

EACH = [
    Sinusoid(shots=5, inputs=(-1.0, 1.0), network=Mlp(hidden=(4, 4))),
    Folder("data", image_size=8, network=Conv4(filters=2)),
    Table("data.csv", "who", "score", ignore=("age", "sex"), splits=(0.5, 0.2, 0.3)),
    RandomTables(kind="regression", hidden=(8, 8)),
]


@pytest.mark.parametrize("options", EACH, ids=lambda options: options.family)
def test_options_survive_their_record(options: Options) -> None:
    record = json.loads(json.dumps(options_to_record(options)))
    assert record["family"] == options.family
    assert options_from_record(record) == options


def test_families_are_listed_by_the_name_of_the_command_line() -> None:
    names = {"sinusoid", "polynomial", "glyphs", "omniglot", "miniimagenet", "folder", "table", "random-tables"}
    assert set(FAMILIES) == names
    assert all(kind.family == name for name, kind in FAMILIES.items())
    for kind in FAMILIES.values():
        fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        assert kind.data_option is None or kind.data_option in fields


def test_a_family_of_the_user_is_listed_too() -> None:
    @dataclasses.dataclass(frozen=True)
    class Lines(Sinusoid):
        family: ClassVar[str] = "lines"

    try:
        assert FAMILIES["lines"] is Lines
        assert options_from_record(options_to_record(Lines(shots=3))) == Lines(shots=3)
    finally:
        del FAMILIES["lines"]
    assert options_to_record(Lines()) == {"family": None}


def test_changes_and_data_that_have_moved() -> None:
    assert options_from_record(options_to_record(Folder("a")), data="b", shots=3) == Folder("b", shots=3)
    assert options_from_record(options_to_record(Table("a", "b", "c")), data="d") == Table("d", "b", "c")
    with pytest.raises(OptionError, match="data=x is given, but sinusoid tasks are made without data"):
        options_from_record({"family": "sinusoid"}, data="x")
    with pytest.raises(OptionError, match="ways is 3, but sinusoid tasks have no ways"):
        family_from_record({"family": "sinusoid"}, ways=3)
    with pytest.raises(OptionError, match="Sinusoid has no option colour"):
        options_from_record({"family": "sinusoid", "colour": "red"})
    for record in ({}, {"family": None}):
        with pytest.raises(RunError, match="trained on tasks of your own"):
            options_from_record(record)
    with pytest.raises(RunError, match="There is no family 'lines' of tasks; import the module"):
        options_from_record({"family": "lines"})


def test_random_tables_of_version_0_1() -> None:
    record = {"family": "tabular", "kind": "regression", "features": 32, "hidden": [8]}
    assert options_from_record(record) == RandomTables("regression", features=32, hidden=(8,))
    assert inputs_from_json(None, record) == StandardisedRows(32, scales_targets=True)
    assert inputs_from_json(None, record | {"kind": "classification"}) == StandardisedRows(32)


def test_inputs_of_other_learners() -> None:
    assert inputs_from_json(None) is AS_THEY_ARE
    assert inputs_from_json(None, {"family": "sinusoid"}) is AS_THEY_ARE
    assert inputs_from_json({"kind": "images", "size": 28, "channels": 1, "invert": True}) == Images(28, 1, True)
    with pytest.raises(RunError, match="of kind 'sounds', which is not known"):
        inputs_from_json({"kind": "sounds"})


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_shipped_learners_for_tables_know_their_inputs(kind) -> None:
    learner = mtnets.load(f"tabular-{kind}")
    assert learner.inputs == StandardisedRows(64, scales_targets=kind == "regression")
