"""Pooled features, and keeping them while only the classifier learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resnets.data.cache import ImageCache, Storage
from resnets.data.preprocess import Preprocess
from resnets.data.samples import ArrayReader, Samples
from resnets.errors import UserError
from resnets.nn import ResNet
from resnets.spec import Head, ResNetSpec, Stem
from resnets.tasks.classify import Classify
from resnets.training import pooled
from resnets.training.distributed import Alone
from resnets.training.features import Pooling, classifier, features_of
from resnets.training.inference import Eager, Stopped, score_split
from resnets.training.machine import Machine
from resnets.training.pooled import Pooled, choose_view, compute

MACHINE = Machine("cpu", "fp32")
SPEC = ResNetSpec("tiny", (1,), (8,), stem=Stem(8, 3, 1, pool="none"), num_classes=3)
N, BAD = 150, 70
PREPROCESS = Preprocess(12, 14)


@pytest.fixture(scope="module")
def net() -> ResNet:
    torch.manual_seed(0)
    net = MACHINE.place(ResNet(SPEC))
    net(torch.randn(16, 3, 12, 12) * 2 + 1)  # statistics of its own
    return net


@pytest.fixture(scope="module")
def cache() -> ImageCache:
    """Return photos of which one does not decode."""
    images = np.random.default_rng(0).random((N, 14, 14, 3))
    images[BAD] *= 100  # beyond 1
    samples = Samples(
        tuple(map(str, range(N))), np.arange(N) % 3, ArrayReader((images,), ("memory",))
    )
    return ImageCache(samples, PREPROCESS, Storage("none"))


@pytest.mark.parametrize("head", [Head(), Head(norm=True)])
def test_the_network_is_its_two_parts(head: Head) -> None:
    torch.manual_seed(0)
    net, images = ResNet(SPEC.replace(head=head)).eval(), torch.randn(4, 3, 12, 12)
    assert torch.equal(classifier(net)(Pooling(net)(images)), net(images))


@pytest.mark.parametrize("mirrored", [False, True])
def test_they_are_the_mean_over_the_views_of_what_decodes(
    net: ResNet, cache: ImageCache, mirrored: bool
) -> None:
    seen: list[int] = []
    own = ImageCache(cache.samples, replace(PREPROCESS, mirrored=mirrored), Storage("none"))
    chosen = np.array([149, BAD, 3, *range(100)])
    found, values = features_of(net.eval(), own, chosen, 2, seen.append)
    assert found.tolist() == [i for i in chosen.tolist() if i != BAD]
    assert seen == [63, 38]
    images = PREPROCESS.normalize(PREPROCESS.center(torch.from_numpy(own.get(found)[1])))
    views = [images, images.flip(3)][: 1 + mirrored]
    expected = torch.stack([net.forward_features(view).mean((2, 3)) for view in views]).mean(0)
    torch.testing.assert_close(torch.from_numpy(values), expected.detach())


def test_photos_of_which_none_decodes_have_none(net: ResNet, cache: ImageCache) -> None:
    with pytest.raises(UserError, match="not one of the 2 photos decodes"):
        features_of(net, cache, np.array([BAD, BAD]), 0)


def features(net: ResNet, cache: ImageCache, folder: Path, workers: int = 0) -> Pooled:
    return compute(net, cache, workers, Alone(), mirror=True, folder=folder)


def test_they_are_of_the_centre_and_its_mirror(
    net: ResNet, cache: ImageCache, tmp_path: Path
) -> None:
    samples, values = features(net, cache, tmp_path).get(np.array([149, BAD, 3]))
    assert samples.tolist() == [149, 3]
    assert values.shape == (2, 2, 8)
    photos = torch.from_numpy(cache.get(samples)[1])
    images = PREPROCESS.normalize(PREPROCESS.center(photos))
    for view, seen in enumerate((images, images.flip(3))):
        expected = net.eval().forward_head(net.forward_features(seen), pre_logits=True)
        torch.testing.assert_close(torch.from_numpy(values[:, view]), expected.detach())
    assert np.abs(values[:, 0] - values[:, 1]).max() > 1e-4


def test_neither_threads_nor_where_they_are_kept_changes_a_bit(
    net: ResNet, cache: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = features(net, cache, tmp_path)
    assert np.array_equal(features(net, cache, tmp_path, workers=3).values, expected.values)
    monkeypatch.setattr(pooled, "choose_storage", lambda n, folder: Storage("disk", folder))
    on_disk = features(net, cache, tmp_path)
    assert isinstance(on_disk.values, np.memmap)
    assert np.array_equal(on_disk.values, expected.values)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_split_is_scored_as_by_the_whole_network(
    net: ResNet, cache: ImageCache, tmp_path: Path, mirrored: bool
) -> None:
    task = Classify(("a", "b", "c"))
    seen = ImageCache(cache.samples, replace(PREPROCESS, mirrored=mirrored), Storage("none"))
    found, expected = score_split(Eager(net.eval(), MACHINE.device), task, seen, 0)
    views = compute(net, seen, 0, Alone(), mirror=mirrored, folder=tmp_path)
    samples, values = views.score(classifier(net), task, MACHINE, Alone())
    np.testing.assert_array_equal(samples, found)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_no_room_is_said(
    net: ResNet, cache: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled, "choose_storage", lambda n, folder: Storage("none"))
    with pytest.raises(UserError, match=r"no room in .* features of 150 photos.*head_epochs=0"):
        features(net, cache, tmp_path)


def test_it_can_be_stopped(net: ResNet, cache: ImageCache, tmp_path: Path) -> None:
    seen: list[int] = []
    stop: Callable[[], bool] = lambda: len(seen) == 2  # noqa: E731
    with pytest.raises(Stopped):
        compute(
            net,
            cache,
            0,
            Alone(),
            mirror=False,
            folder=tmp_path,
            done=seen.append,
            stop=stop,
        )
    assert seen == [64, 63]


def test_every_other_photo_is_mirrored_where_there_are_mirrors() -> None:
    both = torch.arange(12.0).reshape(3, 2, 2)
    u = torch.tensor([0.0, 0.5, 0.999])
    assert choose_view(both, u).tolist() == [[0, 1], [6, 7], [10, 11]]
    assert choose_view(both[:, :1], u).tolist() == [[0, 1], [4, 5], [8, 9]]
