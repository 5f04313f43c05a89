"""Wrong arguments of public functions are refused in one sentence, whatever they are; right ones pass."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.typing import ArrayLike, DTypeLike

import mtnets
from mtnets import MtnetsError, OptionError
from mtnets.arguments import Key, Seed, Steps, check, check_fields, checked_arguments, describe, fits

WRONG = [None, "", "x", -1, 0, 1.5, np.nan, np.inf, [], {}, (), object(), np.zeros((2, 3)), np.array(["a"]), True, b"a"]
WRONG += [lambda: 0, 10**30, [1, "a"], {"a": 1}, int]


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, [1, np.int32(2), jnp.int32(1).item()], [True, 1.0, "1", None, 2**63]),
        (float, [1, 1.5, np.float32(2), jnp.float32(2), np.inf], [True, "1", None, np.ones(2), 1j]),
        (bool, [True, np.bool_(False)], [1, "yes", None]),
        (str, ["a", Path("a")], [1, None, b"a", "a\0b"]),
        (Path, ["a", Path("a")], [1, None, Path("a\0b")]),
        (Seed, [0, np.uint32(2**32 - 1)], [-1, 2**32, 1.0, None]),
        (Steps, [0, 2**31 - 1], [-1, 2**31, 1.5]),
        (Seed | Sequence[Seed], [3, [0, 1]], [-1, [0, 2**32], "1"]),
        (
            Key | None,
            [None, jax.random.key(1), jax.random.PRNGKey(1)],
            [3, jnp.ones(2), jax.random.split(jax.random.key(0))],
        ),
        (str | None, ["a", None], [1]),
        (int | Literal["all"], [1, "all"], ["some", 1.5]),
        (Literal["a", "b"], ["a"], ["c", None, np.array(["a"])]),
        (tuple[int, ...], [(1, 2), [1], ()], [1, (1.5,), "12"]),
        (tuple[float, float], [(1, 2.0), [1, 2]], [(1,), (1, 2, 3), (1, "a")]),
        (Sequence[str], [["a"], ("a", "b")], ["ab", [1], 3]),
        (Callable[[int], int], [len], [3, None]),
        (Mapping[str, int], [{"a": 1}], [[("a", 1)]]),
        (DTypeLike, [jnp.float32, "float32", jnp.bfloat16, np.dtype("int32")], [None, "x", 3, object()]),
        (jax.Array, [jnp.ones(1), np.ones(1)], [[1.0], None]),
        (mtnets.Method, [mtnets.maml()], [mtnets.maml, "maml"]),
        (ArrayLike, [1, [1]], []),
        (Any, [object()], []),
    ],
)
def test_what_fits_an_annotation(hint, right, wrong):
    assert [fits(value, hint) for value in right] == [True] * len(right)
    assert [fits(value, hint) for value in wrong] == [False] * len(wrong)
    assert describe(hint)


def test_the_message_names_the_value_what_was_expected_and_the_remedy():
    with pytest.raises(OptionError, match=r"^ways is '5'; it must be a whole number or None\.$"):
        check("ways", "5", int | None)
    with pytest.raises(
        OptionError, match=r"^method is .*; it must be a method, for example .*: call it, mt_net\(\)\.$"
    ):
        check("method", mtnets.mt_net, mtnets.Method)
    with pytest.raises(OptionError, match=r"^seed is 4294967296; it must be a whole number from 0 to 4294967295\.$"):
        check("seed", 2**32, Seed)
    with pytest.raises(OptionError, match=r"^out is .*; it must be a path or None without the character .0\.$"):
        check("out", "a\0b", Path | None)
    with pytest.raises(
        OptionError, match=r"^dtype is <class 'complex'>; it must be a type of numbers, such as jnp.float32\.$"
    ):
        check("dtype", complex, DTypeLike)
    with pytest.raises(OptionError, match=r"^rate is an array \[2, 3\] of float64; it must be a number\.$"):
        check("rate", np.zeros((2, 3)), float)


def test_functions_and_dataclasses():
    @checked_arguments
    def add(a: int, *more: int, scale: float = 1.0, **rest: str) -> float:
        return scale * (a + sum(more))

    assert add(1, 2, scale=3) == 9
    for call in (lambda: add("1"), lambda: add(1, "2"), lambda: add(1, scale=None)):
        with pytest.raises(OptionError, match="it must be"):
            call()
    with pytest.raises(TypeError, match="missing"):  # as for any function
        add()

    @dataclasses.dataclass
    class Options:
        sides: tuple[int, int] = (1, 2)

        def __post_init__(self) -> None:
            check_fields(self)

    with pytest.raises(OptionError, match="sides is"):
        Options((1, 2, 3))


def said(function: Callable[..., Any], **arguments: Any) -> str:
    """The error of a call; empty where there is none. Errors of other kinds pass through."""
    try:
        function(**arguments)
    except MtnetsError as error:
        return str(error)
    return ""


def make(rng: Any) -> Any:
    return (np.ones((3, 1)), np.ones((3, 1))), (np.ones((3, 1)), np.ones((3, 1)))


def dense(x: jax.Array) -> jax.Array:
    return hk.Linear(1)(x)


def linear(rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Linear(1, 1, rngs=rngs)


NET, SINE = mtnets.models.mlp(1, 4, 1), mtnets.tasks.sinusoid(shots=3)
ROWS = np.random.default_rng(0).normal(size=(600, 4)), np.repeat(np.arange(60), 10)
PUBLIC: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{name: (method, {}) for name, method in mtnets.METHODS.items()},
    "Truncated": (mtnets.Truncated, {}),
    "Implicit": (mtnets.Implicit, {}),
    "conv4": (mtnets.models.conv4, {"ways": 3, "filters": 2}),
    "Model": (mtnets.Model, {"init": NET.init, "apply": NET.apply, "input_shape": (1,)}),
    "wrap": (mtnets.wrap, {"network": linear, "input_shape": (1,)}),
    "from_nnx": (mtnets.from_nnx, {"network": linear, "input_shape": (1,)}),
    "from_linen": (mtnets.from_linen, {"network": nn.Dense(1), "input_shape": (1,)}),
    "from_equinox": (
        mtnets.from_equinox,
        {"network": eqx.nn.Linear(1, 1, key=jax.random.key(0)), "input_shape": (1,)},
    ),
    "from_haiku": (mtnets.from_haiku, {"network": hk.transform(dense), "input_shape": (1,)}),
    "from_functions": (
        mtnets.from_functions,
        {"apply": lambda p, x: x @ p["w"], "params": {"w": np.ones((1, 1), np.float32)}, "input_shape": (1,)},
    ),
    "frozen": (mtnets.frozen, {"model": NET, "parts": ["layers.0"]}),
    "in_precision": (mtnets.in_precision, {"model": NET, "dtype": jnp.bfloat16}),
    "summarise": (mtnets.summarise, {"model": NET, "method": mtnets.maml()}),
    "sinusoid": (mtnets.tasks.sinusoid, {}),
    "polynomial": (mtnets.tasks.polynomial, {}),
    "glyphs": (mtnets.tasks.glyphs, {}),
    "random_tables": (mtnets.tasks.random_tables, {}),
    "folder": (mtnets.tasks.folder, {"root": "nowhere"}),
    "arrays": (mtnets.tasks.arrays, {"x": ROWS[0], "y": ROWS[1], "ways": 5, "shots": 1, "queries": 3}),
    "from_function": (mtnets.tasks.from_function, {"train": make, "loss": "mse"}),
    "from_sequence": (
        mtnets.tasks.from_sequence,
        {"train": [make(0)], "validation": [make(0)], "test": [make(0)], "loss": "mse"},
    ),
    "mixture": (mtnets.tasks.mixture, {"parts": [SINE, SINE]}),
    "load": (mtnets.load, {"path": "sinusoid"}),
    "load_adapted": (mtnets.load_adapted, {"path": "nowhere"}),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_wrong_calls_end_in_one_sentence(name):
    """Each argument is given every wrong value in turn. Some mean something to some arguments; none ends in an error of
    Python, JAX or another library."""
    function, right = PUBLIC[name]
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        for value in WRONG:
            assert "\n\n" not in said(function, **right | {parameter.name: value})


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(mtnets.Training)])
def test_wrong_settings_of_a_training_end_in_one_sentence(option):
    for value in WRONG:
        error = said(mtnets.Training, **{"meta_steps": 1, "meta_batch": 1, "inner_steps": 1} | {option: value})
        assert not error or option in error


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 1.5},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": "1"},
        {"loss": "hubber"},
        {"loss": 3},
        {"optimiser": "adam"},
        {"optimiser": optax.adam},
        {"callback": 3},
        {"on_log": 3},
        {"patience": -1},
        {"patience": 1.5},
        {"patience": 2, "validate_every": 0},
        {"patience": 2, "seed": [0, 1]},
        {"min_delta": -1.0, "patience": 2},
        {"min_delta": float("nan"), "patience": 2},
        {"min_delta": 0.1},
        {"out": 3},
        {"resume": 1},
        {"resume": True},
        {"progress": "no"},
        {"meta_stepss": 3},
        {"inner_lr": 0.1},
    ],
)
def test_wrong_arguments_of_meta_train(arguments):
    with pytest.raises(MtnetsError, match=next(iter(arguments))):
        mtnets.meta_train(NET, mtnets.maml(0.01), SINE, **{"meta_steps": 1, "progress": False} | arguments)
