"""What is passed to a learner is used as it is, or refused in one sentence. MTNETS_EXAMPLES=100000 tries that many."""

import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import mtnets
from mtnets.errors import MtnetsError
from mtnets.learner.data import to_inputs, to_labels, to_targets
from mtnets.tasks import AS_THEY_ARE, Images, StandardisedRows

some = settings(
    max_examples=int(os.environ.get("MTNETS_EXAMPLES", "100")),
    deadline=None,
    database=None,
    derandomize="MTNETS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
ROWS, COLUMNS, ONE = 3, mtnets.models.mlp(2, 3, 2), mtnets.models.mlp(1, 3, 1)
PIXELS = mtnets.Model(lambda key: ({}, {}), lambda p, s, x, key: (x.reshape(len(x), -1), s), (4, 4, 1))
NUMBERS = (
    st.floats() | st.integers() | st.booleans() | st.complex_numbers() | st.none() | st.sampled_from([10**400, "1"])
)
DTYPES = npst.scalar_dtypes() | st.sampled_from([np.dtype(object), np.dtype(np.longdouble)])


@st.composite
def values(draw: Any, shape: tuple[int, ...]) -> Any:
    """Arrays of any type and of this shape or another, masked, in lists or on a device; and what is no array at all."""
    shapes = st.just(shape) | npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    kind = draw(st.sampled_from(["array", "numbers", "masked", "list", "jax", "other"]))
    if kind == "other":
        return draw(st.recursive(NUMBERS, st.lists, max_leaves=5) | st.dictionaries(st.text(), NUMBERS) | st.text())
    dtype = npst.floating_dtypes() | npst.integer_dtypes() if kind in ("numbers", "jax") else DTYPES
    dtype = draw(dtype)
    array = draw(npst.arrays(dtype, draw(shapes), elements=NUMBERS if dtype.kind == "O" else None))
    if kind == "masked":
        return np.ma.masked_array(array, draw(npst.arrays(bool, array.shape)))
    if kind == "list":
        return list(array) if array.ndim else [array]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 64 bits, which JAX makes 32
        return jnp.asarray(array.astype(array.dtype.newbyteorder("="))) if kind == "jax" else array


def plain(value: Any, dtype: Any) -> np.ndarray:
    """A value as NumPy has it; it must have nothing to lose."""
    assert not np.ma.is_masked(value)
    array = np.asarray(value)
    assert array.dtype.kind in "fiub"
    return array.astype(dtype)


@some
@given(values((ROWS, 2)))
def test_inputs_as_they_are(x: Any) -> None:
    try:
        inputs = to_inputs(COLUMNS, x, AS_THEY_ARE, "x")
    except MtnetsError:
        return
    assert inputs.shape[1:] == (2,)
    assert np.isfinite(inputs).all()
    np.testing.assert_array_equal(inputs, plain(x, np.float32).reshape(inputs.shape))


@some
@given(values((ROWS, 1)))
def test_targets(y: Any) -> None:
    try:
        targets = to_targets(y, AS_THEY_ARE, ROWS, (1,))
    except MtnetsError:
        return
    assert np.isfinite(targets).all()
    np.testing.assert_array_equal(targets, plain(y, np.float32).reshape(ROWS, 1))


@some
@given(values((ROWS,)))
def test_labels(y: Any) -> None:
    try:
        labels, used = to_labels(y, AS_THEY_ARE, ROWS, (), 5)
    except MtnetsError:
        return
    np.testing.assert_array_equal(labels, plain(y, np.int64))
    assert used is not None
    assert np.asarray(used).nonzero()[0].tolist() == sorted({*np.asarray(labels).tolist()})


@some
@given(values((ROWS, 2)), values((ROWS, 1)), values((2, 2)))
def test_rows_that_a_task_standardises(x: Any, y: Any, query: Any) -> None:
    inputs = StandardisedRows(2, scales_targets=True)
    try:
        inputs = inputs.for_task(x, y)
        support, targets = to_inputs(COLUMNS, x, inputs, "x"), to_targets(y, inputs, len(np.asarray(x)), (1,))
        rows = to_inputs(COLUMNS, query, inputs, "x")
    except MtnetsError:
        return
    for passed, made in ((x, support), (y, targets), (query, rows)):
        plain(passed, np.float64)
        assert np.isfinite(made).all()


@some
@given(values((ROWS, 4, 4, 1)))
@pytest.mark.filterwarnings("ignore:.*is nearly black")
def test_images(x: Any) -> None:
    try:
        inputs = to_inputs(PIXELS, x, Images(4, 1), "x")
    except MtnetsError:
        return
    plain(x, np.float32)
    assert np.isfinite(inputs).all()
    assert -1e-3 <= np.min(inputs) <= np.max(inputs) <= 1 + 1e-3  # fractions may be rounded


@pytest.fixture(scope="module")
def learner() -> mtnets.Learner:
    settings = {"meta_steps": 0, "validate_every": 0, "progress": False}
    return mtnets.meta_train(ONE, mtnets.maml(0.01), mtnets.tasks.sinusoid(shots=ROWS), **settings)


@some
@given(options=st.fixed_dictionaries({}, optional={"inner_steps": NUMBERS, "key": values((2,)), "start": values((1,))}))
def test_options_of_adaptation(learner: mtnets.Learner, options: dict[str, Any]) -> None:
    """A number of steps is small, or refused."""
    if type(options.get("inner_steps")) is int and 0 <= options["inner_steps"] < 2**31:
        options["inner_steps"] %= 2
    x = np.ones((ROWS, 1))
    try:
        model = learner.adapt(x, x, **options)
    except MtnetsError:
        return
    assert np.isfinite(jax.device_get(model(x))).all()
