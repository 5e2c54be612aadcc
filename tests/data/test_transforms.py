"""Augmentation: each transform against a slow one, photo by photo, or by what it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resnets.data.preprocess import Preprocess
from resnets.data.transforms import (
    Augment,
    ColorJitter,
    PadCrop,
    RandomErase,
    RandomFlip,
    ResizedCrop,
    Transform,
    mix,
)

SIDE = 12
GREY_LEVELS = (10, 20, 30)
MOST = 1 - 2**-24  # the largest number that is drawn
ALL: dict[str, Transform] = {
    "flip": RandomFlip(),
    "pad": PadCrop(SIDE, 2, GREY_LEVELS),
    "crop": ResizedCrop(SIDE, (0.3, 1.0)),
    "turned crop": ResizedCrop(7, (0.3, 1.0), degrees=20.0),
    "jitter": ColorJitter(0.4),
    "erase": RandomErase(0.7, GREY_LEVELS),
}
EVERY = pytest.mark.parametrize("transform", ALL.values(), ids=ALL)


def photos(n: int, side: int = SIDE, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, side, side, channels), dtype=torch.uint8, generator=generator)


def draws(n: int, count: int, seed: int = 1) -> Tensor:
    return torch.rand(n, count, generator=torch.Generator().manual_seed(seed))


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


# -- all of them ----------------------------------------------------------------------------------


@EVERY
@given(n=st.integers(1, 40), seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_a_photo_alone_is_the_photo_in_the_batch(transform: Transform, n: int, seed: int) -> None:
    images, u = photos(n, seed=seed), draws(n, transform.draws, seed)
    together = transform(images, u)
    for i in range(n):
        assert same(transform(images[i : i + 1], u[i : i + 1])[0], together[i])


@EVERY
def test_the_number_of_threads_does_not_matter(transform: Transform) -> None:
    images, u = photos(400, seed=2), draws(400, transform.draws)
    alone = transform(images, u)
    try:
        torch.set_num_threads(2)
        assert same(transform(images, u), alone)
    finally:
        torch.set_num_threads(1)


@EVERY
def test_the_batch_that_comes_in_is_left_as_it_was(transform: Transform) -> None:
    images, u = photos(8), draws(8, transform.draws)
    before = images.clone(), u.clone()
    transform(images, u).fill_(0)
    assert same(images, before[0])
    assert same(u, before[1])


@EVERY
def test_pixels_stay_in_range_at_the_ends_of_the_draws(transform: Transform) -> None:
    ends = torch.tensor([0.0, 0.5, MOST])
    u = torch.cartesian_prod(*[ends] * transform.draws).reshape(-1, transform.draws)
    result = transform(photos(len(u)), u).float()
    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 255


@EVERY
def test_bytes_and_floats_give_the_same(transform: Transform) -> None:
    images, u = photos(8), draws(8, transform.draws)
    assert same(transform(images, u).float(), transform(images.float(), u))


# -- flip -----------------------------------------------------------------------------------------


def test_flip_mirrors_left_to_right_below_one_half() -> None:
    images = photos(3)
    result = RandomFlip()(images, torch.tensor([[0.0], [0.5], [0.49999]]))
    mirrored = images.numpy()[:, :, ::-1]
    np.testing.assert_array_equal(result[0], mirrored[0])
    np.testing.assert_array_equal(result[1], images[1])
    np.testing.assert_array_equal(result[2], mirrored[2])


# -- pad and crop ---------------------------------------------------------------------------------


@given(
    side=st.integers(1, 9),
    pad=st.integers(0, 5),
    cut=st.integers(0, 6),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
def test_pad_crop_equals_padding_and_slicing(
    side: int, pad: int, cut: int, channels: int, seed: int
) -> None:
    size = max(1, side + 2 * pad - cut)
    fill = GREY_LEVELS[:channels]
    images, u = photos(6, side, channels, seed), draws(6, 2, seed)
    result = PadCrop(size, pad, fill)(images, u)
    room = side + 2 * pad - size + 1
    for image, (down, right), found in zip(images.numpy(), u.tolist(), result, strict=True):
        padded = np.empty((side + 2 * pad, side + 2 * pad, channels), np.uint8)
        padded[:] = fill
        padded[pad : pad + side, pad : pad + side] = image
        top, left = math.floor(down * room), math.floor(right * room)
        np.testing.assert_array_equal(found, padded[top : top + size, left : left + size])


def test_pad_crop_reaches_every_position_equally_often() -> None:
    # A photo of a single pixel, padded by 2: where it ends up says where the crop was.
    n = 25_000
    images = torch.full((n, 1, 1, 1), 200, dtype=torch.uint8)
    result = PadCrop(1, 2, (0,))(images, draws(n, 2))
    assert float((result == 200).float().mean()) == pytest.approx(1 / 25, rel=0.1)
    whole = PadCrop(5, 4, (0,))(images, draws(n, 2))
    share = (whole == 200).float().mean(0).squeeze()
    assert torch.allclose(share, torch.full((5, 5), 1 / 25), atol=0.006)


@pytest.mark.parametrize("room", [1, 2, 3, 5, 9, 33, 511, 1000])
def test_the_largest_draw_stays_inside(room: int) -> None:
    images = torch.arange(room).reshape(1, 1, room, 1).expand(1, room, room, 1)
    result = PadCrop(1, 0, (0,))(images, torch.full((1, 2), MOST))
    assert result.item() == room - 1


def test_pad_crop_in_the_middle_is_the_photo() -> None:
    images = photos(2)
    assert same(PadCrop(SIDE, 3, GREY_LEVELS)(images, torch.full((2, 2), 0.5)), images)


# -- resized crop ---------------------------------------------------------------------------------


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Sample at a point in pixels, where pixel i covers i to i + 1; the edge is repeated."""
    side = len(image)
    y, x = min(max(y - 0.5, 0), side - 1), min(max(x - 0.5, 0), side - 1)
    top, left = min(int(y), side - 2), min(int(x), side - 2)
    dy, dx = y - top, x - left
    upper = image[top, left] * (1 - dx) + image[top, left + 1] * dx
    lower = image[top + 1, left] * (1 - dx) + image[top + 1, left + 1] * dx
    return upper * (1 - dy) + lower * dy


