"""`Explainer`: what it says is what predict says, and every input gets its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.data.cache import ImageCache, Storage
from resnets.data.sources import open_dataset
from resnets.errors import UserError
from resnets.explain import trial
from resnets.explain.explainer import Explainer, Explanation
from resnets.explain.neighbours import Album
from resnets.explain.randomised import randomised
from resnets.nn import ResNet

Make = Callable[..., Path]


def explained(
    model: Path, folder: Path, label: str | None = None, **options: Any
) -> list[Explanation]:
    items = [(str(path), path) for path in sorted(folder.iterdir())]
    return list(Explainer.load(model, "cpu", **options).explain(items, label))


@pytest.mark.parametrize(("channels", "mirrored"), [(3, False), (1, False), (3, True)])
def test_it_explains_what_predict_says(
    channels: int, mirrored: bool, make: Make, photos: Path
) -> None:
    model = make(channels, mirrored)
    found = explained(model, photos, test="quick")
    said = resnets.load(model, "cpu").predict([str(one.path) for one in found])
    assert [one.status == "ok" for one in found] == [True, True, True, False]
    for one, row in zip(found, said, strict=True):
        assert one.status == row.status
        assert [label for label, _ in one.top] == [label for label, _ in row.top]
        np.testing.assert_allclose([p for _, p in one.top], [p for _, p in row.top], atol=1e-5)
    for one in found[:3]:
        assert one.label == one.top[0][0]
        assert one.pixels.shape == (32, 32, channels)
        assert one.cells.shape == (8, 8)
        assert one.curves["deletion"].values[0] == pytest.approx(one.probability, abs=1e-5)
        assert one.curves["insertion"].values[-1] == pytest.approx(one.probability, abs=1e-5)
    text = json.loads(json.dumps([one.to_json() for one in found], allow_nan=False))
    assert text[3] == {"path": found[3].path, "status": found[3].status}
    assert text[0]["randomisation"]["passes"] in (True, False, None)


def test_another_class_has_another_map(make: Make, photos: Path) -> None:
    model = make()
    classes = resnets.load(model, "cpu").classes[:2]
    one, other = (explained(model, photos, name, test="none")[0] for name in classes)
    assert (one.label, other.label) == classes
    assert one.top == other.top
    assert not np.allclose(one.cells, other.cells)
    assert one.trial is None
    assert one.curves == {}


def test_a_photo_has_the_same_map_alone_and_among_others(make: Make, photos: Path) -> None:
    explainer = Explainer.load(make(), "cpu", test="quick")
    items = [(path.name, path) for path in sorted(photos.iterdir())]
    among, (alone,) = list(explainer.explain(items))[1], explainer.explain(items[1:2])
    np.testing.assert_allclose(among.cells, alone.cells, atol=1e-4)
    assert among.trial
    assert alone.trial
    assert among.trial.rank == pytest.approx(alone.trial.rank, abs=1e-3)


@pytest.mark.parametrize(("room", "made"), [(trial.KEPT, 3), (0, 9)])
def test_random_networks_are_made_once(
    room: int, made: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def build(net: ResNet, names: tuple[str, ...], seed: int, size: int) -> ResNet:
        seeds.append(seed)
        return randomised(net, names, seed, size)

    monkeypatch.setattr(trial, "randomised", build)
    monkeypatch.setattr(trial, "KEPT", room)
    monkeypatch.setattr("resnets.explain.explainer.BATCH", 2)
    explainer = Explainer.load(make(), "cpu", test="quick")
    drawn = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3))
    found = list(explainer.explain((str(i), p.astype(np.uint8)) for i, p in enumerate(drawn)))
    assert len(seeds) == made  # of three batches
    assert len({one.trial.rank for one in found if one.trial}) > 2


def test_photos_can_be_arrays_and_pictures(make: Make) -> None:
    array = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    explainer = Explainer.load(make(), "cpu", test="none")
    one, same = explainer.explain([("a", array), ("b", Image.fromarray(array))])
    np.testing.assert_allclose(one.cells, same.cells, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "gradcan"}, "--method gradcan: unknown; did you mean gradcam"),
        ({"layer": "layer7"}, "--layer layer7: resnet8 has no such stage"),
        ({"test": "some"}, "--test some: one of full, quick, none"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, str], words: str, make: Make) -> None:
    with pytest.raises(UserError, match=words):
        Explainer.load(make(), "cpu", **options)


def test_a_class_that_the_model_does_not_have(make: Make, photos: Path) -> None:
    with pytest.raises(UserError, match="--class cat: the model has no such class"):
        explained(make(), photos, "cat")


# -- the nearest photos ---------------------------------------------------------------------------


def test_the_nearest_of_a_training_photo_is_itself(make: Make) -> None:
    explainer = Explainer.load(make(), "cpu", test="none")
    dataset = open_dataset("sign-digits")
    samples = dataset.splits["test"].subset(np.arange(0, 400, 10))
    cache = ImageCache(samples, explainer.preprocess, Storage("none"))
    explainer.album = Album(cache, dataset.classes, explainer.net, k=3)
    assert len(explainer.album) == 40
    _, pixels = cache.get(np.arange(40))
    shown = list(explainer.explain((str(i), samples.read(i)) for i in (0, 25)))
    for one, i in zip(shown, (0, 25), strict=True):
        near = one.neighbours
        assert len(near) == 3
        assert near[0].path == samples.path(i)
        assert near[0].label == dataset.classes[samples.labels[i]]
        assert near[0].distance == pytest.approx(0, abs=1e-5)
        assert sorted(n.distance for n in near) == [n.distance for n in near]
        assert one.to_json()["neighbours"][0]["path"] == near[0].path
    assert len(pixels) == 40


def test_neighbours_are_training_photos(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "0"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    explainer = Explainer.load(make(), "cpu", test="none")
    explainer.album = Album.open(tmp_path / "data", explainer.predictor.model, explainer.net)
    warned = "1 of its 2 classes are not the model's (a); labels shown are the data's"
    assert warned in capsys.readouterr().err
    (one,) = explainer.explain([("a", tmp_path / "data" / "test" / "a" / "0.png")])
    assert len(one.neighbours) == 4  # as there are no more
    assert all("train" in near.path for near in one.neighbours)
