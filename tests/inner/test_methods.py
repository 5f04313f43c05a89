"""What holds for every method, those to come included; and what each makes of bad options."""

import dataclasses
import json
import math
import pickle
from typing import Any

import jax
import numpy as np
import optax
import pytest

from mtnets import (
    METHODS,
    Displacement,
    Exact,
    FirstOrder,
    Implicit,
    Method,
    Model,
    OptionError,
    Parts,
    Truncated,
)
from mtnets.inner import chain, identity, method_from_json, method_to_json, row_mask, sgd
from mtnets.trees import leaves_by_path
from problems import (
    INNER_LR,
    STEPS,
    adapt_at,
    adaptation,
    add,
    assert_trees_close,
    dot,
    gradient_of,
    init_of,
    inner_for,
    inner_key,
    like,
    offset_mlp,
    slope,
    small_mlp,
    start,
    start_of,
    task_of,
    tasks_for,
    to_float64,
)

KEYS = jax.random.split(jax.random.key(5), 3)
# Options that make a method another one; all else is tested with every method's own.
VARIANTS = [
    ("maml", {"rates": "weight"}),
    ("maml", {"rates": "layer-step"}),
    ("t_net", {"sides": 2}),
    ("mt_net", {"sides": 2, "rates": "layer-step"}),
    ("t_net", {"metric": "low-rank", "rank": 2, "sides": 2}),
    ("mt_net", {"metric": "diagonal"}),
    ("maml", {"proximal": 0.5, "inner_clip": 0.4, "inner_optimiser": "momentum"}),
    ("maml", {"inner_optimiser": "adam"}),
    ("meta_sgd", {"adapts_norm": True}),
    ("mt_net", {"adapts_norm": True}),
]
CASES = [*((name, {}) for name in METHODS), *VARIANTS]
# A method that is no other choice than MAML's for some fold and rule: its context moves a bias alone.
NEVER_MAML = {"cavia"}

pytestmark = pytest.mark.usefixtures("float64")
every_method = pytest.mark.parametrize("name", METHODS)


def cases(chosen):
    ids = [" ".join([name, *(f"{n}={value}" for n, value in options.items())]) for name, options in chosen]
    return pytest.mark.parametrize(("name", "options"), chosen, ids=ids)


def learns(name, options):
    method = METHODS[name](**options)
    return method.fold.learns or method.rule.learns or method.task_start is not None


def case(name, options):
    """The compiled meta-gradient, as a function of what is meta-learned alone."""
    model = offset_mlp()
    gradient, tasks = gradient_of(model, name, **options), tasks_for(model)
    return lambda meta, inner_lr=INNER_LR, keys=KEYS: gradient(meta, start_of(model)[1], inner_lr, tasks, keys)


def adapted(name, options, meta):
    """Parameters before the first inner step and after each."""
    model = offset_mlp()
    support = task_of(tasks_for(model), KEYS[0]).support
    return adaptation(model, name, **options)(meta, start_of(model)[1], INNER_LR, support, inner_key(KEYS[0]))


@cases(CASES)
def test_it_adapts(name: str, options: dict) -> None:
    """All that comes out is finite and of the shapes that went in, and a layer has moved."""
    meta, _ = start(offset_mlp(), name, **options)
    result = adapted(name, options, meta)
    before, after = leaves_by_path(meta.params), leaves_by_path(result.params)
    assert {path: leaf.shape for path, leaf in after.items()} == {path: leaf.shape for path, leaf in before.items()}
    for leaf in after.values():
        assert np.isfinite(leaf).all()
    assert max(np.abs(after[path] - before[path]).max() for path in before) > 1e-4
    assert result.support_loss.shape == (STEPS,)


@cases(CASES)
def test_everything_meta_learned_gets_a_gradient(name: str, options: dict) -> None:
    """Apart from leaves that have another value at every inner step: those get it there."""
    model = offset_mlp()
    meta, _ = start(model, name, spread=0.2, **options)
    result = case(name, options)(meta)
    assert jax.tree.structure(result.gradient) == jax.tree.structure(meta)
    null = []
    for path, leaf in leaves_by_path(result.gradient).items():
        assert np.isfinite(leaf).all(), path
        if np.abs(leaf).max() < 1e-9:
            null.append(path)
    assert null == (["params.norms.0.bias"] if METHODS[name](**options).per_step_offsets else [])


