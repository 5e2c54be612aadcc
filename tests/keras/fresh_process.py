"""What a fresh process does with saved models; `test_backends` runs it and reads what it wrote.

With ``train FOLDER`` it imports `resnets.keras` and, for every ``.keras`` file, writes an ``.npz``
of its logits, its weights after one step of SGD, and its losses in `fit`. With ``load FOLDER`` it
cannot import `resnets`, and writes the logits only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np


def train(folder: Path, photos: np.ndarray, classes: np.ndarray) -> None:
    from resnets.keras import get_state

    for path in folder.glob("*.keras"):
        model = keras.saving.load_model(path)
        logits = model.predict(photos, verbose=0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss)
        step = {"batch_size": len(photos), "verbose": 0}
        first = model.fit(photos, classes, **step).history["loss"]
        state = get_state(model)
        others = model.fit(photos, classes, epochs=9, **step).history["loss"]
        np.savez(path.with_suffix(".npz"), logits=logits, losses=first + others, **state)
    assert "torch" not in sys.modules


def load(folder: Path, photos: np.ndarray, _: np.ndarray) -> None:
    sys.modules["resnets"] = None  # type: ignore[assignment]  # importing it is an error
    for path in folder.glob("*.keras"):
        logits = keras.saving.load_model(path)(photos, training=False)
        np.savez(path.with_suffix(".npz"), logits=logits)
    for path in folder.glob("*.json"):
        model = keras.models.model_from_json(path.read_text())
        model.load_weights(path.with_suffix(".weights.h5"))
        np.savez(path.with_suffix(".npz"), logits=model(photos, training=False))


if __name__ == "__main__":
    what, folder = sys.argv[1:]
    batch = np.load(Path(folder, "batch", "batch.npz"), allow_pickle=False)
    {"train": train, "load": load}[what](Path(folder), batch["photos"], batch["classes"])
    print(keras.backend.backend())
