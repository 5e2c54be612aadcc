"""Known photos: how far others lie from them, what share is kept, and what a file may hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnets.data.preprocess import Preprocess
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.weights import model_file
from resnets.weights.convert import open_model
from resnets.weights.known import DISTANCES, FEATURES, Known
from resnets.weights.model_file import Model

TINY = ResNetSpec("tiny", (1,), (6,), stem=Stem(2, 3, 1, "none"), num_classes=2, image_size=8)


def drawn(n: int = 60, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)) + 1


def test_novelty_is_the_distance_to_the_kth_neighbour() -> None:
    features = drawn(200)
    known = Known.fit(features, 2, "val")
    assert known.neighbours == 10
    others = drawn(30, seed=1)
    unit = [
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (others.numpy(), features.numpy())
    ]
    between = np.linalg.norm(unit[0][:, None] - unit[1], axis=2)
    expected = np.sort(between, 1)[:, 9]
    np.testing.assert_allclose(known.novelty(others).numpy(), expected, atol=1e-3)
    assert torch.allclose(known.novelty(7 * others), known.novelty(others), atol=1e-4)


@pytest.mark.parametrize(("photos", "classes", "k"), [(20, 10, 1), (200, 5, 4), (2000, 10, 10)])
def test_neighbours_are_a_tenth_of_a_class(photos: int, classes: int, k: int) -> None:
    assert Known.fit(drawn(photos), classes, "val").neighbours == k


def test_a_photo_is_not_its_own_neighbour() -> None:
    features = torch.eye(24, 30)  # all at √2 from each other
    known = Known.fit(features, 24, "val")
    assert torch.allclose(known.distances, torch.tensor(2.0).sqrt())


@given(share=st.floats(0.01, 0.98))
def test_the_threshold_keeps_the_share(share: float) -> None:
    known = Known.fit(drawn(99), 2, "val")
    threshold = known.threshold(share)
    nearer, kept = (known.distances < threshold).sum(), (known.distances <= threshold).sum()
    assert nearer < 100 * share + 1e-6  # two photos may be each other's neighbour, and as far
    assert kept >= 100 * share - 1e-6


def test_the_share_is_kept_of_new_photos_on_average() -> None:
    kept = []
    for seed in range(40):
        known = Known.fit(drawn(40, seed=seed), 2, "val")
        kept.append((known.novelty(drawn(500, seed=seed + 1000)) <= known.threshold(0.9)).float())
    assert torch.stack(kept).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(UserError, match=r"--keep .*: a share of known photos to keep"):
        Known.fit(drawn(), 2, "val").threshold(share)


def test_few_photos_do_not_tell_a_share_near_1() -> None:
    with pytest.raises(UserError, match=r"knows 60 photos, which tell at most 0\.983"):
        Known.fit(drawn(60), 2, "val").threshold(0.99)


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="19 known photos, and at least 20"):
        Known.fit(drawn(19), 2, "val")
    broken = drawn()
    broken[3, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        Known.fit(broken, 2, "val")


# -- the model file -------------------------------------------------------------------------------


def model(**fields: Any) -> Model:
    torch.manual_seed(0)
    settled = {
        "spec": TINY,
        "classes": ("a", "b"),
        "preprocess": Preprocess.for_photos(8, 8),
        "weights": ResNet(TINY).state_dict(),
        "unknown": Known.fit(drawn(), 2, "val"),
    }
    return Model(**settled | fields)


def test_it_comes_back_from_a_file(tmp_path: Path) -> None:
    path, written = tmp_path / "model.safetensors", model()
    model_file.save(written, path)
    read = model_file.load(path)
    assert read.unknown is not None
    assert read.unknown.describe() == written.unknown.describe()
    assert torch.equal(read.unknown.features, written.unknown.features)
    assert torch.equal(read.unknown.distances, written.unknown.distances)
    assert set(read.weights) == set(written.weights)
    before = path.read_bytes()
    model_file.save(read, path)
    assert path.read_bytes() == before


Damage = Callable[[dict[str, Any], dict[str, Tensor]], None]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "kind": (lambda r, t: r.update(score="energy"), "another kind"),
    "no tensor": (lambda r, t: t.pop(DISTANCES), "has the tensors"),
    "no record": (lambda r, t: r.clear(), "another kind"),
    "type": (lambda r, t: t.update({FEATURES: t[FEATURES].float()}), "float32"),
    "shape": (lambda r, t: t.update({FEATURES: t[FEATURES][1:]}), "for 60 photos"),
    "few": (lambda r, t: t.update({k: v[:9] for k, v in t.items()}), "for 9 photos"),
    "scalar": (lambda r, t: t.update({DISTANCES: torch.tensor(1.0)}), "for 0 photos"),
    "NaN": (lambda r, t: t[DISTANCES].fill_(torch.nan), "NaN"),
    "infinity": (lambda r, t: t[FEATURES].fill_(torch.inf), "NaN or infinity"),
    "k": (lambda r, t: r.update(neighbours=60), "60 neighbours of 60"),
    "k of another type": (lambda r, t: r.update(neighbours=True), "True neighbours"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_not_a_record_is_refused(damage: Damage, reason: str) -> None:
    known = Known.fit(drawn(), 2, "val")
    record = known.describe()
    tensors = {name: value.clone() for name, value in known.tensors().items()}
    assert Known.read(record, tensors).neighbours == known.neighbours
    damage(record, tensors)
    with pytest.raises(ValueError, match=reason):
        Known.read(record, tensors)


def test_a_file_with_features_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model_file.save(model(unknown=Known.fit(drawn(width=5), 2, "val")), path)
    with pytest.raises(UserError, match=r"unknown\.features are not of 6 features"):
        model_file.load(path)


def test_tensors_without_a_record_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    spare = model(unknown=None)
    stray = {**spare.weights, FEATURES: torch.zeros(3)}
    model_file.save(model(unknown=None, weights=stray), path)
    with pytest.raises(UserError, match="without a record"):
        model_file.load(path)


def test_another_classifier_keeps_no_record_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    record = {"temperature": 0.3, "split": "val", "n": 500}
    model_file.save(model(calibration=record), path)
    assert open_model(path).temperature == 0.3
    changed = open_model(path, num_classes=3)
    assert (changed.calibration, changed.unknown) == ({}, None)


def test_many_known_photos_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Known.fit(drawn(90), 2, "val")
    monkeypatch.setattr("resnets.weights.known.ROWS", 7)
    assert torch.allclose(Known.fit(drawn(90), 2, "val").distances, whole.distances)
