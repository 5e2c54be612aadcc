"""The decoder, on files of every kind that the tests make themselves."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from resnets.data import images
from resnets.data.fit import FITS, Part, resize_crop
from resnets.data.images import EXTENSIONS, FORMATS, DecodeError, decode, decode_reduced
from resnets.data.quiet import pillow_warnings_ignored
from resnets.errors import UserError

RNG = np.random.default_rng(0)
SMOOTH = np.stack(
    np.broadcast_arrays(
        np.linspace(0, 255, 48)[:, None], np.linspace(255, 0, 32)[None, :], np.full((48, 32), 90.0)
    ),
    axis=-1,
).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def reason(source: Path | bytes | np.ndarray) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(source)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert len(text) < 120
    return text


# What comes out, in general


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_bit_for_bit(kind: str) -> None:
    pixels = RNG.integers(0, 256, (7, 5, 3), np.uint8)
    result = decode(encoded(Image.fromarray(pixels), kind))
    np.testing.assert_array_equal(result, pixels)
    assert result.dtype == np.uint8
    assert result.flags.writeable
    assert result.flags.c_contiguous


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_decodes_from_bytes_and_from_a_file(kind: str, tmp_path: Path) -> None:
    content = encoded(Image.fromarray(SMOOTH), kind)
    file = tmp_path / "image.data"
    file.write_bytes(content)
    result = decode(content)
    assert result.shape == (48, 32, 3)
    assert np.abs(result.astype(int) - SMOOTH).mean() < 6
    np.testing.assert_array_equal(decode(file), result)


def test_extensions_are_lower_case_and_belong_to_the_formats() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"} <= EXTENSIONS
    assert not {".pdf", ".eps", ".txt", ".ico"} & EXTENSIONS
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in EXTENSIONS)


def test_channels_must_be_1_or_3() -> None:
    with pytest.raises(ValueError, match="channels is 4"):
        decode(encoded(Image.new("L", (2, 2)), "PNG"), channels=4)


# Orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255, 0, 0
    upright[8:, 16:] = 0, 0, 255
    # How the camera would have stored it: the inverse of what EXIF 2.32, table 6, tells to do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    content = encoded(
        Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **lossless.get(kind, {})
    )
    result = decode(content)
    assert result.shape == upright.shape
    assert np.abs(result.astype(int) - upright).max() <= 4


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode(encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif)).shape == SMOOTH.shape


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0II*\0\x08\0\0\0\xff\0"]
)
def test_corrupt_exif_costs_neither_the_image_nor_a_warning(exif: bytes) -> None:
    content = encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(content).shape == SMOOTH.shape


# Modes


def test_alpha_is_composited_on_the_background() -> None:
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [200, 100, 0, 128]]], np.uint8)
    content = encoded(Image.fromarray(pixels), "PNG")
    white = [[[255, 255, 255], [10, 20, 30], [227, 177, 127]]]
    np.testing.assert_allclose(decode(content), white, atol=1)
    green = [[[0, 255, 0], [10, 20, 30], [100, 177, 0]]]
    np.testing.assert_allclose(decode(content, background=(0, 255, 0)), green, atol=1)
    np.testing.assert_array_equal(decode(content)[0, 1], [10, 20, 30])


def test_grey_alpha_is_composited() -> None:
    pixels = np.array([[[40, 0], [40, 255]]], np.uint8)
    content = encoded(Image.fromarray(pixels, "LA"), "PNG")
    np.testing.assert_array_equal(decode(content), [[[255] * 3, [40] * 3]])
    np.testing.assert_array_equal(decode(content, 1, (0, 0, 0)), [[[0], [40]]])


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    return image


def test_a_palette_is_expanded() -> None:
    content = encoded(palette_image(), "PNG")
    np.testing.assert_array_equal(decode(content), [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]])


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255])])
def test_a_transparent_palette_entry_shows_the_background(transparency: int | bytes) -> None:
    content = encoded(palette_image(), "PNG", transparency=transparency)
    result = decode(content, background=(1, 2, 3))
    np.testing.assert_array_equal(result, [[[1, 2, 3], [0, 255, 0], [0, 0, 255]]])


def test_a_translucent_palette_entry_is_mixed() -> None:
    content = encoded(palette_image(), "PNG", transparency=bytes([128, 255, 255]))
    np.testing.assert_allclose(decode(content)[0, 0], [255, 127, 127], atol=1)


@pytest.mark.parametrize(
    ("mode", "transparent", "kept"), [("L", 7, 9), ("RGB", (7, 7, 7), (9, 9, 9)), ("1", 0, 1)]
)
def test_a_transparent_colour_shows_the_background(
    mode: str, transparent: int | tuple[int, int, int], kept: int | tuple[int, int, int]
) -> None:
    image = Image.new(mode, (2, 1), kept)
    image.putpixel((0, 0), transparent)
    options = {"transparency": transparent}
    result = decode(encoded(image, "PNG", **options), background=(50, 60, 70))
    np.testing.assert_array_equal(result[0, 0], [50, 60, 70])
    np.testing.assert_array_equal(result[0, 1], [255] * 3 if mode == "1" else [9, 9, 9])


def test_grey_is_replicated_and_colour_becomes_luma() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    content = encoded(Image.fromarray(grey), "PNG")
    np.testing.assert_array_equal(decode(content), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(decode(content, channels=1), grey[..., None])
    colours = encoded(palette_image().convert("RGB"), "PNG")
    np.testing.assert_array_equal(decode(colours, channels=1), [[[76], [150], [29]]])


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "TIFF", "PPM", "BMP"):
        np.testing.assert_array_equal(decode(encoded(image, kind)), [[[0] * 3, [255] * 3]])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_not_inverted(kind: str) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    result = decode(encoded(red, kind))
    np.testing.assert_allclose(result, np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=3)
    white = decode(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), kind))
    assert white.min() >= 252


def test_ycbcr_tiff_is_converted() -> None:
    image = Image.new("RGB", (16, 16), (200, 30, 60)).convert("YCbCr")
    np.testing.assert_allclose(decode(encoded(image, "TIFF"))[0, 0], [200, 30, 60], atol=2)


WIDE = np.array([[0, 128, 129, 257, 32768, 65535, 4095, 65406, 65407]], np.uint16)
NARROW = np.array([[0, 0, 1, 1, 128, 255, 16, 254, 255]], np.uint8)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    np.testing.assert_array_equal(np.rint(WIDE * (255 / 65535)), NARROW)
    big_endian = Image.frombytes("I;16B", (9, 1), WIDE.astype(">u2").tobytes())
    for content in (
        encoded(Image.fromarray(WIDE), "PNG"),
        encoded(Image.fromarray(WIDE), "TIFF"),
        encoded(big_endian, "TIFF"),
        b"P5 9 1 65535\n" + WIDE.astype(">u2").tobytes(),
        encoded(Image.fromarray(WIDE.astype(np.int32)), "TIFF"),
    ):
        np.testing.assert_array_equal(decode(content, channels=1)[..., 0], NARROW)
        assert decode(content).shape == (1, 9, 3)


def test_a_transparent_16_bit_value_shows_the_background() -> None:
    rows = zlib.compress(b"\0" + np.array([300, 514], ">u2").tobytes())
    content = (
        png_header(2, 1, depth=16, colour=0)
        + png_chunk(b"tRNS", struct.pack(">H", 300))
        + png_chunk(b"IDAT", rows)
        + png_chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(decode(content)[0], [[255] * 3, [2] * 3])


def test_16_bit_colour_gives_the_high_bytes() -> None:
    values = np.array([0x1234, 0xFFFF, 0x00FF], ">u2")
    content = (
        png_header(1, 1, depth=16, colour=2)
        + png_chunk(b"IDAT", zlib.compress(b"\0" + values.tobytes()))
        + png_chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(decode(content), [[[0x12, 0xFF, 0x00]]])


def test_floating_point_and_wide_integers_are_refused() -> None:
    floats = Image.fromarray(np.array([[0.5, 2.0]], np.float32))
    assert reason(encoded(floats, "TIFF")) == "floating-point image"
    deep = Image.fromarray(np.array([[-1, 70_000]], np.int32))
    assert reason(encoded(deep, "TIFF")) == "32-bit grey with values -1 to 70,000"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    content = encoded(red, kind, save_all=True, append_images=[blue, blue])
    np.testing.assert_allclose(
        decode(content), np.broadcast_to([255, 0, 0], (6, 8, 3)), atol=4 if kind == "WEBP" else 0
    )


# Arrays


def test_a_picture_that_pillow_has_opened() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    whole = decode(file.getvalue())
    np.testing.assert_array_equal(decode(Image.open(file)), whole)
    cut = Image.open(io.BytesIO(file.getvalue()[: file.tell() // 2]))
    with pytest.raises(DecodeError):
        decode(cut)


def test_arrays_of_every_type() -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(decode(grey, 1)[..., 0], grey)
    np.testing.assert_array_equal(decode(grey[..., None]), np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(decode(WIDE, 1)[..., 0], NARROW)
    np.testing.assert_array_equal(decode(np.array([[True, False]]), 1)[..., 0], [[255, 0]])
    for kind in (np.float16, np.float32, np.float64):
        result = decode(np.array([[0.0, 0.5, 1.0]], kind), 1)
        np.testing.assert_array_equal(result[..., 0], [[0, 128, 255]])
    clear = np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)
    np.testing.assert_array_equal(decode(clear), [[[255] * 3, [9] * 3]])


def test_the_result_never_shares_memory_with_the_array() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels.flags.writeable = False
    decode(pixels)[:] = 1
    assert not pixels.any()


def test_strided_arrays_decode_like_their_copies() -> None:
    view = RNG.integers(0, 256, (9, 8, 3), np.uint8)[::-2, ::3]
    np.testing.assert_array_equal(decode(view), view)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1.5]]), "outside [0, 1]"),
        (np.array([[-0.1]]), "outside [0, 1]"),
        (np.array([[np.nan]]), "outside [0, 1]"),
        (np.zeros((2, 2), np.int64), "array of int64"),
        (np.zeros((2, 2, 2), np.uint8), "shape (2, 2, 2)"),
        (np.zeros((2,), np.uint8), "shape (2,)"),
        (np.zeros((0, 2, 3), np.uint8), "shape (0, 2, 3)"),
        (np.array([["x"]]), "array of <U1"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, words: str) -> None:
    assert words in reason(array)


# Broken files


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(tmp_path / "nothing.jpg") == "file not found"
    assert reason(tmp_path) == "a folder, not a file"
    assert "null" in reason(tmp_path / "a\0b.jpg")
    assert "too long" in reason(tmp_path / ("n" * 5000)).lower()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "not a regular file"
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert "symbolic links" in reason(tmp_path / "loop.jpg").lower()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    assert reason(tmp_path / "link.jpg") == "file not found"

    closed = tmp_path / "closed.jpg"
    closed.write_bytes(b"x")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert reason(closed) == "no permission"


def test_the_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    (tmp_path / "png.jpg").write_bytes(encoded(Image.fromarray(SMOOTH), "PNG"))
    np.testing.assert_array_equal(decode(tmp_path / "png.jpg"), SMOOTH)
    (tmp_path / "text.jpg").write_text("hello, world")
    assert reason(tmp_path / "text.jpg") == "not an image (starts with b'hello, w')"
    (tmp_path / "empty.png").touch()
    assert reason(tmp_path / "empty.png") == "empty file"


def test_formats_that_are_not_supported_are_named() -> None:
    assert reason(b"\0\0\0\x18ftypheic\0\0\0\0") == "HEIC is not supported"
    assert reason(b"%PDF-1.4\n") == "PDF is not supported"
    assert "not an image" in reason(encoded(Image.new("RGB", (16, 16)), "ICO"))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_never_gives_half_a_picture(kind: str) -> None:
    noise = RNG.integers(0, 256, (40, 30, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    whole = decode(content)
    reasons = []
    for length in range(1, len(content), max(1, len(content) // 150)):
        try:
            np.testing.assert_array_equal(decode(content[:length]), whole)
        except DecodeError as error:
            reasons.append(str(error))
    assert len(reasons) > 100
    assert all(kind in text or "not an image" in text for text in reasons)


def test_a_truncated_progressive_jpeg_is_refused() -> None:
    content = encoded(Image.fromarray(SMOOTH).resize((320, 320)), "JPEG", progressive=True)
    assert reason(content[: len(content) * 3 // 4]) == "truncated JPEG"


def test_too_many_pixels_are_refused_from_the_header() -> None:
    rows = png_chunk(b"IDAT", zlib.compress(bytes(100)))
    assert reason(png_header(60_000, 60_000) + rows) == "3,600,000,000 pixels (limit 100,000,000)"
    # Above this limit, but below the one at which Pillow itself refuses.
    assert reason(png_header(12_000, 10_000) + rows) == "120,000,000 pixels (limit 100,000,000)"
    # Where Pillow would warn, and nothing is wrong but the missing pixels.
    assert reason(png_header(10_000, 10_000) + rows) == "truncated PNG"
    ppm = b"P6 60000 60000 255\n" + bytes(100)
    assert reason(ppm) == "3,600,000,000 pixels (limit 100,000,000)"


def test_too_many_bytes_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    assert reason(tmp_path / "sparse.jpg") == "268,435,457 bytes (limit 268,435,456)"
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    assert reason(b"x" * 11) == "11 bytes (limit 10)"


def test_a_text_bomb_in_a_png_is_refused() -> None:
    bomb = zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK * 2))
    content = png_header(1, 1) + png_chunk(b"zTXt", b"key\0\0" + bomb)
    assert "PNG" in reason(content)


@given(data=st.data())
def test_a_damaged_file_decodes_or_gives_a_reason(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(FORMATS))
    content = bytearray(encoded(Image.fromarray(SMOOTH), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        shape = decode(bytes(content)).shape
    except DecodeError as error:
        shape = (0, 0, 3 if str(error) else 0)
    assert len(shape) == 3
    assert shape[2] == 3


@given(st.binary(max_size=200))
def test_random_bytes_give_a_reason(content: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(b"x" + content)


# Reduced decoding


def jpeg(width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    """Return a photo with soft shapes in it, as a JPEG."""
    y, x = np.mgrid[0:height, 0:width] / 40
    planes = [np.sin(x * a + y * b) * 100 + 128 for a, b in ((1, 2), (2.5, 0.7), (0.4, 1.6))]
    image = Image.fromarray(np.stack(planes, -1).astype(np.uint8)).convert(mode)
    return encoded(image, "JPEG", quality=95, **options)


@pytest.mark.parametrize("least", [200, 100, 99, 51, 50, 25, 1])
def test_a_jpeg_is_reduced_as_far_as_its_short_side_allows(least: int) -> None:
    pixels, part = decode_reduced(jpeg(303, 200), least=least)
    step = max(step for step in (1, 2, 4, 8) if 200 // step >= least)
    assert part == Part(303, 200, step)
    assert pixels.shape == (-(-200 // step), -(-303 // step), 3)
    if step == 1:
        np.testing.assert_array_equal(pixels, decode(jpeg(303, 200)))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(303, 209), (163, 301), (320, 240)])
def test_reduced_photos_look_the_same(size: tuple[int, int], orientation: int, fit: str) -> None:
    """Whatever their sides leave over when divided, and to whichever side that is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = jpeg(*size, exif=exif)
    whole = resize_crop(decode(content), 40, "bilinear", fit).astype(int)
    pixels, part = decode_reduced(content, least=80)
    assert part.step == 2
    assert (part.height, part.width, 3) == decode(content).shape
    reduced = resize_crop(pixels, 40, "bilinear", fit, part=part).astype(int)
    assert np.abs(reduced - whole).mean() < 0.5
    assert np.abs(reduced - whole).max() <= 3
    blind = resize_crop(pixels, 40, "bilinear", fit, part=part._replace(left=0, top=0))
    if part.left or part.top:  # which is what that is for
        assert np.abs(blind - whole).mean() > 2 * np.abs(reduced - whole).mean()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_reduced_photos_have_the_same_colours(mode: str, channels: int) -> None:
    content = jpeg(320, 240, mode)
    whole = resize_crop(decode(content, channels), 30, "bilinear")
    pixels, part = decode_reduced(content, channels, least=60)
    assert part.step == 4
    assert np.abs(resize_crop(pixels, 30, "bilinear", part=part).astype(int) - whole).max() <= 3


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "JPEG"])
def test_other_formats_come_whole(kind: str) -> None:
    content = encoded(Image.fromarray(SMOOTH), kind)
    pixels, part = decode_reduced(content, least=4)
    np.testing.assert_array_equal(pixels, decode(content))
    assert part == Part(32, 48)


