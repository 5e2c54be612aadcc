"""How timm, torchvision's reference and Keras train on a folder of photos, by their defaults.

    python benchmarks/peer_loops.py timm PHOTOS --size 160 --batch 32 --epochs 3 --workers 2

One process each; after every epoch, its validation included, a line ``epoch 1/3``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def say(epoch: int, options: argparse.Namespace, right: float, total: int) -> None:
    print(f"epoch {epoch + 1}/{options.epochs} top-1 {right / total:.4f}", flush=True)


def validate(net: Any, loader: Iterable[Any]) -> tuple[int, int]:
    """Return how many photos are named rightly, and how many there are."""
    import torch

    net.eval()
    right = total = 0
    with torch.inference_mode():
        for images, labels in loader:
            right += int((net(images).argmax(1) == labels).sum())
            total += len(labels)
    return right, total


def timm(options: argparse.Namespace) -> None:
    """timm's train.py with its defaults, on a CPU."""
    import torch
    from timm import create_model
    from timm.data import create_dataset, create_loader, resolve_data_config
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    net = create_model("resnet18", num_classes=options.classes)
    config = resolve_data_config({"input_size": (3, options.size, options.size)}, model=net)
    shared = {
        "input_size": config["input_size"],
        "batch_size": options.batch,
        "mean": config["mean"],
        "std": config["std"],
        "num_workers": options.workers,
        "device": torch.device("cpu"),
    }
    train = create_loader(
        create_dataset("", root=options.photos, split="train", is_training=True),
        is_training=True,
        interpolation="random",
        **shared,
    )
    val = create_loader(
        create_dataset("", root=options.photos, split="val"),
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
        **shared,
    )
    rate = 0.1 * options.batch / 256
    optimizer = create_optimizer_v2(net, opt="sgd", lr=rate, weight_decay=2e-5, momentum=0.9)
    criterion = LabelSmoothingCrossEntropy(0.1)
    for epoch in range(options.epochs):
        net.train()
        for images, labels in train:
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        say(epoch, options, *validate(net, val))


def torchvision(options: argparse.Namespace) -> None:
    """torchvision's references/classification/train.py with its defaults, on a CPU."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.models import resnet18
    from torchvision.transforms import v2

    numbers = [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    random = v2.Compose([v2.RandomResizedCrop(options.size), v2.RandomHorizontalFlip(), *numbers])
    middle = v2.Compose(
        [v2.Resize(options.size * 256 // 224), v2.CenterCrop(options.size), *numbers]
    )
    loaders = {
        split: DataLoader(
            ImageFolder(options.photos / split, transform),
            options.batch,
            shuffle=split == "train",
            num_workers=options.workers,
        )
        for split, transform in (("train", random), ("val", middle))
    }
    net = resnet18(num_classes=options.classes)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    for epoch in range(options.epochs):
        net.train()
        for images, labels in loaders["train"]:
            loss = criterion(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        say(epoch, options, *validate(net, loaders["val"]))


def keras(options: argparse.Namespace) -> None:
    """Keras' `fit` with its own loader and layers, on TensorFlow; the network is ours in Keras."""
    import resnets.keras

    import keras  # isort: skip  # after it: see resnets.keras
    import tensorflow as tf

    larger = options.size * 256 // 224
    numbers = [keras.layers.Rescaling(1 / 127.5, -1)]
    layers = {
        "train": [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomCrop(*[options.size] * 2),
        ],
        "val": [keras.layers.CenterCrop(options.size, options.size)],
    }

    def photos(split: str) -> Any:
        pipeline = keras.Sequential([*layers[split], *numbers])
        found = keras.utils.image_dataset_from_directory(
            options.photos / split,
            image_size=(larger, larger),
            batch_size=options.batch,
            shuffle=split == "train",
            verbose=False,
        )
        training = split == "train"
        made = found.map(lambda x, y: (pipeline(x, training=training), y), tf.data.AUTOTUNE)
        return made.prefetch(tf.data.AUTOTUNE)

    net = resnets.keras.create_model("resnet18", num_classes=options.classes)
    net.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    class Say(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            say(epoch, options, logs["val_accuracy"], 1)

    net.fit(
        photos("train"),
        validation_data=photos("val"),
        epochs=options.epochs,
        callbacks=[Say()],
        verbose=0,
    )


PEERS = {"timm": timm, "torchvision": torchvision, "keras": keras}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.classes = len([path for path in (options.photos / "train").iterdir() if path.is_dir()])
    PEERS[options.peer](options)


if __name__ == "__main__":
    main()