@every_method
def test_extremes(name: str) -> None:
    """An inner rate of 0 gives finite numbers, and a loss that is NaN is seen by the guard of training: it is among the
    metrics. `tests/faults/numerics.py` has more of these."""
    model = offset_mlp()
    meta, _ = start(model, name, spread=0.2)
    gradient, tasks = gradient_of(model, name), tasks_for(model)
    still = gradient(meta, start_of(model)[1], 0.0, tasks, KEYS)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(still))
    poisoned = dataclasses.replace(tasks, mix=np.nan * tasks.mix)
    assert np.isnan(gradient(meta, start_of(model)[1], INNER_LR, poisoned, KEYS).metrics["post_loss"])


@every_method
def test_it_can_be_reproduced_from_a_key_and_is_compiled_once(name: str) -> None:
    """New data, weights, keys and inner rates need no new program."""
    meta, _ = start(offset_mlp(), name, spread=0.2)
    gradient = case(name, {})
    first, again = gradient(meta), gradient(meta)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    other = gradient(jax.tree.map(np.copy, meta), 0.2, jax.random.split(jax.random.key(6), 3))
    assert float(first.metrics["post_loss"]) != float(other.metrics["post_loss"])
    compiled: Any = gradient_of(offset_mlp(), name)
    assert compiled._cache_size() == 1


@cases(CASES)
def test_it_starts_as_the_network_that_it_was_given(name: str, options: dict) -> None:
    """At every inner step, and beyond those of training."""
    meta, method = start(offset_mlp(), name, **options)[0], METHODS[name](**options)
    layers, leaves = method.choose(offset_mlp().layers), leaves_by_path(meta.params)
    weights = {path: leaves[path] for layer in layers for path in layer.paths}
    for step in (0, STEPS, STEPS + 3):
        folded = method.fold.apply(layers, meta.fold, weights, step)
        assert folded.keys() >= weights.keys()
        assert_trees_close(folded, {path: leaves[path] for path in folded})


@cases([(name, options) for name, options in CASES if learns(name, options) and name not in NEVER_MAML])
def test_its_neutral_point_is_maml(name: str, options: dict) -> None:
    """With T = I, all units moving, scales 1, factors I, rates α, nothing forgotten, a method is MAML with the same
    estimator: it goes the same way, and its meta-gradient for the parameters is the same."""
    model, method = offset_mlp(), METHODS[name](**options)
    params = add(start_of(model)[0], like(start_of(model)[0], 0), 0.2)
    meta, plain = (to_float64(init(params)) for init in (init_of(model, name, **options), init_of(model, "maml")))
    if "mask" in meta.rule:  # open
        mask = jax.tree.map(lambda zeta: np.full(zeta.shape, 100.0), meta.rule["mask"])
        meta = meta._replace(rule=meta.rule | {"mask": mask})
    if meta.start is not None:  # all is kept
        meta = meta._replace(start=meta.start | {"b": np.full_like(meta.start["b"], 100.0)})
    same = {f.name: getattr(method, f.name) for f in dataclasses.fields(Method) if f.name != "per_step_offsets"}
    same = {n: value for n, value in same.items() if value != getattr(METHODS["maml"](), n)}
    reference = adapted("maml", same, plain)
    assert_trees_close(adapted(name, options, meta).probed, reference.probed, rtol=1e-10, atol=1e-12)
    actual, expected = case(name, options)(meta), case("maml", same)(plain)
    np.testing.assert_allclose(actual.metrics["post_loss"], expected.metrics["post_loss"], rtol=1e-10)
    gradient = leaves_by_path(actual.gradient.params)
    if method.per_step_offsets:  # one leaf is now several
        gradient |= {path: leaf.sum(0) for path, leaf in actual.gradient.fold["offsets"].items()}
    assert_trees_close(gradient, leaves_by_path(expected.gradient.params), rtol=1e-9, atol=1e-12)


