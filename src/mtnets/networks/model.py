"""A model is a pair of pure functions over pytrees, `init` and `apply`; built-in models can be built again by name."""

import contextlib
import dataclasses
import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, ParamSpec, get_args

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, RunError
from mtnets.networks.layers import Layer, Structure, named, structure_of
from mtnets.networks.several import Shapes, batch_like, checked_shapes, inputs_like, is_sizes
from mtnets.precision import full_precision
from mtnets.trees import leaves_by_path, replace_leaves

Norm = Literal["transductive", "support", "running", "none"]
P = ParamSpec("P")


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network as pure functions.

    Models with the same `config` are equal, so that programs compiled for one serve the other. A model without a
    `config` equals only itself. A copy with changed fields, as made by `dataclasses.replace`, has no `config`.

    Attributes:
      init: `init(key) -> (params, state)`.
      apply: `apply(params, state, x, key) -> (y, state)` with `x` of shape `[examples, *input_shape]`. With a key the
        network learns: dropout is on, batch statistics come from the current batch, and the new state is returned. With
        `key=None` it predicts: nothing is random, statistics come from the state, and the state is returned unchanged.
        Its products are in full single precision on every device, unless JAX was told otherwise.
      input_shape: shape of one input; or a dictionary or a tuple of shapes, for several inputs: x is then a dictionary
        or a tuple of arrays.
      norm: what batch norm means in this network.
        `transductive`: statistics of the current batch, always, so that a prediction depends on the others in its batch
        (as in the papers of MAML and MT-net);
        `support`: predictions use statistics of the support set, taken in one more pass at the adapted weights;
        `running`: predictions use averages over tasks and meta-steps of training;
        `none`: no batch norm.
      own_weights: whether `init` ignores its key and returns the weights that the network came with.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding; or a dictionary or a
        tuple of types.
      fixed: paths of containers or leaves that no task moves: warp layers, weights that a PyTorch module holds.
      naming: names of the layers that may move, with the paths of their weight and bias. Defaults to the layers and
        names that the traced computation shows.
      flattened: layers whose inputs are flattened images, with the shape of one image, channels last.
        `AdaptedModel.state_dict` needs it, since PyTorch flattens images with channels first.
      layout: how weights are kept where their names and shapes do not say it; files say it too, and are compared.
      config: the call that builds the model again, `{"network": name, **arguments}`; None unless a registered function
        built the model.

    Raises:
      OptionError: for an `input_shape` that is no tuple of sizes, a `norm` that does not exist, or an `init` or `apply`
        that is no function.
    """

    described: ClassVar[str] = (  # in errors
        "a mtnets.Model, which mtnets.wrap(network, input_shape) makes of a network of another library"
    )

    init: Callable[[Array], tuple[Any, Any]]
    apply: Callable[[Any, Any, Array, Array | None], tuple[Array, Any]]
    input_shape: Shapes
    norm: Norm = "none"
    _: dataclasses.KW_ONLY
    own_weights: bool = False
    input_dtype: Any = jnp.float32
    fixed: tuple[str, ...] = ()
    naming: Mapping[str, tuple[str, str | None]] | None = None
    flattened: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    layout: str = ""
    config: Mapping[str, Any] | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", checked_shapes(self.input_shape))
        _ = self.inputs  # raises for types that do not fit
        check_norm(self.norm)
        for name in ("init", "apply"):
            if not callable(getattr(self, name)):
                raise OptionError(f"{name} is {getattr(self, name)!r}; it must be a function.")
        object.__setattr__(self, "apply", full_precision(self.apply))

    def __repr__(self) -> str:
        """`<Model conv4: (28, 28, 1) → 5, 111,936 numbers, norm support>`."""
        name = "of your own" if self.config is None else self.config["network"]
        text = f"<Model {name}: {self.input_shape}"
        with contextlib.suppress(Exception):  # functions of the user's that fail are reported where they are used
            numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self._shapes[0]))
            text += f" → {self.outputs}, {numbers:,} numbers"
        return f"{text}{'' if self.norm == 'none' else f', norm {self.norm}'}>"

    @functools.cached_property
    def inputs(self) -> Any:
        """Shapes and types of one input, a pytree of `jax.ShapeDtypeStruct`."""
        return inputs_like(self.input_shape, self.input_dtype)

    @property
    def takes_several(self) -> bool:
        """Whether one input is several arrays."""
        return not is_sizes(self.input_shape)

    @functools.cached_property
    def outputs(self) -> int:
        """Number of outputs."""
        return outputs_of(self, *self._shapes)

    @property
    def predicts_from_support(self) -> bool:
        """Whether predictions use statistics of the support set."""
        return self.norm == "support"

    @property
    def channels_last_shape(self) -> tuple[int, ...] | None:
        """The shape of one input with channels last, where `input_shape` is that of an image with channels first: the
        first of three axes is shorter than the others. None for all other inputs."""
        if self.takes_several:
            return None
        channels, *sides = self.input_shape or (0,)
        return (*sides, channels) if len(sides) == 2 and channels < min(sides) else None

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that a task may move, in the order of their first use."""
        layers = self._structure.layers
        if self.naming is not None:
            layers = named(layers, self.naming, leaves_by_path(self._shapes[0]))
        free = (layer for layer in layers if not self._is_fixed(layer.weight))
        return tuple(
            dataclasses.replace(layer, bias=None, bias_shape=None)
            if layer.bias and self._is_fixed(layer.bias)
            else layer
            for layer in free
        )

    @functools.cached_property
    def loose(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the leaves in no layer that a task may move, by path: temperatures, scales, positions, weights
        whose use is not linear.

        Scales and offsets of normalisation are not among them in a network with batch norm, as in the code of MAML and
        MT-net; nor is anything if layers are named.
        """
        if self.naming is not None:
            return {}
        return {path: shape for path, shape in self._free.items() if path not in self.normalisation}

    @functools.cached_property
    def normalisation(self) -> dict[str, tuple[int, ...]]:
        """Shapes of scales and offsets of normalisation in a network with batch norm, by path; a task moves them only
        where a method says so (`adapts_norm`). Nothing if layers are named."""
        with_batch_norm = self.norm == "transductive" or (self.norm != "none" and jax.tree.leaves(self._shapes[1]))
        if self.naming is not None or not with_batch_norm:
            return {}
        return {path: shape for path, shape in self._free.items() if path in self._structure.normalising}

    @property
    def _free(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the leaves in no layer, without those that never move."""
        return {path: shape for path, shape in self._structure.loose.items() if not self._is_fixed(path)}

    @functools.cached_property
    def _shapes(self) -> tuple[Any, Any]:
        """Shapes of the parameters and of the state."""
        return jax.eval_shape(self.init, jax.random.key(0))

    @functools.cached_property
    def _structure(self) -> Structure:
        params, state = self._shapes
        x = batch_like(self.inputs, 2)
        return structure_of(lambda params: self.apply(params, jax.tree.map(_zeros, state), x, None)[0], params)

    def _is_fixed(self, path: str) -> bool:
        return f"{path}.".startswith(tuple(f"{fixed}." for fixed in self.fixed))

    @functools.cached_property
    def _identity(self) -> Any:
        return id(self)  # `register` sets another

    def __eq__(self, other: object) -> bool:
        return self._identity == other._identity if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    def __copy__(self) -> "Model":
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, Any]) -> "Model":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.config is None:
            raise RunError(
                "A network of your own consists of functions, which cannot be pickled; save the learner with "
                "save(path) and read it with load(path, model=...), or build the network in a function decorated with "
                "@mtnets.models.register."
            )
        return model_from_config, (dict(self.config),)


