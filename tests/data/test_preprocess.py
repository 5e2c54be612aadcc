"""`Preprocess`: its two steps, its fields, and its JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as tv

from resnets.data.images import INTERPOLATIONS, DecodeError, decode, resize_crop
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


def test_the_default_is_for_photos_in_colour() -> None:
    assert Preprocess(8, 9) == Preprocess.for_photos(8, 9)


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


# -- center and normalize -------------------------------------------------------------------------


@given(resize=st.integers(1, 30), cut=st.integers(0, 29))
def test_center_cuts_the_same_from_all_sides(resize: int, cut: int) -> None:
    size = max(1, resize - cut)
    rows = torch.arange(resize)
    images = (rows[:, None] * 100 + rows)[None, :, :, None]
    found = Preprocess(size, resize).center(images)[0, :, :, 0]
    assert found.shape == (size, size)
    margin = (resize - size) // 2
    assert found[0, 0] == margin * 101
    assert torch.equal(found, images[0, margin : margin + size, margin : margin + size, 0])
    assert 0 <= (resize - size - margin) - margin <= 1


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
