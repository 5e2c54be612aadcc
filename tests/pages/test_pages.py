"""What all pages share, and that the browser of the tests would notice what is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.pages import data_uri, thumbnail, within

PIXEL = thumbnail(np.zeros((1, 1, 3), np.uint8))
WHOLE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>@media (prefers-color-scheme: dark) {{ body {{ background: #111 }} }}
@media (prefers-color-scheme: light) {{ body {{ background: #eee }} }}</style></head>
<body>{}</body></html>"""


def test_a_thumbnail_has_the_side_that_is_asked_for() -> None:
    for shape, size in (((320, 80, 3), (40, 160)), ((8, 12, 1), (12, 8))):
        picture = Image.open(io.BytesIO(thumbnail(np.full(shape, 90, np.uint8))))
        assert picture.size == size
        assert picture.mode == ("L" if shape[2] == 1 else "RGB")


def test_pictures_that_fit_are_told_in_order() -> None:
    pictures = [b"1" * n for n in (4, 5, 3, 3)]
    assert list(within(pictures, 10)) == [True, True, False, False]
    assert list(within(pictures, 8)) == [True, False, True, False]


def test_only_pictures_become_data() -> None:
    assert data_uri(PIXEL).startswith("data:image/jpeg;base64,")
    with pytest.raises(ValueError, match="PNG or JPEG"):
        data_uri(b"<svg onload='alert(1)'>")


def test_the_browser_takes_a_whole_page(browser: Callable[[Path], None], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(WHOLE.format(f'<img src="{data_uri(PIXEL)}" alt="">'))
    browser(page)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("<script>console.error('no')</script>", "console"),
        ("<img src='http://127.0.0.1:9/a.png' alt='a'>", "console|asks"),
        ("<img src='data:image/jpeg;base64,AAAA' alt='b'>", "pictures do not show"),
        ("<div style='width: 2000px'>wide</div>", "pixels wide"),
        ("<style>body { background: #eee !important }</style>", "dark: paper"),
    ],
)
def test_the_browser_notices(
    content: str, what: str, browser: Callable[[Path], None], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(WHOLE.format(content))
    with pytest.raises(AssertionError, match=what):
        browser(page)
