"""Arrays as bytes and back: every type and shape, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtnets import OptionError
from mtnets.arrays import TYPES, from_bytes, from_numpy, stored, to_bytes, to_numpy
from mtnets.trees import leaves_by_path
from samples import arrays


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name != "__metadata__"), arrays(TYPES.values())))
def test_through_bytes(tree) -> None:
    again, metadata = from_bytes(to_bytes(tree, {"card": "{}"}))
    assert metadata == {"card": "{}"}
    assert again.keys() == tree.keys()
    for name, array in tree.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()


def test_arrays_in_any_order_of_memory() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    for each in (array, array[::2], array.astype(">f8")):
        np.testing.assert_array_equal(from_bytes(to_bytes({"a": each}, {}))[0]["a"], each)


@pytest.mark.parametrize("kind", ["complex64", "datetime64[s]", "S3"])
def test_other_types_are_named(kind) -> None:
    with pytest.raises(OptionError, match=r"rule\.phase is .*, which cannot be saved; make it one of bool, float16, "):
        to_bytes({"rule.phase": np.zeros(2, kind)}, {})


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys(kind) -> None:
    for keys in (jax.random.key(3, impl=kind), jax.random.split(jax.random.key(3, impl=kind), (2, 3))):
        array = to_numpy(keys)
        assert (array.shape, array.dtype) == (stored(keys).shape, stored(keys).dtype)
        again = from_numpy(array, jax.eval_shape(lambda keys=keys: keys))
        assert again.dtype == keys.dtype
        np.testing.assert_array_equal(jax.random.key_data(again), array)


def test_another_precision_is_converted_and_another_kind_is_not() -> None:
    half = np.array([0.5, -2.0], np.float16)
    np.testing.assert_array_equal(from_numpy(half, jnp.zeros(2)), [0.5, -2.0])
    assert from_numpy(half, jnp.zeros(2, jnp.bfloat16)).dtype == jnp.bfloat16
    assert from_numpy(np.array([7], np.int64), jnp.zeros(1, jnp.int8)).dtype == jnp.int8
    for array, leaf in (
        (half, jnp.zeros(2, jnp.int32)),
        (np.array([1, 0]), jnp.zeros(2)),
        (np.array([1, 0]), jnp.zeros(2, bool)),
        (np.array([300]), jnp.zeros(1, jnp.int8)),
        (np.zeros(1), jnp.zeros(())),
    ):
        with pytest.raises(ValueError, match=" for "):
            from_numpy(array, leaf)


def test_two_arrays_of_one_path() -> None:
    with pytest.raises(OptionError, match=r"Two arrays have the path 'a\.b'"):
        leaves_by_path({"a.b": 1, "a": {"b": 2}})
