"""`Preprocess`: its two steps, its fields, and its JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from resnets.data.fit import FITS, INTERPOLATIONS, margin, resize_crop
from resnets.data.images import DecodeError, decode, decode_reduced
from resnets.data.preprocess import STATISTICS, Preprocess

RNG = np.random.default_rng(0)
FRACTIONS = st.floats(0, 1, width=32)


@st.composite
def descriptions(draw: st.DrawFn) -> Preprocess:
    resize = draw(st.integers(1, 8192))
    channels = draw(st.sampled_from([1, 3]))
    values = st.tuples(*[FRACTIONS] * channels)
    return Preprocess(
        size=draw(st.integers(max(1, (resize - 63) // 2), resize)),
        resize=resize,
        channels=channels,
        interpolation=draw(st.sampled_from(sorted(INTERPOLATIONS))),
        mean=draw(values),
        std=draw(st.tuples(*[st.floats(0.01, 10)] * channels)),
        background=draw(st.tuples(*[st.integers(0, 255)] * 3)),
        fit=draw(st.sampled_from(sorted(FITS))),
        order=draw(st.sampled_from(["RGB", "BGR"])),
        decode=draw(st.sampled_from(["full", "reduced"])),
    )


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


# -- fields and JSON ------------------------------------------------------------------------------


@given(descriptions())
def test_json_round_trip(preprocess: Preprocess) -> None:
    text = json.dumps(preprocess.to_dict())
    found = Preprocess.from_dict(json.loads(text))
    assert found == preprocess
    assert hash(found) == hash(preprocess)


@pytest.mark.parametrize("channels", [1, 3])
def test_for_photos_uses_the_statistics_of_their_channels(channels: int) -> None:
    preprocess = Preprocess.for_photos(8, 9, channels)
    assert (preprocess.size, preprocess.resize, preprocess.channels) == (8, 9, channels)
    assert (preprocess.mean, preprocess.std) == STATISTICS[channels]


def test_a_new_network_reads_jpegs_reduced_and_others_do_not() -> None:
    assert Preprocess(8, 9, decode="reduced") == Preprocess.for_photos(8, 9)
    old = {k: v for k, v in Preprocess(8, 9).to_dict().items() if k != "decode"}
    assert Preprocess.from_dict(old).decode == "full"


GREY = {"channels": 1, "mean": (0.5,), "std": (0.2,)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size=0, resize=8"),
        ({"size": 9}, "size=9, resize=8"),
        ({"resize": 8193}, "resize=8193"),
        ({"resize": 81}, "size=8, resize=81: resize ≤ 2 × size \\+ 64"),
        ({"size": 4.0}, "size=4.0, resize=8: both are ints"),
        ({"resize": "8"}, "resize='8': both are ints"),
        ({"interpolation": "area"}, "interpolation='area' is not one of: bilinear, bicubic"),
        ({"channels": 2}, "channels=2: photos are read with 1 or 3"),
        ({"channels": 1}, "need 1 numbers"),
        ({"mean": (0.5,)}, "need 3 numbers"),
        (GREY | {"std": (0.2, 0.2)}, "need 1 numbers"),
        ({"std": (0.2, 0.0, 0.2)}, "std positive"),
        ({"std": (0.2, -1.0, 0.2)}, "std positive"),
        ({"std": (0.2, float("nan"), 0.2)}, "finite"),
        ({"mean": (0.2, float("inf"), 0.2)}, "finite"),
        ({"fit": "wide"}, "fit='wide' is not one of: square, short, short-floor, stretch"),
        ({"order": "GBR"}, "order='GBR' is not one of: RGB, BGR"),
        ({"mirrored": 1}, "mirrored=1 is not true or false"),
        ({"decode": "half"}, "decode='half' is not one of: full, reduced"),
        ({"background": (1, 2)}, "background=.* is not three numbers in 0…255"),
        ({"background": (0, 0, 256)}, "background=.* is not three numbers in 0…255"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Preprocess(**{"size": 8, "resize": 8} | fields)
    assert "\n" not in str(caught.value)


def test_for_photos_of_other_channels_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="channels=4: photos are read with 1 or 3"):
        Preprocess.for_photos(8, 8, channels=4)


GOOD = Preprocess(8, 9).to_dict()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"size": 8},
        GOOD | {"colour": 1},
        GOOD | {"mean": None},
        GOOD | {"mean": ["a", "b", "c"]},
        GOOD | {"background": [[0], [0], [0]]},
        GOOD | {"channels": [3]},
        GOOD | {"size": None},
        [1, 2],
        "size",
        None,
    ],
)
def test_what_is_no_description_is_a_value_error(values: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        Preprocess.from_dict(values)


# -- prepare --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_prepare_is_decode_then_resize_crop(channels: int) -> None:
    pixels = RNG.integers(0, 256, (20, 31, 3), np.uint8)
    preprocess = Preprocess.for_photos(8, 10, channels)
    found = preprocess.prepare(png(pixels))
    assert found.shape == (10, 10, channels)
    assert found.dtype == np.uint8
    expected = resize_crop(decode(png(pixels), channels), 10, "bilinear")
    np.testing.assert_array_equal(found, expected)


def test_prepare_decodes_as_much_as_is_said() -> None:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (90, 120, 3), np.uint8)).save(stream, "JPEG", quality=95)
    content = stream.getvalue()
    full, reduced = (Preprocess(8, 10, decode=how) for how in ("full", "reduced"))
    whole = resize_crop(decode(content), 10, "bilinear")
    np.testing.assert_array_equal(full.prepare(content), whole)
    pixels, part = decode_reduced(content, least=20)
    assert part.step == 4
    expected = resize_crop(pixels, 10, "bilinear", part=part)
    np.testing.assert_array_equal(reduced.prepare(content), expected)
    assert not np.array_equal(expected, whole)


def test_prepare_takes_files_bytes_and_arrays(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (14, 14, 3), np.uint8)
    file = tmp_path / "photo.png"
    file.write_bytes(png(pixels))
    preprocess = Preprocess(9, 9)
    expected = preprocess.prepare(pixels)
    np.testing.assert_array_equal(preprocess.prepare(file), expected)
    np.testing.assert_array_equal(preprocess.prepare(png(pixels)), expected)


def test_prepare_uses_the_background_and_the_interpolation() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    assert (Preprocess(4, 4, background=(1, 2, 3)).prepare(clear) == (1, 2, 3)).all()
    pixels = RNG.integers(0, 256, (9, 9, 3), np.uint8)
    results = {
        Preprocess(4, 4, interpolation=name).prepare(pixels).tobytes() for name in INTERPOLATIONS
    }
    assert len(results) == len(INTERPOLATIONS)


def test_every_interpolation_is_known_to_the_decoder() -> None:
    for name in INTERPOLATIONS:
        assert resize_crop(np.zeros((3, 3, 3), np.uint8), 2, name).shape == (2, 2, 3)


def test_prepare_says_why_a_photo_does_not_decode() -> None:
    with pytest.raises(DecodeError, match="empty file"):
        Preprocess(8, 8).prepare(b"")


# -- fits: equal to the transforms of those who trained so ----------------------------------------


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@given(
    height=st.integers(3, 90),
    width=st.integers(3, 90),
    size=st.integers(4, 30),
    cut=st.integers(0, 9),
)
@settings(max_examples=40)
def test_short_is_torchvisions_resize_and_center_crop(
    how: str, height: int, width: int, size: int, cut: int
) -> None:
    photo = Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))
    mode = InterpolationMode(how)
    expected = tv.center_crop(tv.resize(photo, [size + cut], mode), [size, size])
    preprocess = Preprocess(size, size + cut, interpolation=how, fit="short")
    prepared = torch.from_numpy(preprocess.prepare(np.asarray(photo)))[None]
    assert prepared.shape == (1, size + cut, size + cut, 3)
    np.testing.assert_array_equal(preprocess.center(prepared)[0], np.asarray(expected))


@given(height=st.integers(8, 60), width=st.integers(8, 60), cut=st.integers(0, 9))
@settings(max_examples=40)
def test_short_floor_drops_the_half_of_an_odd_margin(height: int, width: int, cut: int) -> None:
    photo = Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))
    size, resize = 12, 12 + cut
    scaled = np.asarray(tv.resize(photo, [resize]))
    top, left = (scaled.shape[0] - size) // 2, (scaled.shape[1] - size) // 2
    preprocess = Preprocess(size, resize, fit="short-floor")
    found = preprocess.center(torch.from_numpy(preprocess.prepare(np.asarray(photo)))[None])[0]
    np.testing.assert_array_equal(found, scaled[top : top + size, left : left + size])


def test_stretch_scales_both_sides() -> None:
    photo = Image.fromarray(RNG.integers(0, 256, (20, 31, 3), np.uint8))
    found = Preprocess(9, 9, interpolation="nearest", fit="stretch").prepare(np.asarray(photo))
    expected = photo.resize((9, 9), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_a_photo_that_would_be_scaled_beyond_the_limit_is_refused() -> None:
    strip = np.zeros((2, 60_000, 3), np.uint8)
    with pytest.raises(DecodeError, match="limit"):
        Preprocess(224, 256, fit="short").prepare(strip)
    assert Preprocess(224, 256).prepare(strip).shape == (256, 256, 3)


def test_the_order_of_the_channels() -> None:
    pixels = torch.from_numpy(RNG.integers(0, 256, (2, 4, 4, 3), np.uint8))
    rgb = Preprocess(4, 4, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    bgr = Preprocess(4, 4, mean=(0.3, 0.2, 0.1), std=(0.6, 0.5, 0.4), order="BGR")
    assert torch.equal(bgr.normalize(pixels), rgb.normalize(pixels).flip(1))


# -- center and normalize -------------------------------------------------------------------------


@given(resize=st.integers(1, 30), cut=st.integers(0, 29))
def test_center_cuts_the_same_from_all_sides(resize: int, cut: int) -> None:
    size = max(1, resize - cut)
    rows = torch.arange(resize)
    images = (rows[:, None] * 100 + rows)[None, :, :, None]
    found = Preprocess(size, resize).center(images)[0, :, :, 0]
    assert found.shape == (size, size)
    start = margin(size, resize)
    assert found[0, 0] == start * 101
    assert torch.equal(found, images[0, start : start + size, start : start + size, 0])
    assert abs((resize - size - start) - start) <= 1
    assert torch.equal(found, tv.center_crop(images[..., 0], [size, size])[0])


def test_center_passes_what_is_cut_already() -> None:
    images = torch.rand(2, 8, 8, 3)
    assert torch.equal(Preprocess(8, 12).center(images), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize_equals_torchvision(channels: int) -> None:
    preprocess = Preprocess.for_photos(6, 6, channels)
    pixels = torch.from_numpy(RNG.integers(0, 256, (4, 6, 6, channels), np.uint8))
    found = preprocess.normalize(pixels)
    scaled = tv.convert_image_dtype(pixels.permute(0, 3, 1, 2), torch.float32)
    expected = tv.normalize(scaled, preprocess.mean, preprocess.std)
    assert found.shape == (4, channels, 6, 6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_normalize_by_hand() -> None:
    preprocess = Preprocess(1, 1, mean=(0.0, 0.2, 1.0), std=(1.0, 0.5, 0.1))
    pixels = torch.tensor([[[[255, 51, 0]]]], dtype=torch.uint8)
    assert preprocess.normalize(pixels).flatten().tolist() == pytest.approx([1.0, 0.0, -10.0])


def test_normalize_takes_floats_and_keeps_the_layout() -> None:
    preprocess = Preprocess(6, 6)
    pixels = torch.randint(0, 256, (2, 6, 6, 3), dtype=torch.uint8)
    found = preprocess.normalize(pixels)
    assert found.dtype == torch.float32
    assert torch.equal(preprocess.normalize(pixels.float()), found)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_photo_is_normalized_the_same_alone_and_in_a_batch() -> None:
    preprocess = Preprocess(9, 11)
    pixels = torch.randint(0, 256, (17, 11, 11, 3), dtype=torch.uint8)
    together = preprocess.normalize(preprocess.center(pixels))
    for i in range(17):
        alone = preprocess.normalize(preprocess.center(pixels[i : i + 1]))[0]
        assert torch.equal(alone, together[i])


def test_the_views_of_a_photo() -> None:
    images = torch.rand(2, 3, 4, 4)
    (only,) = Preprocess(4, 4).views(images)
    assert only is images
    straight, mirrored = Preprocess(4, 4, mirrored=True).views(images)
    assert straight is images
    assert torch.equal(mirrored[..., 0], images[..., 3])
