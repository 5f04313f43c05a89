"""A method is a value: a frozen dataclass that chooses from four columns. This is what all methods share."""

import abc
import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, SupportsFloat

import jax
import optax
from jax import Array

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.inner.estimators import Exact
from mtnets.inner.folds import step_offsets
from mtnets.inner.heads import HEADS, Head, HeadName
from mtnets.inner.rules.chain import beside
from mtnets.inner.rules.transformations import INNER_OPTIMISERS, InnerOptimiser, clip_norm, proximal
from mtnets.inner.seams import Estimator, Fold, Meta, Rule, Setting, TaskStart, added
from mtnets.networks.layers import Layer
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path

Off = Literal["off"]  # None leaves the choice to the task family
Adapts = str | Sequence[str] | Callable[[Layer], bool]
PLACES: dict[str, Callable[[tuple[Layer, ...]], tuple[Layer, ...]]] = {
    "all": tuple,
    "layers": tuple,
    "head": lambda layers: layers[-1:],
    "body": lambda layers: layers[:-1],
    "first": lambda layers: layers[:1],
}
# derive the keys of the fold and of the start of a task; rules derive theirs from small numbers
FOLD, START = 1_000_000, 3_000_000


class Parts(NamedTuple):
    """The fold and the rules of a method, and how a task starts where that is not the same for all.

    Attributes:
      fold: how weights that move become weights of the network.
      rule: from gradients to updates while training.
      test_rule: the same at test, where a mask may be used differently. Defaults to `rule`.
      start: where the weights of a task start. Defaults to those that were meta-learned, for all tasks.
    """

    fold: Fold
    rule: Rule
    test_rule: Rule | None = None
    start: TaskStart | None = None


