"""A Hugging Face dataset of images with labels: two new handwritten digits, from one drawing of each.

    pip install 'mtnets[datasets,sklearn]'        python examples/data_hugging_face.py    (a minute or two on two cores)

Any dataset of the Hub with images and labels goes the same way: datasets.load_dataset("cifar100"), y="fine_label".
"""

import sys

import datasets
import flax.linen as nn
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000

x, labels = (np.asarray(values) for values in load_digits(return_X_y=True))
pixels = (x * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("0123456789"))})
columns = {"image": [Image.fromarray(each) for each in pixels], "label": labels}
dataset = datasets.Dataset.from_dict(columns, features)

tasks = mtnets.tasks.hugging_face(dataset, ways=2, shots=1, queries=10, splits=(0.6, 0.2, 0.2))
network = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(64), nn.relu, nn.Dense(2)])
model = mtnets.wrap(network, input_shape=(8, 8, 1))
learner = mtnets.meta_train(model, mtnets.mt_net(), tasks, meta_steps=STEPS, validate_every=min(200, STEPS))
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
