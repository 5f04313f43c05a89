"""A PyTorch network learns to learn sine curves; what it learns of a new curve goes back into a copy of the module.

pip install 'mtnets[torch]'        python examples/wrap_torch.py        (a minute on two cores)
"""

import sys

import numpy as np
import torch

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Linear(1, 40), torch.nn.ReLU(), torch.nn.Linear(40, 40), torch.nn.ReLU(), torch.nn.Linear(40, 1)
)
model = mtnets.wrap(network, input_shape=(1,))
print(mtnets.summarise(model, mtnets.mt_net()))
learner = mtnets.meta_train(model, mtnets.mt_net(0.01), mtnets.tasks.sinusoid(shots=10), meta_steps=STEPS)

x = np.random.default_rng(0).uniform(-5, 5, (10, 1)).astype(np.float32)
adapted = learner.adapt(x, 3 * np.sin(x - 1), inner_steps=5)
network = adapted.to_torch(network)

grid = torch.linspace(-5, 5, 200)[:, None]
with torch.no_grad():
    prediction = network(grid)
    difference = np.abs(prediction.numpy() - np.asarray(adapted(grid.numpy()))).max()
error = float(((prediction - 3 * torch.sin(grid - 1)) ** 2).mean())
print(
    f"PyTorch with the adapted weights: squared error {error:.3f} on the curve; {difference:.1e} from JAX's predictions"
)