def differentiable(name, options):
    """Not with singular vectors held, which follow the weights; `tests/rules/test_preconditioners.py` holds them."""
    method = METHODS[name](**options)
    return method.estimator.name == "exact" and method.rule.surrogate != "gradient"


@cases([case for case in CASES if differentiable(*case)])
def test_meta_gradient_against_finite_differences(name: str, options: dict) -> None:
    """In each part of what is meta-learned and in all of it; not along masks, whose gradient goes straight through."""
    method, (meta, _) = METHODS[name](**options), start(offset_mlp(), name, spread=0.2, **options)
    gradient = case(name, options)
    actual = gradient(meta).gradient
    direction = like(meta, 7)
    if method.rule.surrogate:
        masks = {"mask": direction.rule["mask"]} if "mask" in direction.rule else direction.rule
        direction = direction._replace(rule=direction.rule | jax.tree.map(np.zeros_like, masks))
    still = jax.tree.map(np.zeros_like, direction)
    alone = [still._replace(**{part: getattr(direction, part)}) for part in meta._fields]
    for along in (direction, *(d for d in alone if dot(d, d))):
        expected = slope(lambda changed: gradient(changed).metrics["post_loss"], meta, along)
        np.testing.assert_allclose(dot(actual, along), expected, rtol=1e-5, atol=1e-8)
        assert abs(expected) > 1e-6


@every_method
def test_its_record_makes_it_again(name: str) -> None:
    """As JSON and as a pickle; it compares and hashes by value."""
    for options in ({}, {"inner_lr": 0.5}, {"estimator": FirstOrder()}, {"inner_clip": "off"}):
        method = METHODS[name](**options)
        assert method == METHODS[name](**options)
        assert hash(method) == hash(METHODS[name](**options))
        written = json.loads(json.dumps(method_to_json(method)))
        assert written["name"] == method.name == name
        assert method_from_json(written) == method
        assert pickle.loads(pickle.dumps(method)) == method
        assert dataclasses.replace(method, inner_lr=0.7) == METHODS[name](**options | {"inner_lr": 0.7})
        assert dataclasses.replace(method, inner_lr=0.7) != method
    assert METHODS[name](0.5).inner_lr == 0.5  # the one argument that needs no name


@every_method
def test_it_says_what_it_is(name: str) -> None:
    kind = METHODS[name]
    assert kind.equation
    assert kind.learned
    assert "arXiv" in kind.paper
    assert "`" in (kind.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("maml", {"adapts_norm": True}),
        ("gap", {"biases": False, "beta": 2.0}),
        ("meta_sgd", {"between": (0.005, 0.1)}),
        ("sparse_maml", {"half_closed": True}),
        ("alfa", {"detached": True}),
    ],
)
def test_options_that_were_added_are_recorded_where_they_are_used(name: str, options: dict) -> None:
    """Else records, and the fingerprints of learners, are those of earlier versions."""
    plain, method = method_to_json(METHODS[name]()), METHODS[name](**options)
    assert not options.keys() & plain.keys()
    written = method_to_json(method)
    assert written == plain | options
    assert method_from_json(json.loads(json.dumps(written))) == method != METHODS[name]()


def test_records_are_fields() -> None:
    method: Any = METHODS["mt_net"](0.1, mask="mean", temperature=0.5, adapts=["layers.0"])
    of_mt_nets = {"mask": "mean", "temperature": 0.5, "sides": 1, "rates": "fixed", "metric": "full", "rank": 8}
    common = {"inner_lr": 0.1, "adapts": ("layers.0",), "estimator": {"name": "exact"}, "proximal": 0.0}
    common |= {"inner_clip": None, "inner_optimiser": "sgd", "per_step_offsets": False}
    assert method_to_json(method) == {"name": "mt_net"} | common | of_mt_nets
    assert dataclasses.replace(method, mask="threshold").temperature == 0.5
    assert METHODS["fomaml"]().estimator == FirstOrder()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"name": "maml", "meta_gradient": "first-order", "last_steps": None}, METHODS["maml"](estimator=FirstOrder())),
        ({"name": "t_net", "meta_gradient": "truncated", "last_steps": 3}, METHODS["t_net"](estimator=Truncated(3))),
        (
            {"name": "imaml", "meta_gradient": "implicit", "proximal": 0.5, "cg_steps": 3, "damping": 2.0},
            METHODS["imaml"](estimator=Implicit(0.5, 3, 2.0)),
        ),
        ({"name": "imaml", "meta_gradient": "exact", "proximal": 1.0, "cg_steps": 3, "damping": 2.0},
         METHODS["imaml"](estimator=Exact(), proximal=1.0)),
        ({"name": "maml", "meta_gradient": "exact", "inner_clip": None}, METHODS["maml"](inner_clip="off")),
        ({"name": "maml", "meta_gradient": "exact", "inner_clip": 2.0}, METHODS["maml"](inner_clip=2.0)),
    ],
)  # fmt: skip
def test_records_of_version_0_1(record: dict, expected: Method) -> None:
    assert method_from_json(record) == expected