def test_a_picture_of_the_caller_keeps_its_size() -> None:
    picture = Image.open(io.BytesIO(jpeg(320, 240)))
    pixels, part = decode_reduced(picture, least=20)
    assert picture.size == (320, 240)
    assert part == Part(320, 240)
    np.testing.assert_array_equal(pixels, decode(jpeg(320, 240)))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("least", [1, 30, 60])
def test_a_truncated_jpeg_is_refused_reduced_as_whole(least: int, progressive: bool) -> None:
    content = jpeg(160, 120, progressive=progressive)
    for length in range(200, len(content), len(content) // 60):
        told = []
        for wanted in (0, least):
            try:
                told.append(str(decode_reduced(content[:length], least=wanted)[1]))
            except DecodeError as error:
                told.append(str(error))
        assert "JPEG" in told[0] or length > len(content) - 3
        assert told[1] == told[0]


def test_too_many_pixels_are_too_many_reduced_or_not() -> None:
    content = bytearray(jpeg(16, 16))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", 12_000, 10_000)
    with pytest.raises(DecodeError, match=r"120,000,000 pixels"):
        decode_reduced(bytes(content), least=8)


# Threads and warnings


def test_threads_decode_the_same_and_leave_the_filters_alone() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\0"  # Pillow warns about this one
    content = encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif)
    expected = decode(content)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(decode, [content] * 200))
    assert all(np.array_equal(result, expected) for result in results)
    assert list(warnings.filters) == before


