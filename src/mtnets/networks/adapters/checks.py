"""What every adapter checks: parameters, batch norm, and one prediction of the finished model."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import MtnetsError, OptionError, first_line
from mtnets.networks.model import Model, Norm
from mtnets.networks.several import Shapes, batch_like, shapes_in_words
from mtnets.trees import leaves_by_path

EXAMPLES = 3  # differs from most sizes of networks, so that an axis in the wrong place shows
SAME = 1  # between the others, so that a dependence on those before it or after it shows
ROUNDING = 1e-4
QUICKLY_COMPILED = {"xla_backend_optimization_level": 0}  # what runs twice need not be fast


def check_params(params: Any) -> None:
    """Raises OptionError unless all leaves are arrays of floating point, and there is at least one."""
    leaves = leaves_by_path(params)
    if not leaves:
        raise OptionError("The network has no parameters, so nothing can be learned.")
    for path, leaf in leaves.items():
        numbers = isinstance(leaf, Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
        if not numbers or not jnp.issubdtype(leaf.dtype, jnp.floating):
            kind = leaf.dtype if numbers else type(leaf).__name__
            raise OptionError(
                f"{f'The parameter {path} is' if path else 'params is'} {kind}; parameters must be arrays of floating "
                "point, of NumPy or JAX. Make it a constant of the network, or convert it."
            )


def check_state(statistics: Any, norm: Norm) -> None:
    """Raises OptionError for a network with batch statistics and `norm="none"`."""
    if norm == "none" and jax.tree.leaves(statistics):
        raise OptionError(
            "The network has batch statistics and norm='none'; say what they are: transductive, support or running."
        )


@contextlib.contextmanager
def taking_inputs(input_shape: Shapes, input_dtype: Any) -> Iterator[None]:
    """Turns errors of a network that is called with inputs of this shape into one OptionError."""
    try:
        yield
    except MtnetsError:
        raise
    except Exception as error:  # a network may raise anything
        raise OptionError(
            f"The network cannot take inputs {shapes_in_words(input_shape)} of {_types_in_words(input_dtype)}: "
            f"{first_line(error)}"
        ) from error


def _types_in_words(input_dtype: Any) -> str:
    several = isinstance(input_dtype, Mapping | tuple | list)
    return ", ".join(jnp.dtype(each).name for each in (jax.tree.leaves(input_dtype) if several else [input_dtype]))


def check_form(y: Any, examples: int) -> None:
    """Raises OptionError for outputs (or their shapes) that are no single array `[examples, ..., outputs]`, or one
    without numbers."""
    if not hasattr(y, "shape") or len(y.shape) < 2 or y.shape[0] != examples or 0 in y.shape:
        returned = list(y.shape) if hasattr(y, "shape") else type(y).__name__
        raise OptionError(
            f"For {examples} inputs the network returns {returned}; it must return one array [examples, outputs]."
        )


def checked(model: Model) -> Model:
    """The model, after it has made predictions from finite numbers.

    Raises:
      OptionError: if the network cannot take its inputs, returns another shape or no finite fractions, predicts
        an example from the others in its batch although `norm` is not `"transductive"`, or keeps statistics of earlier
        batches although `norm` is `"support"`.
    """
    x, others = _examples(model)
    params, state = model.init(jax.random.key(0))
    check_params(params)
    with taking_inputs(model.input_shape, model.input_dtype):
        predict = jax.jit(functools.partial(_prediction, model), compiler_options=QUICKLY_COMPILED)
        y = predict(params, state, x)
    if not bool(jnp.isfinite(y).all()):
        raise OptionError("The network returns NaN or infinity for ordinary inputs; look at its weights and its code.")
    if model.norm != "transductive":
        _check_alone(predict, _without_zeros(params), state, x, others)
    if model.norm == "support" and jax.tree.leaves(state):
        _check_memory(model, params, state, x)
    return model


def _prediction(model: Model, params: Any, state: Any, x: Any) -> Array:
    """The prediction for a batch, whose form is checked while it is traced."""
    y = model.apply(params, state, x, None)[0]
    check_form(y, EXAMPLES)
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise OptionError(
            f"The network returns numbers of {y.dtype}, which have no gradient; it must return floating point."
        )
    return y


def _examples(model: Model) -> tuple[Any, Any]:
    """Two batches that differ in all examples but one."""
    random = np.random.default_rng(0)

    def make(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        whole = jnp.issubdtype(dtype, jnp.integer)
        x, others = (np.zeros(shape), np.ones(shape)) if whole else random.normal(size=(2, *shape))
        others[SAME] = x[SAME]
        return np.stack([x, others]).astype(dtype)

    both = batch_like(model.inputs, EXAMPLES, make)
    return tuple(jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), both) for i in range(2))  # type: ignore[return-value]


def _without_zeros(params: Any) -> Any:
    """The parameters with small numbers in the place of zeros: a head of zeros would hide what comes before it."""
    random = np.random.default_rng(1)

    def filled(leaf: Any) -> Array:
        array = np.asarray(leaf)  # JAX would compile a program for each shape
        return jnp.asarray(np.where(array == 0, 0.1 * random.normal(size=array.shape), array).astype(array.dtype))

    return jax.tree.map(filled, params)


def _check_alone(predict: Callable[..., Array], params: Any, state: Any, x: Any, others: Any) -> None:
    """Raises OptionError if the prediction for one example changes with the others in its batch."""
    one, same = (np.asarray(predict(params, state, batch)[SAME], np.float64) for batch in (x, others))
    if not np.allclose(one, same, rtol=ROUNDING, atol=ROUNDING * np.abs(one).max(), equal_nan=True):
        raise OptionError(
            f"The network's prediction for one example depends on the others in its batch (it changes by "
            f"{np.abs(one - same).max():.2g}). Let each example be predicted by itself, with statistics that batch "
            "norm keeps; or say norm='transductive', where the adapter has it, if this is meant."
        )


def _check_memory(model: Model, params: Any, state: Any, x: Any) -> None:
    """Raises OptionError if statistics after a batch depend on those before it."""

    def learn(state: Any) -> Any:
        return model.apply(params, state, x, jax.random.key(0))[1]

    def share(state: Any) -> Any:
        once = learn(state)  # the first batch may count alone, whatever the momentum
        ones = [
            jnp.ones_like(s) if changes and jnp.issubdtype(s.dtype, jnp.floating) else _no_change(s)
            for s, changes in zip(jax.tree.leaves(once), changed, strict=True)
        ]
        # Only this derivative is compiled, which is as small as momentum · 1.
        _, kept = jax.jvp(learn, (once,), (jax.tree.unflatten(jax.tree.structure(once), ones),))
        statistics = [k for k, changes in zip(jax.tree.leaves(kept), changed, strict=True) if changes]
        shares = [jnp.abs(k).max() for k in statistics if k.dtype != jax.float0 and k.size]
        return jnp.stack(shares).max() if shares else jnp.zeros(())

    with taking_inputs(model.input_shape, model.input_dtype):
        program = jax.make_jaxpr(learn)(state).jaxpr
        # What comes out as it went in is a constant of the network, not a statistic.
        changed = [after is not before for before, after in zip(program.invars, program.outvars, strict=True)]
        kept = float(jax.jit(share, compiler_options=QUICKLY_COMPILED)(state))
    if not kept <= ROUNDING:
        raise OptionError(
            "norm='support' needs statistics of the support set alone, and those of this network depend on earlier "
            f"ones (a change of 1 in these changes them by {kept:.2g}); build its batch norm with momentum=0 "
            "(decay_rate=0 in Haiku), or use norm='running' or 'transductive'."
        )


def _no_change(leaf: Any) -> Any:
    """The derivative of a leaf that is held."""
    return jnp.zeros_like(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else np.zeros(leaf.shape, jax.float0)