def test_masks_are_sampled_in_training_whatever_their_use_at_test() -> None:
    layers = small_mlp().layers
    weights = leaves_by_path(start(small_mlp(), "maml")[0].params)
    ones = {path: np.ones(leaf.shape) for path, leaf in weights.items()}
    arrays = {"mask": {layer.name: np.full(layer.units, 0.3) for layer in layers}, "rate": {}}

    def factors(rule):
        transformation = rule.begin(layers, arrays, 1.0, jax.random.key(0))
        return -np.asarray(transformation.update(ones, transformation.init(ones), ones)[0]["layers.0.kernel"])

    method = METHODS["mt_net"](mask="mean")
    assert np.isin(factors(method.rule), [0, 1]).all()
    np.testing.assert_allclose(factors(method.test_rule), 1 / (1 + math.exp(-0.3)))
    np.testing.assert_array_equal(factors(METHODS["mt_net"](mask="threshold").test_rule), 1)
    np.testing.assert_array_equal(factors(METHODS["mt_net"]().test_rule), factors(METHODS["mt_net"]().rule))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Method, register=False):
    """The mask of an MT-net, for the first layer alone."""

    adapts: str = "first"
    strength: float = 1.0

    def parts(self) -> Parts:
        return Parts(METHODS["mt_net"]().fold, chain(mask=row_mask(temperature=self.strength), rate=sgd()))


def test_layers_that_do_not_adapt_keep_their_weights() -> None:
    """A method of one's own: the first layer alone moves (and no arrays are made for the others)."""
    model, method = small_mlp(), Mine()
    params = start(model, "maml")[0].params
    meta = method.init(model, params, jax.random.key(0), inner_lr=INNER_LR, inner_steps=1)
    assert list(meta.fold) == ["layers.0"]
    assert list(meta.rule["mask"]) == ["layers.0"]
    meta = meta._replace(rule={"mask": {"layers.0": np.full(4, 100.0)}, "rate": {}})
    support = task_of(tasks_for(model), KEYS[0]).support
    adapted = adapt_at(inner_for(model, method, 1), meta, {}, INNER_LR, support, KEYS[0]).params
    assert_trees_close(adapted["layers"][1], meta.params["layers"][1])
    assert np.abs(adapted["layers"][0]["kernel"] - meta.params["layers"][0]["kernel"]).max() > 1e-3


@every_method
def test_bad_rates(name: str) -> None:
    for rate in (-0.1, math.nan, math.inf):
        with pytest.raises(OptionError, match=f"inner_lr is {rate}"):
            METHODS[name](rate)
    assert METHODS[name](0).inner_lr == 0


