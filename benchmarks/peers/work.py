"""How many operations a meta-step needs, counted from the algorithm: its matrix products, whoever computes them."""

import math

from benchmarks.peers.networks import Layer, Transformer
from benchmarks.peers.problem import Work

# Products of a layer `y = x W` in one pass over its examples. Reverse mode takes two for each product that is
# differentiated: one for each factor. To the data flows no gradient.
FORWARD = 1
BACKWARD, BACKWARD_OF_DATA = 2, 1  # dW = xᵀ dy; dx = dy Wᵀ
SECOND, SECOND_OF_DATA = 6, 2  # reverse of y, dW and dx; of y and dW, without the factor x


def operations(work: Work) -> int | None:
    """Multiplications and additions of one meta-step in matrix products. Activations, normalisation, pooling and Adam
    are left out. None for a network whose products are not all in its layers: attention."""
    cell = work.sizes
    if isinstance(cell.network, Transformer):
        return None
    support, query = cell.examples
    total = 0
    for layer in cell.network.layers().values():
        product = 2 * layer.places * layer.rows * layer.units  # for one example
        backward = FORWARD + (BACKWARD_OF_DATA if layer.of_data else BACKWARD)
        second = (SECOND_OF_DATA if layer.of_data else SECOND) if work.order == "exact" else 0
        total += product * (support * cell.inner_steps * (backward + second) + query * backward)
        total += _folding(layer, work) * cell.inner_steps
    return total * cell.tasks


def _folding(layer: Layer, work: Work) -> int:
    """Of an inner step in an MT-net: W T, the gradient G Tᵀ, and two more for each that is differentiated."""
    if work.method == "maml":
        return 0
    product = 2 * (layer.rows + layer.bias) * layer.units**2
    return product * (6 if work.order == "exact" else 4)


def share(work: Work, meta_steps_per_second: float, matrix_rate: float) -> float:
    """Of the matrix rate (operations per second) of the machine; NaN where operations are not counted."""
    count = operations(work)
    return math.nan if count is None else count * meta_steps_per_second / matrix_rate