def test_only_the_warnings_of_pillow_are_ignored() -> None:
    with pillow_warnings_ignored():
        warnings.warn_explicit("theirs", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin")
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn_explicit("mine", UserWarning, "x.py", 1, module="mine")


# Resizing


def test_an_image_of_the_size_wanted_is_left_as_it_is() -> None:
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    assert resize_crop(pixels, 8, "bilinear") is pixels


@pytest.mark.parametrize("shape", [(8, 13, 3), (14, 8, 3), (8, 11, 1)])
def test_an_image_of_the_short_side_wanted_is_only_cropped(shape: tuple[int, int, int]) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    top, left = (shape[0] - 8) // 2, (shape[1] - 8) // 2
    for interpolation in ("bilinear", "bicubic", "lanczos", "nearest"):
        result = resize_crop(pixels, 8, interpolation)
        np.testing.assert_array_equal(result, pixels[top : top + 8, left : left + 8])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("shape", [(60, 90, 3), (90, 60, 3), (60, 120, 1)])
def test_resizing_equals_scaling_the_whole_and_cropping(
    shape: tuple[int, int, int], interpolation: str
) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    picture = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
    height, width = shape[0] // 3, shape[1] // 3
    method = Image.Resampling[interpolation.upper()]
    whole = np.asarray(picture.resize((width, height), method)).reshape(height, width, -1)
    top, left = (height - 20) // 2, (width - 20) // 2
    result = resize_crop(pixels, 20, interpolation)
    assert result.dtype == np.uint8
    assert result.flags.writeable
    np.testing.assert_array_equal(result, whole[top : top + 20, left : left + 20])


def test_small_images_are_enlarged() -> None:
    result = resize_crop(np.full((3, 5, 3), 77, np.uint8), 32, "bicubic")
    np.testing.assert_array_equal(result, np.full((32, 32, 3), 77))


def test_an_unknown_interpolation_names_the_near_ones() -> None:
    with pytest.raises(UserError, match=r"unknown interpolation 'bilinar'.*did you mean bilinear"):
        resize_crop(SMOOTH, 8, "bilinar")