def test_which_layers_move() -> None:
    """By their place, by name, or by a predicate; records hold what can be written down."""
    layers = small_mlp().layers
    first, last = layers
    for adapts, chosen in (
        ("all", layers),
        ("head", (last,)),
        ("body", (first,)),
        ("first", (first,)),
        ("layers.1", (last,)),
        (["layers.1", "layers.0"], layers),
        (lambda layer: layer.units == 4, (first,)),
    ):
        assert METHODS["maml"](adapts=adapts).choose(layers) == chosen
    assert METHODS["maml"](adapts=["layers.0"]).adapts == ("layers.0",)
    assert METHODS["anil"]().choose(layers) == (last,)
    assert METHODS["boil"]().choose(layers) == (first,)
    assert METHODS["cavia"](adapts="layers.1").choose(layers) == (last,)
    with pytest.raises(OptionError, match=r"no layer 'layers\.2'; name some of layers\.0, layers\.1, or one of all"):
        METHODS["maml"](adapts="layers.2").choose(layers)
    with pytest.raises(OptionError, match=r"adapts is 'body', which chooses no layer; name some of layers\.0"):
        METHODS["maml"](adapts="body").choose(layers[:1])
    with pytest.raises(OptionError, match="which chooses no layer"):
        METHODS["maml"](adapts=lambda layer: False).choose(layers)
    written = method_to_json(METHODS["maml"](adapts=lambda layer: True))
    with pytest.raises(OptionError, match="adapts was a function of your own"):
        method_from_json(written)


def test_a_method_of_ones_own_is_registered_with_all_common_options() -> None:
    try:

        @dataclasses.dataclass(frozen=True, kw_only=True)
        class HeadGAP(Method):
            strength: float = 1.0
            adapts: str = "head"

            def parts(self) -> Parts:
                return Parts(identity(), sgd())

        method = HeadGAP(0.1, strength=2.0, inner_clip=0.5)
        assert METHODS["head_gap"] is HeadGAP
        assert (method.name, method.adapts, method.strength, method.inner_clip) == ("head_gap", "head", 2.0, 0.5)
        assert method_from_json(method_to_json(method)) == method
        assert dataclasses.replace(method, adapts="all").adapts == "all"
        with pytest.raises(TypeError, match="strenght"):
            HeadGAP(strenght=1.0)  # pyright: ignore[reportCallIssue]
    finally:
        METHODS.pop("head_gap", None)
    assert "mine" not in METHODS


def test_an_optimiser_of_ones_own_is_recorded_as_such() -> None:
    method = METHODS["maml"](inner_optimiser=optax.scale_by_sign())
    assert method_to_json(method)["inner_optimiser"] == "custom"
    assert dataclasses.replace(method, inner_lr=1.0).inner_optimiser is method.inner_optimiser


def test_clipping_can_be_turned_off() -> None:
    weights: Any = {"w": np.full(4, 100.0)}
    for clip, expected in ((None, 100.0), ("off", 100.0), (1.0, 0.5)):
        before = METHODS["maml"](inner_clip=clip).before
        update: Any = before.update(weights, before.init(weights), weights)[0]
        np.testing.assert_allclose(update["w"], expected)


def test_bad_records() -> None:
    with pytest.raises(OptionError, match=r"'never' is not registered"):
        method_from_json({"name": "never"})
    with pytest.raises(OptionError, match=r"m_net has no option 'metric'; it has inner_lr, adapts.*mask"):
        method_from_json({"name": "m_net", "metric": "full"})
    with pytest.raises(OptionError, match=r"no estimator 'second-order'.*exact, first-order"):
        method_from_json({"name": "maml", "estimator": {"name": "second-order"}})
    with pytest.raises(OptionError, match="estimator was a function of your own"):
        method_from_json({"name": "maml", "meta_gradient": "custom"})
    with pytest.raises(OptionError, match="truncated has no option 'last_step'; it has last_steps"):
        method_from_json({"name": "maml", "estimator": {"name": "truncated", "last_step": 2}})
    with pytest.raises(OptionError, match=r"inner_lr is '0\.1'"):
        method_from_json({"name": "maml", "inner_lr": "0.1"})


def test_numbers_of_numpy_and_tuples_are_recorded() -> None:
    method = METHODS["t_net"](np.float32(0.5), sides=np.int64(2), adapts=["layers.0"])
    assert method_from_json(json.loads(json.dumps(method_to_json(method)))) == method