def slow_crop(crop: ResizedCrop, image: np.ndarray, u: list[float]) -> np.ndarray:
    side = len(image)
    area = crop.scale[0] + (crop.scale[1] - crop.scale[0]) * u[0]
    aspect = crop.aspect ** (2 * u[1] - 1)
    width, height = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
    centre_x = 0.5 + (2 * u[2] - 1) * (1 - width) / 2
    centre_y = 0.5 + (2 * u[3] - 1) * (1 - height) / 2
    angle = math.radians(crop.degrees) * (2 * u[4] - 1)
    result = np.empty((crop.size, crop.size, image.shape[2]))
    for row in range(crop.size):
        for column in range(crop.size):
            right = ((column + 0.5) / crop.size - 0.5) * width
            down = ((row + 0.5) / crop.size - 0.5) * height
            x = centre_x + right * math.cos(angle) - down * math.sin(angle)
            y = centre_y + right * math.sin(angle) + down * math.cos(angle)
            result[row, column] = bilinear(image, y * side, x * side)
    return result


@given(
    size=st.integers(1, 14),
    low=st.floats(0.05, 1.0),
    degrees=st.sampled_from([0.0, 15.0, 90.0]),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30)
def test_resized_crop_equals_the_slow_one(
    size: int, low: float, degrees: float, channels: int, seed: int
) -> None:
    crop = ResizedCrop(size, (low, 1.0), degrees)
    images, u = photos(3, 10, channels, seed), draws(3, 5, seed)
    result = crop(images, u)
    assert result.shape == (3, size, size, channels)
    for image, numbers, found in zip(images.numpy(), u.tolist(), result, strict=True):
        np.testing.assert_allclose(found, slow_crop(crop, image.astype(float), numbers), atol=0.02)


def test_resized_crop_of_everything_is_the_photo() -> None:
    images = photos(4)
    result = ResizedCrop(SIDE, (1.0, 1.0), degrees=30.0)(images, torch.full((4, 5), 0.5))
    torch.testing.assert_close(result, images.float(), rtol=0, atol=1e-3)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    images = photos(1)
    u = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.0]])
    result = ResizedCrop(SIDE, (1.0, 1.0), degrees=90.0)(images, u)
    turned = np.rot90(images.numpy(), -1, axes=(1, 2)).astype(np.float32)
    np.testing.assert_allclose(result, turned, atol=0.01)


def test_resized_crop_takes_the_share_of_the_area_that_it_should() -> None:
    # On a ramp along x the crop's width shows as its slope, and likewise along y.
    side, n = 64, 200
    ramp = torch.arange(side).float()
    images = torch.stack(torch.broadcast_tensors(ramp[None, :], ramp[:, None]), -1)
    images = images.expand(n, side, side, 2)
    crop = ResizedCrop(16, (0.2, 0.6))
    result = crop(images, draws(n, 5))
    width = (result[:, 8, 10, 0] - result[:, 8, 5, 0]) / 5 / 4
    height = (result[:, 10, 8, 1] - result[:, 5, 8, 1]) / 5 / 4
    area, aspect = width * height, width / height
    assert 0.199 < float(area.min()) < 0.21
    assert 0.59 < float(area.max()) < 0.601
    assert 3 / 4 - 0.01 < float(aspect.min()) < 0.78
    assert 1.3 < float(aspect.max()) < 4 / 3 + 0.01
    assert result[..., 0].min() >= 0
    assert result[..., 0].max() <= side - 1


