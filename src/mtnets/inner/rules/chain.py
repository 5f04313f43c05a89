"""Rules put together."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.inner.seams import Arrays, Rule, Setting
from mtnets.networks.layers import Layer


def chain(**rules: Rule) -> Rule:
    """Rules one after another, in the order given; the names are those of their arrays."""

    def init(setting: Setting) -> Arrays:
        keys = [jax.random.fold_in(setting.key, i) for i in range(len(rules))]
        return {n: rule.init(setting._replace(key=key)) for (n, rule), key in zip(rules.items(), keys, strict=True)}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        # fold_in, not split: a key that no rule uses then costs nothing
        items = enumerate(rules.items())
        return optax.chain(*(r.begin(layers, arrays[n], inner_lr, jax.random.fold_in(key, i)) for i, (n, r) in items))

    def probabilities(layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]:
        return {name: each for n, r in rules.items() for name, each in r.probabilities(layers, arrays[n]).items()}

    kinds = [rule.surrogate for rule in rules.values() if rule.surrogate]
    surrogate = "gradient" if "gradient" in kinds else "arrays" if kinds else None
    learns, loose = any(rule.learns for rule in rules.values()), all(rule.loose for rule in rules.values())
    return Rule(init, begin, probabilities, learns, surrogate, loose)


class StepState(NamedTuple):
    """Inner steps taken so far."""

    step: Array


def by_step(update: Callable[[Any, Array, Any], Any]) -> optax.GradientTransformation:
    """The transformation `update(updates, step, params) -> updates`, told how many inner steps were taken before."""

    def count(updates: Any, state: StepState, params: Any = None) -> tuple[Any, StepState]:
        return update(updates, state.step, params), StepState(state.step + 1)

    start = StepState(jnp.zeros((), jnp.int32))
    return optax.GradientTransformation(lambda params: start, count)  # type: ignore[arg-type]


def beside(inside: optax.GradientTransformation, paths: Collection[str], inner_lr: Any) -> optax.GradientTransformation:
    """A transformation for the leaves of these paths alone; all others move by `−α G`."""

    def of_layers(leaves: Any) -> Any:
        return {path: leaf for path, leaf in leaves.items() if path in paths}

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        plain = {path: -inner_lr * g for path, g in updates.items() if path not in paths}
        moved, state = inside.update(of_layers(updates), state, None if params is None else of_layers(params))
        return plain | dict(moved), state  # type: ignore[call-overload]

    return optax.GradientTransformation(lambda params: inside.init(of_layers(params)), update)  # type: ignore[arg-type]


def fixed(rule: Rule, names: Collection[str]) -> Rule:
    """A rule that leaves the layers of these names, and leaves in no layer, where they are, whatever it makes of the
    others."""

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        moves = {path for layer in layers if layer.name not in names for path in layer.paths}

        def stop(updates: Any, params: Any) -> Any:
            return {path: u if path in moves else jnp.zeros_like(u) for path, u in updates.items()}

        return optax.chain(rule.begin(layers, arrays, inner_lr, key), optax.stateless(stop))

    return rule._replace(begin=begin)