def test_mistakes_in_a_class_of_ones_own() -> None:
    """A forgotten decorator, and a name that is taken."""

    class Forgotten(Method, register=False):
        strength: float = 1.0

        def parts(self) -> Parts:
            return Parts(identity(), sgd())

    with pytest.raises(OptionError, match=r"Forgotten is not a dataclass; write @dataclasses\.dataclass\(frozen"):
        Forgotten()
    with pytest.raises(OptionError, match=r"a method 'maml' already, mtnets\.inner\.methods\.MAML; name the class"):
        type("MAML", (Method,), {"__module__": __name__})
    assert METHODS["maml"].__module__ == "mtnets.inner.methods"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maml", {"rates": "weights"}, r"'weights'.*'fixed', 'weight', 'layer-step'"),
        ("t_net", {"rates": "layer"}, "'layer'"),
        ("t_net", {"sides": 3}, "sides is 3"),
        ("mt_net", {"sides": 0}, "sides is 0"),
        ("t_net", {"metric": "triangular"}, r"metric is 'triangular'.*'full', 'low-rank', 'diagonal'"),
        ("warp_grad", {"rank": 0}, "rank is 0"),
        ("mt_net_full", {"rank": -1}, "rank is -1"),
        ("meta_curvature", {"factors": "ox"}, r"'ox'.*'oif'"),
        ("meta_curvature", {"factors": ""}, "name some of"),
        ("cavia", {"context": 0}, "context is 0; the context vector needs at least 1 element"),
        ("l2f", {"start": 1.0}, r"start is 1\.0; it must be between 0"),
        ("l2f", {"start": 0}, r"start is 0\.?0?; it must be between 0"),
        ("l2f", {"rates": "layer"}, "'layer'"),
        ("l2f", {"estimator": Displacement()}, "l2f starts anew for each task, which the displacement estimator"),
        ("l2f", {"estimator": Implicit()}, "which the implicit estimator does not allow"),
        ("maml", {"inner_optimiser": "lbfgs"}, r"'lbfgs'.*'sgd', 'momentum', 'adam'"),
        ("maml", {"inner_clip": 0.0}, r"inner_clip is 0\.0"),
        ("maml", {"inner_clip": math.nan}, "inner_clip is nan"),
        ("maml", {"inner_clip": "of"}, "inner_clip is 'of'; it must be a number or 'off' or None"),
        ("maml", {"inner_optimiser": None}, r"inner_optimiser is None.*GradientTransformation"),
        ("maml", {"adapts": None}, r"adapts is None; it must be one of all, layers, head.*a predicate"),
        ("meta_curvature", {"factors": ["o", "i"]}, r"factors is \['o', 'i'\]; it must be text"),
        ("maml", {"proximal": -1.0}, r"proximal is -1\.0"),
        ("maml", {"estimator": "first-order"}, r"estimator is 'first-order'.*mtnets\.FirstOrder\(\)"),
        ("maml", {"estimator": Implicit(), "proximal": 0.5}, r"own pull of 1\.0.*Implicit\(proximal=0\.5\)"),
        ("meta_sgd", {"estimator": Implicit()}, "arrays of its rule, to which the implicit"),
        ("t_net", {"estimator": Displacement()}, "arrays of its fold, to which the displacement"),
        ("m_net", {"estimator": Displacement()}, "arrays of its rule"),
        ("reptile", {"per_step_offsets": True}, "arrays of its fold"),
    ],
)
def test_impossible_choices(name: str, options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        METHODS[name](**options)


def test_networks_that_a_method_cannot_use() -> None:
    """Offsets per step need a norm; a context needs a bias to come in by."""
    params, _ = start_of(small_mlp())
    with pytest.raises(OptionError, match="network with normalisation"):
        METHODS["maml_plus_plus"]().init(small_mlp(), params, KEYS[0], inner_lr=INNER_LR, inner_steps=1)
    plain = Model(lambda key: (np.ones((3, 2)), {}), lambda params, state, x, key: (x @ params, state), (3,))
    with pytest.raises(OptionError, match="has no bias"):
        METHODS["cavia"]().init(plain, np.ones((3, 2)), KEYS[0], inner_lr=INNER_LR, inner_steps=1)


def test_a_context_vector_is_refused_before_batch_norm() -> None:
    model = small_mlp("transductive")
    params = start(model, "maml")[0].params
    with pytest.raises(OptionError, match=r"batch norm \(transductive\).*norm='none'"):
        METHODS["cavia"]().init(model, params, jax.random.key(0), inner_lr=0.1, inner_steps=1)
