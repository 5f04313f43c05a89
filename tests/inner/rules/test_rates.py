"""Learned rates, and rates that are generated."""

import jax
import numpy as np
import pytest
from rule_problems import LAYERS, WEIGHTS, begun, noise, setting_of, updates_of

from mtnets import OptionError, meta_sgd
from mtnets.inner.rules import generated_rates, layer_step_rates, rate, sgd, weight_rates

pytestmark = pytest.mark.usefixtures("float64")


def test_rates() -> None:
    """α itself, or one rate per weight."""
    assert updates_of(begun(sgd(), {}), [WEIGHTS])[0]["a.b"].tolist() == [-0.5] * 4
    arrays = weight_rates().init(setting_of(inner_lr=0.25))
    assert {path: np.unique(a).tolist() for path, a in arrays.items()} == {path: [0.25] for path in WEIGHTS}
    (update,) = updates_of(begun(weight_rates(), noise(0)), [noise(1)])
    for path in WEIGHTS:
        np.testing.assert_array_equal(update[path], -noise(0)[path] * noise(1)[path])
    assert sgd().moving(LAYERS, {}) == {}


def test_rates_that_start_at_random() -> None:
    """Uniformly between two numbers, each for itself."""
    weights = {"a.w": np.ones((50, 80)), "a.b": np.ones(80)}
    arrays = weight_rates((0.005, 0.1)).init(setting_of((), weights))
    drawn = np.concatenate([np.ravel(arrays[path]) for path in weights])
    assert 0.005 <= drawn.min() < 0.0055
    assert 0.0995 < drawn.max() < 0.1
    np.testing.assert_allclose(drawn.mean(), 0.0525, atol=5 * 0.095 / np.sqrt(12 * drawn.size))  # 5 standard errors
    assert len(np.unique(drawn)) == drawn.size
    for between in ((0.1, 0.005), (0.1, 0.1), (-0.1, 0.1), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(OptionError, match=r"between is .*two numbers of at least 0"):
            meta_sgd(between=between)
    with pytest.raises(OptionError, match=r"between is 0\.1"):
        meta_sgd(between=0.1)  # pyright: ignore


def test_rates_of_layers_and_steps() -> None:
    """Steps beyond those of training use the last; without inner steps there is one."""
    rule = layer_step_rates()
    arrays = rule.init(setting_of(inner_lr=0.25))
    assert {name: a.tolist() for name, a in arrays.items()} == {"a": [0.25] * 3, "b": [0.25] * 3}
    assert rule.init(setting_of(steps=0))["a"].shape == (1,)
    arrays = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([0.1, 0.2, 0.3])}
    gradients = [noise(seed) for seed in range(5)]
    for step, update in enumerate(updates_of(begun(rule, arrays), gradients)):
        now = min(step, 2)
        for path, g in gradients[step].items():
            np.testing.assert_allclose(update[path], -arrays[path[0]][now] * g, rtol=1e-14)


def test_generated_rates() -> None:
    """`w ← β w − α G` with `(α, β) = (α⁰_t, β⁰_t) ⊙ g(means of gradients and weights)`, g a perceptron."""
    random = np.random.default_rng(0)
    rule = generated_rates()
    arrays = {path: np.asarray(a) for path, a in _flat(rule.init(setting_of(inner_lr=0.25))).items()}
    assert np.unique(arrays["rate"]).tolist() == [0.25]
    assert {arrays[name].shape for name in ("rate", "decay")} == {(3, 2)}
    (first,) = updates_of(begun(rule, _nested(arrays)), [noise(7)])
    for path, g in noise(7).items():  # as with α alone
        np.testing.assert_allclose(first[path], -0.25 * g, rtol=1e-14)

    arrays = {path: a + random.normal(size=a.shape) for path, a in arrays.items()}
    params, gradients = noise(10), [noise(seed) for seed in range(5)]
    actual = updates_of(begun(rule, _nested(arrays)), gradients, params, move=True)
    for step, (g, update) in enumerate(zip(gradients, actual, strict=True)):
        rates, decays = _generated(arrays, g, params, min(step, 2))
        after = {
            path: decays["ab".index(path[0])] * w - rates["ab".index(path[0])] * g[path] for path, w in params.items()
        }
        for path, w in after.items():
            np.testing.assert_allclose(params[path] + update[path], w, rtol=1e-10, atol=1e-12)
        params = after


def test_means_of_gradients_that_are_constants() -> None:
    """The same update; along the gradient its derivative is then `−α G`, where α is generated, and nothing more."""
    random = np.random.default_rng(0)
    start = _flat(generated_rates().init(setting_of()))
    arrays = {path: np.asarray(a) + random.normal(size=a.shape) for path, a in start.items()}
    params, g = noise(2), noise(1)

    def update(scale, detached):
        rule = begun(generated_rates(detached=detached), _nested(arrays))
        return rule.update({path: scale * leaf for path, leaf in g.items()}, rule.init(params), params)[0]

    held, whole = (jax.jvp(lambda scale, d=d: update(scale, d), (1.0,), (1.0,)) for d in (True, False))
    rates, _ = _generated(arrays, g, params, 0)
    for path in g:
        np.testing.assert_allclose(held[0][path], whole[0][path], rtol=1e-14)
        np.testing.assert_allclose(held[1][path], -rates["ab".index(path[0])] * g[path], rtol=1e-10, atol=1e-12)
        assert np.abs(held[1][path] - whole[1][path]).max() > 1e-3
    assert generated_rates(detached=True).surrogate == "gradient"  # finite differences disagree, on purpose


def _generated(arrays, gradients, params, step):
    """Rates and decays of the layers a and b, in NumPy."""
    x = np.array([_mean(leaves, layer) for leaves in (gradients, params) for layer in "ab"])
    for name in ("first", "second"):
        x = np.maximum(x @ arrays[f"{name}.w"] + arrays[f"{name}.b"], 0)
    x = x @ arrays["third.w"] + arrays["third.b"]
    return arrays["rate"][step] * x[:2], arrays["decay"][step] * x[2:]


def _mean(leaves, layer):
    """Of a layer's weight and bias together."""
    return np.concatenate([leaf.ravel() for path, leaf in leaves.items() if path[0] == layer]).mean()


def _flat(arrays):
    return {
        f"{name}.{part}" if part else name: a
        for name, inner in arrays.items()
        for part, a in (inner.items() if isinstance(inner, dict) else [("", inner)])
    }


def _nested(flat):
    nested = {name: a for name, a in flat.items() if "." not in name}
    for layer in ("first", "second", "third"):
        nested[layer] = {part: flat[f"{layer}.{part}"] for part in "wb"}
    return nested


def test_choices() -> None:
    assert not rate("fixed").learns
    assert rate("weight").init(setting_of()).keys() == WEIGHTS.keys()
    assert rate("layer-step").init(setting_of()).keys() == {"a", "b"}
    with pytest.raises(OptionError, match=r"rates is 'step'; choose one of fixed, weight, layer-step"):
        rate("step")
