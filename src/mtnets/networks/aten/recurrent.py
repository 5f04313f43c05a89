"""LSTM, GRU and plain recurrent networks, of several layers and in both directions, as loops over time."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.networks.aten.random import dropout

State = tuple[Array, ...]  # of one layer: the output, and for an LSTM the cell


def _lstm(inputs: Array, recurrent: Array, state: State) -> State:
    i, f, g, o = jnp.split(inputs + recurrent, 4, -1)
    cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _gru(inputs: Array, recurrent: Array, state: State) -> State:
    (reset, update, new), (r, u, n) = jnp.split(inputs, 3, -1), jnp.split(recurrent, 3, -1)
    keep = jax.nn.sigmoid(update + u)
    return ((1 - keep) * jnp.tanh(new + jax.nn.sigmoid(reset + r) * n) + keep * state[0],)


def _plain(activation: Callable[[Array], Array]) -> Callable[[Array, Array, State], State]:
    return lambda inputs, recurrent, state: (activation(inputs + recurrent),)


Cell = Callable[[Array, Array, State], State]


def _affine(x: Array, weight: Array, bias: Array | None) -> Array:
    return x @ weight.T if bias is None else x @ weight.T + bias


def _layer(
    cell: Cell, x: Array, state: State, weights: Sequence[Array], biased: bool, reverse: bool
) -> tuple[Array, State]:
    """Outputs `[time, examples, units]` and the last state; weights are those of inputs and of the state, two biases,
    and where outputs are smaller than the cell a projection."""
    w_inputs, w_state, *rest = weights
    b_inputs, b_state = (rest.pop(0), rest.pop(0)) if biased else (None, None)
    projection = rest[0] if rest else None

    def step(state: State, inputs: Array) -> tuple[State, Array]:
        output, *cells = cell(inputs, _affine(state[0], w_state, b_state), state)
        output = output if projection is None else output @ projection.T
        return (output, *cells), output

    last, outputs = jax.lax.scan(step, state, _affine(x, w_inputs, b_inputs), reverse=reverse)
    return outputs, last


def _network(cell: Cell) -> Callable[..., tuple[Array, ...]]:
    def operation(
        x: Array,
        start: Any,
        weights: Sequence[Array],
        has_biases: bool,
        num_layers: int,
        p: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
        *,
        rng: Array | None,
    ) -> tuple[Array, ...]:
        x = x.swapaxes(0, 1) if batch_first else x
        starts = tuple(start) if isinstance(start, list | tuple) else (start,)
        directions = 1 + bidirectional
        each = len(weights) // (num_layers * directions)
        ends = []
        for i in range(num_layers):
            outputs = []
            for j in range(i * directions, (i + 1) * directions):
                state = tuple(s[j] for s in starts)
                own = weights[j * each : (j + 1) * each]
                output, end = _layer(cell, x, state, own, has_biases, reverse=j % directions == 1)
                outputs.append(output)
                ends.append(end)
            x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -1)
            if p and train and rng is not None and i + 1 < num_layers:
                x = dropout(x, p, rng=jax.random.fold_in(rng, i))
        x = x.swapaxes(0, 1) if batch_first else x
        return x, *(jnp.stack(parts) for parts in zip(*ends, strict=True))

    return operation


def _single(cell: Cell, parts: int) -> Callable[..., Any]:
    """One step, as in `nn.LSTMCell`."""

    def operation(
        x: Array, state: Any, w_inputs: Array, w_state: Array, b_inputs: Any = None, b_state: Any = None
    ) -> Any:
        state = tuple(state) if parts > 1 else (state,)
        new = cell(_affine(x, w_inputs, b_inputs), _affine(state[0], w_state, b_state), state)
        return new if parts > 1 else new[0]

    return operation


OPERATIONS: dict[str, Callable[..., Any]] = {
    "gru_cell": _single(_gru, 1),
    "lstm_cell": _single(_lstm, 2),
    "rnn_relu_cell": _single(_plain(jax.nn.relu), 1),
    "rnn_tanh_cell": _single(_plain(jnp.tanh), 1),
}

RANDOM: dict[str, Callable[..., Any]] = {  # dropout between layers
    "gru.input": _network(_gru),
    "lstm.input": _network(_lstm),
    "rnn_relu.input": _network(_plain(jax.nn.relu)),
    "rnn_tanh.input": _network(_plain(jnp.tanh)),
}