# -- colours --------------------------------------------------------------------------------------


def test_jitter_equals_the_slow_one() -> None:
    images, u = photos(5), draws(5, 3)
    result = ColorJitter(0.5)(images, u)
    for image, numbers, found in zip(images.numpy(), u.tolist(), result, strict=True):
        brightness, contrast, saturation = (1 + (2 * number - 1) * 0.5 for number in numbers)
        pixels = (image.astype(float) * brightness - 127.5) * contrast + 127.5
        grey = (pixels @ [0.299, 0.587, 0.114])[..., None]
        expected = np.clip(grey + (pixels - grey) * saturation, 0, 255)
        np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_in_the_middle_or_without_strength_changes_nothing(channels: int) -> None:
    images = photos(3, channels=channels)
    for jitter, u in ((ColorJitter(0.8), torch.full((3, 3), 0.5)), (ColorJitter(0.0), draws(3, 3))):
        torch.testing.assert_close(jitter(images, u), images.float(), rtol=0, atol=1e-3)


def test_jitter_of_full_strength_ends_in_black_grey_and_one_colour() -> None:
    images = photos(3)
    u = torch.full((3, 3), 0.5).fill_diagonal_(0.0)
    black, flat, colourless = ColorJitter(1.0)(images, u)
    assert black.max() == 0
    assert torch.equal(flat, torch.full_like(flat, 127.5))
    assert float((colourless.amax(-1) - colourless.amin(-1)).max()) < 1e-3
    assert colourless.std() > 1


def test_grey_photos_have_no_saturation() -> None:
    images = photos(4, channels=1)
    u = torch.tensor([[0.5, 0.5, x] for x in (0.0, 0.3, 0.6, MOST)])
    assert torch.equal(ColorJitter(0.9)(images, u), images.float())


# -- erase ----------------------------------------------------------------------------------------


def holes(n: int, side: int, probability: float = 1.0) -> Tensor:
    """Return which pixels ``N side side`` are erased."""
    images = torch.zeros(n, side, side, 1, dtype=torch.uint8)
    return RandomErase(probability, (9,))(images, draws(n, 5))[..., 0] == 9


def test_a_hole_is_one_rectangle_of_a_fair_size() -> None:
    side = 100
    for hole in holes(300, side):
        rows, columns = hole.any(1).nonzero().squeeze(1), hole.any(0).nonzero().squeeze(1)
        tall, wide = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert int(hole.sum()) == tall * wide
        assert 0.02 * side**2 - 2 * side * 0.2 < tall * wide < side**2 / 3 + 2 * side
        assert 0.3 / 1.15 < tall / wide < 1 / 0.3 * 1.15


