"""One spec, one set of weights, one data set: trained in PyTorch and in Keras, and compared.

    pip install 'resnets[keras]'
    python examples/two_frameworks.py

A CIFAR ResNet-20 learns the sign language digits that come with the package, at 32 px. Both
networks start from the same numbers, see the same photos in the same order, and take the same steps
of the same optimiser. They do not end in the same numbers: sums in another order round differently,
and Keras' BatchNorm collects the biased variance of a batch where PyTorch's collects the unbiased
one. How accurate they end is within the interval of each other.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import resnets.keras  # isort: skip  before keras itself, and before PyTorch has an optimiser

import keras
import numpy as np
import torch
from numpy.typing import NDArray

import resnets
from resnets.data.preprocess import Preprocess
from resnets.data.sources import open_dataset
from resnets.evaluate.intervals import wilson
from resnets.zoo import get_spec

EPOCHS, BATCH, RATE = 6, 32, 0.02
SPEC = get_spec("resnet20")


def photos(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the photos of a split, ``N C H W``, as every verb reads them; and their labels."""
    samples = open_dataset("sign-digits").splits[split]
    preprocess = Preprocess.for_photos(32, 32)
    pixels = np.stack([preprocess.prepare(samples.read(i)) for i in range(len(samples))])
    return preprocess.normalize(torch.from_numpy(pixels)).contiguous().numpy(), samples.labels


def order(epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng(epoch).permutation(count)


def train_torch(net: resnets.nn.ResNet, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)
    for epoch in range(EPOCHS):
        net.train()
        for batch in np.array_split(order(epoch, len(x)), len(x) // BATCH):
            logits = net(torch.from_numpy(x[batch]))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def train_keras(net: keras.Model, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    net.compile(
        keras.optimizers.SGD(RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for epoch in range(EPOCHS):
        for batch in np.array_split(order(epoch, len(x)), len(x) // BATCH):
            net.train_on_batch(x[batch].transpose(0, 2, 3, 1), y[batch])


def torch_logits(net: resnets.nn.ResNet, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return net.eval()(torch.from_numpy(x)).numpy()


def keras_logits(net: keras.Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return net.predict(x.transpose(0, 2, 3, 1), batch_size=256, verbose=0)


def main() -> None:
    x, y = photos("train")
    held_out, labels = photos("test")
    torch.manual_seed(0)
    ours = resnets.create_model(SPEC)
    state = {name: value.numpy().copy() for name, value in ours.state_dict().items()}
    theirs = resnets.keras.create_model(SPEC, weights=state)
    apart = np.abs(torch_logits(ours, held_out) - keras_logits(theirs, held_out)).max()
    print(f"before training, the logits differ by at most {apart:.1e}")
    train_torch(ours, x, y)
    train_keras(theirs, x, y)
    for name, logits in (
        ("PyTorch", torch_logits(ours, held_out)),
        ("Keras", keras_logits(theirs, held_out)),
    ):
        right, count = int((logits.argmax(1) == labels).sum()), len(labels)
        low, high = wilson(right, count)
        print(f"{name:8} {right / count:6.1%} of {count} held-out photos ({low:.1%}–{high:.1%})")


if __name__ == "__main__":
    main()
