"""Arrays of users are read whole, or refused in one sentence: nothing is lost silently."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtnets.errors import DataError
from mtnets.raw_arrays import narrowed, read_array

MASKED = np.ma.masked_array([1.0, 2.0], [False, True])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (MASKED, "x is a masked array; fill in"),
        ([[1.0], [MASKED]], "x is a masked array"),
        ([1.0, np.ma.masked], "x is a masked array"),
        ([[1], [2, 3]], "x cannot be read as an array of numbers .*; all examples must have one shape"),
        (jax.random.key(0), "x cannot be read as an array of numbers"),
        ("a.csv", r"x is 'a\.csv', which is text; pass what .* holds: pandas\.read_csv\('a\.csv'\), or let files"),
        (Path("b/a.NPY"), r"holds: numpy\.load\('b/a\.NPY'\), or"),
        ("absent/images", r"holds: for images a list of their paths, \['absent/images'\], or"),
    ],
)
def test_what_is_no_array(value, words) -> None:
    with pytest.raises(DataError, match=words):
        read_array(value, "x")


def test_a_folder_is_read_as_on_the_command_line(tmp_path) -> None:
    with pytest.raises(DataError, match=r"x is '.*', a folder; let it be read .*predict_files\(learner, support"):
        read_array(tmp_path, "x")


def test_a_mask_of_nothing_is_no_mask() -> None:
    np.testing.assert_array_equal(read_array(np.ma.masked_array([1, 2]), "x"), [1, 2])


@pytest.mark.parametrize(
    ("array", "dtype", "words"),
    [
        (np.array([1j]), "float32", "x has type complex128; it must be real numbers"),
        (np.array([None]), "float32", "x has type object"),
        (np.array(["1"]), "float32", "x has type <U1"),
        (np.array([[0.0, np.nan]]), "float32", r"x is nan at \(0, 1\); remove or replace"),
        (np.array([0.0, 1e300]), "float32", r"x is 1e\+300 at \(1,\); numbers must be within ±3.4e\+38, .* float32"),
        (
            np.array([1e5]),
            "float16",
            r"x is 100000.0 at \(0,\); numbers must be within ±6.6e\+04, the range of float16",
        ),
        (np.array([1e-200, 0.0]), "float32", "x has numbers up to 1e-200, all 0 in float32"),
        (np.array([1, 2**40]), "int32", r"x is 1099511627776 at \(1,\); it must be a whole number from -2147483648 to"),
        (np.array([1.0, 2.5]), "int32", r"x is 2.5 at \(1,\); it must be a whole number"),
        (np.array([-1]), "uint8", r"x is -1 at \(0,\); it must be a whole number from 0 to 255"),
    ],
)
def test_what_does_not_fit(array, dtype, words) -> None:
    with pytest.raises(DataError, match=words):
        narrowed(array, dtype, "x")


@given(
    st.lists(st.floats() | st.integers(-(2**70), 2**70), min_size=1), st.sampled_from(["f4", "f2", "i4", "bfloat16"])
)
def test_numbers_are_kept_or_refused(numbers, dtype) -> None:
    array, dtype = np.array(numbers, np.float64), jnp.dtype(dtype)
    try:
        narrow = narrowed(array, dtype, "x")
    except DataError:
        return
    assert narrow.dtype == dtype
    smallest = 0 if dtype.kind == "i" else float(jnp.finfo(dtype).tiny)
    precision = 0 if dtype.kind == "i" else float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(narrow.astype(np.float64), array, rtol=precision, atol=smallest)