def test_holes_are_everywhere_and_as_likely_as_said() -> None:
    hit = holes(4000, 16, probability=0.25)
    assert float(hit.flatten(1).any(1).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert hit.any(0).all()


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_never_and_always_are_exact(probability: float, share: float) -> None:
    erased = holes(200, 32, probability).flatten(1).any(1).float()
    assert float(erased.mean()) == share


def test_a_hole_has_the_colour_and_the_rest_is_untouched() -> None:
    images = photos(50)
    result = RandomErase(1.0, GREY_LEVELS)(images, draws(50, 5))
    fill = torch.tensor(GREY_LEVELS, dtype=torch.uint8)
    changed = (result != images).any(-1)
    assert changed.any()
    assert (result[changed] == fill).all()


# -- strung together ------------------------------------------------------------------------------


def augment(**fields: Any) -> Augment:
    settled: dict[str, Any] = {"size": 8, "resize": SIDE}
    return Augment(
        (
            ResizedCrop(8, (0.4, 1.0), 10.0),
            RandomFlip(),
            ColorJitter(0.3),
            RandomErase(0.5, (1, 2, 3)),
        ),
        Preprocess(**settled | fields),
        8,
    )


def test_augment_hands_each_transform_its_own_numbers() -> None:
    full = augment()
    assert full.draws == 5 + 1 + 3 + 5
    images, u = photos(6), draws(6, full.draws)
    expected = images
    for transform, part in zip(full.transforms, u.split([5, 1, 3, 5], 1), strict=True):
        expected = transform(expected, part)
    assert same(full(images, u), full.preprocess.normalize(expected))


@given(n=st.integers(1, 30), seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_an_augmented_photo_does_not_depend_on_its_batch(n: int, seed: int) -> None:
    full = augment()
    images, u = photos(n, seed=seed), draws(n, full.draws, seed)
    together = full(images, u)
    assert together.shape == (n, 3, 8, 8)
    for i in range(n):
        assert same(full(images[i : i + 1], u[i : i + 1])[0], together[i])


def test_augment_without_transforms_is_the_preprocessing_of_evaluation() -> None:
    preprocess = Preprocess(8, SIDE)
    empty = Augment((), preprocess, 8)
    images = photos(3)
    assert empty.draws == 0
    expected = preprocess.normalize(preprocess.center(images))
    assert same(empty(images, torch.empty(3, 0)), expected)


# -- mixing ---------------------------------------------------------------------------------------


def one_hot(n: int, classes: int = 5) -> Tensor:
    return torch.eye(classes)[torch.arange(n) % classes]


@given(
    n=st.integers(1, 7),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    u=st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=3, max_size=3),
    mixup=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_mixed_targets_sum_to_one_and_match_the_pixels(
    n: int, height: int, width: int, u: list[float], mixup: float, seed: int
) -> None:
    # Every photo is constant, and its value is its target: mixed pixels must average to the same.
    torch.manual_seed(seed)
    targets = torch.rand(n, 4).softmax(1)
    images = targets[:, :, None, None].expand(n, 4, height, width)
    mixed, shares = mix(images, targets, torch.tensor(u), mixup, 1 - mixup)
    torch.testing.assert_close(shares.sum(1), torch.ones(n))
    torch.testing.assert_close(mixed.mean((2, 3)), shares, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "kind"),
    [(0.0, "mixup"), (0.29, "mixup"), (0.31, "cutmix"), (0.79, "cutmix"), (0.81, "none")],
)
def test_the_first_number_chooses(choice: float, kind: str) -> None:
    images, targets = torch.rand(4, 3, 8, 8), one_hot(4)
    mixed, shares = mix(images, targets, torch.tensor([choice, 0.4, 0.5]), 0.3, 0.5)
    untouched = (mixed == images).flatten(1).float().mean(1)
    own = shares.diagonal()
    expected = {"mixup": torch.zeros(4), "cutmix": own, "none": torch.ones(4)}[kind]
    assert torch.equal(untouched, expected)
    assert torch.equal(own, torch.full((4,), {"mixup": 0.4, "cutmix": 28 / 64, "none": 1.0}[kind]))
    assert (shares is targets) == (kind == "none")


def test_without_mixing_nothing_happens() -> None:
    images, targets = torch.rand(4, 3, 8, 8), one_hot(4)
    for choice in (0.0, 0.5, MOST):
        mixed, shares = mix(images, targets, torch.tensor([choice, 0.4, 0.5]), 0.0, 0.0)
        assert mixed is images
        assert shares is targets


def test_mixup_by_hand() -> None:
    images = torch.tensor([0.0, 100.0, 40.0]).reshape(3, 1, 1, 1)
    targets = one_hot(3, 3)
    mixed, shares = mix(images, targets, torch.tensor([0.0, 0.25, 0.0]), 1.0, 0.0)
    assert mixed.flatten().tolist() == [30.0, 100.0, 10.0]
    assert shares.tolist() == [[0.25, 0.0, 0.75], [0.0, 1.0, 0.0], [0.75, 0.0, 0.25]]


def test_cutmix_pastes_the_same_place_of_the_mirrored_photo() -> None:
    images = torch.rand(6, 3, 10, 14)
    before = images.clone()
    mixed, shares = mix(images, one_hot(6, 6), torch.tensor([0.0, 0.6, 0.7]), 0.0, 1.0)
    assert torch.equal(images, before)
    pasted = (mixed != images).any(1)
    box = pasted[0]
    assert (pasted == box).all()
    assert torch.equal(mixed[:, :, box], images.flip(0)[:, :, box])
    rows, columns = box.any(1).sum(), box.any(0).sum()
    assert int(box.sum()) == int(rows * columns) == 6 * 9  # 10 and 14 times √0.4, rounded
    assert float(shares[0, 0]) == pytest.approx(1 - 54 / 140)
    assert float(shares[0, 5]) == pytest.approx(54 / 140)


def test_cutmix_reaches_every_corner() -> None:
    images = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 6, 6)
    reached = torch.zeros(6, 6, dtype=torch.bool)
    places = torch.linspace(0, MOST, 50)
    for place in places:
        mixed, _ = mix(images, one_hot(2), torch.stack([place * 0, place * 0 + 0.75, place]), 0, 1)
        box = mixed[0, 0] == 1
        assert int(box.sum()) == 9  # half the side, squared, wherever it lies
        reached |= box
    assert reached.all()