METHODS: "dict[str, type[Method]]" = {}


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """How a network adapts to a task.

    A subclass is a frozen dataclass: its fields are its options, and `parts()` returns the fold and the rules that they
    choose. It is listed in `METHODS` by its class name in lower case (`MTNet` is `"mt_net"`), unless it is declared
    with `class Name(Method, register=False)`.

    Attributes:
      inner_lr: inner rate α. Defaults to that of the task family.
      adapts: which layers move: `"all"`, `"head"` (the last used), `"body"` (all others), `"first"`, names of layers,
        or a predicate on `Layer`. With `"all"`, leaves that lie in no layer move too, unless the method's rule is
        defined by layers; with `"layers"` all layers move and nothing else.
      estimator: how the meta-gradient is taken.
      proximal: λ of a pull `λ/2 |w − θ|²` on the weights toward their start, a part of the inner loss.
      inner_clip: clips the norm of a task's gradient; `"off"` does not. Defaults to that of the task family.
      inner_optimiser: `"sgd"`, `"momentum"`, `"adam"`, or an Optax transformation from gradients to directions. The
        rule, with α or learned rates, acts on these directions.
      per_step_offsets: whether each inner step learns its own scales and offsets of normalisation.
      adapts_norm: whether a task moves scales and offsets of batch norm too, as the official code of GAP, BOIL and
        sparse-MAML does. A rule that is defined by layers leaves them to α.
      head: how the last layer starts: `"fixed"` (with the weights that were meta-learned, for as many classes as in
        training), or for any number of classes: `"shared"` (all with one vector), `"prototypes"` (the means of the
        classes) or `"ridge"` (a ridge regression); or a head of your own.

    Raises:
      OptionError: for a number or an optimiser that is not possible, a value that is not hashable, or an estimator that
        gives no gradient to a part that the method learns.
    """

    described: ClassVar[str] = "a method, for example mtnets.mt_net()"  # in errors
    name: ClassVar[str] = ""
    equation: ClassVar[str] = ""  # one inner step
    learned: ClassVar[str] = ""  # besides the starting point
    paper: ClassVar[str] = ""

    inner_lr: float | None = None
    _: dataclasses.KW_ONLY
    adapts: Adapts = "all"
    estimator: Estimator = Exact()
    proximal: float = 0.0
    inner_clip: float | Off | None = None
    inner_optimiser: InnerOptimiser | optax.GradientTransformation = "sgd"
    per_step_offsets: bool = False
    adapts_norm: bool = added(False)
    head: HeadName | Head = added("fixed")

    def __init_subclass__(cls, *, register: bool = True) -> None:
        if not cls.__dict__.get("name"):
            cls.name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
        if "__repr__" not in vars(cls):
            cls.__repr__ = Method.__repr__  # which a dataclass would replace otherwise
        if register:
            before = METHODS.get(cls.name)
            if before is not None and before.__module__ != cls.__module__:
                raise OptionError(
                    f"There is a method {cls.name!r} already, {before.__module__}.{before.__name__}; name the class "
                    "otherwise, since learners are saved with the name of their method."
                )
            METHODS[cls.name] = cls

    def __post_init__(self) -> None:
        if "__dataclass_fields__" not in vars(type(self)):
            raise OptionError(
                f"{type(self).__name__} is not a dataclass; write @dataclasses.dataclass(frozen=True, kw_only=True) "
                "above its class."
            )
        if isinstance(self.adapts, Sequence) and not isinstance(self.adapts, str):
            object.__setattr__(self, "adapts", tuple(self.adapts))  # compares and hashes by value
        if not (isinstance(self.adapts, str | tuple) or callable(self.adapts)):
            raise OptionError(
                f"adapts is {self.adapts!r}; it must be one of {', '.join(PLACES)}, names of layers, or a predicate."
            )
        check_fields(self)
        for field in dataclasses.fields(self):
            _check_hashable(field.name, getattr(self, field.name))
        if not (self.inner_lr is None or _is_rate(self.inner_lr)):
            raise OptionError(f"inner_lr is {self.inner_lr!r}; it must be a number ≥ 0.")
        if not _is_rate(self.proximal):
            raise OptionError(f"proximal is {self.proximal!r}; it must be a number ≥ 0.")
        if self.proximal and self.estimator.pull:
            raise OptionError(
                f"proximal is {self.proximal}, but the {self.estimator.name} estimator has its own pull of "
                f"{self.estimator.pull}; set that one: estimator=Implicit(proximal={self.proximal})."
            )
        if self.adapts_norm and self.per_step_offsets:
            raise OptionError(
                "adapts_norm is True, but with per_step_offsets each inner step has offsets of its own, which do not "
                "move; use per_step_offsets=False, or leave adapts_norm out."
            )
        if self.head_start is not None and not self.estimator.starts_per_task:
            raise OptionError(
                f"The head {self.head!r} starts anew for each task, which the {self.estimator.name} estimator does not "
                "allow; use Exact() or FirstOrder(), or head='fixed'."
            )
        if self.task_start is not None and not self.estimator.starts_per_task:
            raise OptionError(
                f"{self.name} starts anew for each task, which the {self.estimator.name} estimator does not allow; use "
                "Exact() or FirstOrder()."
            )
        learned = {"fold": self.fold.learns, "rule": self.rule.learns}
        for part in self.estimator.blind:
            if learned.get(part):
                raise OptionError(
                    f"{self.name} learns arrays of its {part}, to which the {self.estimator.name} estimator gives no "
                    "gradient; use Exact() or FirstOrder(), or a method that learns none."
                )
        _ = self.before  # raises for an optimiser or a clipping that is not possible

    def __repr__(self) -> str:
        """The call that makes it, with the options that are not the defaults: `mt_net(inner_lr=0.01)`."""
        name = self.name if METHODS.get(self.name) is type(self) else type(self).__name__
        chosen = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        options = [f"{field.name}={value!r}" for field, value in chosen if value != field.default]
        return f"{name}({', '.join(options)})"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # without what is cached

    @abc.abstractmethod
    def parts(self) -> Parts:
        """The fold and the rules that the options choose.

        Raises:
          OptionError: for options that are not possible.
        """

    @functools.cached_property
    def _parts(self) -> Parts:
        return self.parts()

    @functools.cached_property
    def fold(self) -> Fold:
        """From weights that move to leaves of the network, with offsets for each inner step if `per_step_offsets`."""
        return step_offsets(self._parts.fold) if self.per_step_offsets else self._parts.fold

    @property
    def step(self) -> str:
        """The equation of an inner step with these options; `equation` is that of the usual ones."""
        return self.equation

    @property
    def learns(self) -> str:
        """What is learned besides the start with these options; `learned` says it of all that can be chosen."""
        return self.learned

    @property
    def rule(self) -> Rule:
        """From gradients to updates while training."""
        return self._parts.rule

    @property
    def test_rule(self) -> Rule:
        """From gradients to updates at test and in use."""
        return self._parts.test_rule or self._parts.rule

    @property
    def head_start(self) -> Head | None:
        """How the last layer starts for a task; None where it starts as it was meta-learned."""
        return HEADS[self.head] if isinstance(self.head, str) else self.head

    @property
    def task_start(self) -> TaskStart | None:
        """Where the weights of a task start; None where they start as they were meta-learned."""
        return self._parts.start

    @functools.cached_property
    def before(self) -> optax.GradientTransformation:
        """What stands before the rule, as one Optax chain: the pull to the start, clipping, the inner optimiser."""
        optimiser = self.inner_optimiser
        if isinstance(optimiser, str) and optimiser in INNER_OPTIMISERS:
            optimiser = INNER_OPTIMISERS[optimiser]()
        if not isinstance(optimiser, optax.GradientTransformation):
            raise OptionError(
                f"There is no inner optimiser {optimiser!r}; choose one of {', '.join(INNER_OPTIMISERS)}, or pass an "
                "Optax transformation."
            )
        pull = self.proximal or self.estimator.pull
        parts = [proximal(pull)] if pull else []
        if self.inner_clip not in (None, "off"):
            parts.append(clip_norm(self.inner_clip))  # type: ignore[arg-type]
        return optax.chain(*parts, optimiser)

    def begin(
        self, layers: Sequence[Layer], arrays: Any, inner_lr: Any, key: Array, *, training: bool = False
    ) -> optax.GradientTransformation:
        """From gradients to updates within one task."""
        rule = self.rule if training else self.test_rule
        transformation = rule.begin(layers, arrays, inner_lr, key)
        if self.adapts_norm and not rule.loose:
            transformation = beside(transformation, {path for layer in layers for path in layer.paths}, inner_lr)
        return optax.chain(self.before, transformation)

    def choose(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers that move, of all layers in the order of their first use.

        Raises:
          OptionError: if there is none, or a layer that is named does not exist.
        """
        if isinstance(self.adapts, str) and self.adapts in PLACES:
            chosen = PLACES[self.adapts](tuple(layers))
        elif callable(self.adapts):
            chosen = tuple(layer for layer in layers if self.adapts(layer))  # type: ignore[operator]
        else:
            wanted = (self.adapts,) if isinstance(self.adapts, str) else self.adapts
            names = [layer.name for layer in layers]
            for name in wanted:
                if name not in names:
                    raise OptionError(
                        f"The network has no layer {name!r}; name some of {', '.join(names)}, or one of "
                        f"{', '.join(PLACES)} alone."
                    )
            chosen = tuple(layer for layer in layers if layer.name in wanted)
        if not chosen:
            raise OptionError(
                f"adapts is {self.adapts!r}, which chooses no layer; name some of "
                f"{', '.join(layer.name for layer in layers)}, or one of {', '.join(PLACES)}."
            )
        if self.head_start is not None and chosen[-1] != layers[-1]:
            raise OptionError(
                f"The head {self.head!r} starts anew for each task, and with adapts = {self.adapts!r} {self.name} does "
                "not move it; use adapts='all' or 'head', or head='fixed'."
            )
        return chosen

    def layers_of(self, model: Model, ways: int | None) -> tuple[Layer, ...]:
        """The layers that move, the head with as many units as there are classes; None for those of the network.

        Raises:
          OptionError: as `choose`, or for a network whose last layer cannot have any number of units.
        """
        layers = self.choose(model.layers)
        if self.head_start is None:
            return layers
        return (*layers[:-1], layers[-1].of_classes(layers[-1].units if ways is None else ways))

    def loose(self, model: Model) -> tuple[str, ...]:
        """The paths of the leaves in no layer that move."""
        free = self._free(model) if self._moves_free else ()
        return (*free, *model.normalisation) if self.adapts_norm else free

    def unmoved(self, model: Model) -> tuple[str, ...]:
        """The paths of the leaves in no layer that MAML would move and this method does not, although it moves the
        layers around them."""
        return self._free(model) if self.adapts in ("all", "body") and not self._moves_free else ()

    @property
    def _moves_free(self) -> bool:
        return self.adapts == "all" and self.rule.loose

    def _free(self, model: Model) -> tuple[str, ...]:
        """The paths of the leaves in no layer, without vectors that have values for each inner step."""
        return tuple(path for path, shape in model.loose.items() if not (self.per_step_offsets and len(shape) == 1))

    def init(self, model: Model, params: Any, key: Array, *, inner_lr: Any, inner_steps: int) -> Meta:
        """The meta-learned arrays at the start, where the fold changes nothing.

        Args:
          model: the network.
          params: its parameters.
          key: for arrays that start at random.
          inner_lr: α.
          inner_steps: of training.

        Raises:
          OptionError: if the method cannot adapt this network.
        """
        moving, leaves = self.layers_of(model, 1), leaves_by_path(params)
        in_layers = {path for layer in model.layers for path in layer.paths}
        warps = tuple(f"{path}." for path in model.fixed)
        vectors = {
            path: leaf
            for path, leaf in leaves.items()
            if leaf.ndim == 1 and path not in in_layers and not path.startswith(warps)
        }
        weights = {path: leaves[path] for layer in moving for path in layer.paths}
        if self.adapts_norm and not model.normalisation:
            raise OptionError(
                "adapts_norm is True, but the network has no scales and offsets of batch norm that could move; leave "
                "it out."
            )
        if self.rule.loose:
            weights |= {path: leaves[path] for path in self.loose(model)}
        head = None
        if self.head_start is not None:  # the fold and the rule see one class
            unit = model.layers[-1].matrix(leaves)[:, :1]
            weights |= moving[-1].leaves(unit)
            head = self.head_start.init(moving[-1], unit)
        setting = Setting(moving, weights, vectors, inner_lr, inner_steps, key, model.norm)
        fold = self.fold.init(setting._replace(key=jax.random.fold_in(key, FOLD)))
        start = self.task_start and self.task_start.init(setting._replace(key=jax.random.fold_in(key, START)))
        return Meta(params, fold, self.rule.init(setting), head, start=start)


def _is_rate(value: Any) -> bool:
    return isinstance(value, SupportsFloat) and 0 <= float(value) < float("inf")


def _check_hashable(name: str, value: Any) -> None:
    """Raises OptionError for a value that is not hashable: compiled programs are found by their method."""
    try:
        hash(value)
    except TypeError as error:
        raise OptionError(
            f"{name} is {value!r}; it must be hashable, for example a tuple instead of a list."
        ) from error