def outputs_of(model: Model, params: Any, state: Any) -> int:
    """Number of outputs of a network; its weights may be given by their shapes."""
    return shape_of_output(model, params, state)[-1]


def shape_of_output(model: Model, params: Any, state: Any) -> tuple[int, ...]:
    """Shape of the outputs of a network for one example; its weights may be given by their shapes."""
    x = batch_like(model.inputs, 1, jax.ShapeDtypeStruct)
    y, _ = jax.eval_shape(model.apply, params, state, x, None)
    return y.shape[1:]


def with_classes(model: Model, params: Any, ways: int) -> Any:
    """Parameters, or their shapes, with the shapes of a last layer that has so many units.

    Raises:
      OptionError: for a network whose last layer cannot have any number.
    """
    head, leaves = model.layers[-1], leaves_by_path(params)
    shapes = head.of_classes(ways).leaves(jnp.empty((head.rows, ways)))
    like = {path: jax.ShapeDtypeStruct(leaf.shape, leaves[path].dtype) for path, leaf in shapes.items()}
    return replace_leaves(params, like)


def check_norm(norm: str) -> None:
    """Raises OptionError for a `norm` that does not exist."""
    if not isinstance(norm, str) or norm not in get_args(Norm):
        raise OptionError(f"norm is {norm!r}; it must be one of {', '.join(get_args(Norm))}.")


NETWORKS: dict[str, Callable[..., Model]] = {}


def register(build: Callable[P, Model]) -> Callable[P, Model]:
    """Decorates a function that builds a model, so that its models can be built again from their `config`.

    Learners with such a model are loaded without `model=...` and can be pickled, in any program that has registered the
    function under the same name.

    Args:
      build: a function from plain values (numbers, strings, booleans, and lists of these) to a model.

    Raises:
      OptionError: when the function is called with an argument that JSON cannot hold.
    """
    name, signature = build.__name__, inspect.signature(build)

    build = checked_arguments(build)

    @functools.wraps(build)
    def registered(*args: P.args, **options: P.kwargs) -> Model:
        model = dataclasses.replace(build(*args, **options))
        call = signature.bind(*args, **options)
        call.apply_defaults()
        try:
            text = json.dumps({"network": name, **call.arguments})
        except TypeError as error:
            raise OptionError(
                f"{name} was called with {dict(call.arguments)}; the arguments of a registered network must be plain "
                "values, which JSON can hold."
            ) from error
        object.__setattr__(model, "config", json.loads(text))  # of a frozen dataclass
        # A network that is defined again under its name, as in a notebook, does not equal the old one.
        object.__setattr__(model, "_identity", (registered, text))
        return model

    NETWORKS[name] = registered
    return registered


def model_from_config(config: Mapping[str, Any]) -> Model:
    """The model that `Model.config` describes.

    Raises:
      OptionError: if no network of this name is registered, or it has no such option.
    """
    arguments = dict(config)
    name = arguments.pop("network", None)
    if name not in NETWORKS:
        raise OptionError(
            f"There is no network {name!r}; there are {', '.join(NETWORKS)}. Import the module that registers it, or "
            "pass the model itself (model=...)."
        )
    signature = inspect.signature(NETWORKS[name])
    unknown = arguments.keys() - signature.parameters.keys()
    if unknown:
        raise OptionError(
            f"{name} has no option {', '.join(sorted(unknown))}; it has {', '.join(signature.parameters)}."
        )
    call = inspect.BoundArguments(signature, arguments)  # type: ignore[arg-type]
    return NETWORKS[name](*call.args, **call.kwargs)


def _zeros(leaf: Any) -> Array:
    return jnp.zeros(leaf.shape, leaf.dtype)
