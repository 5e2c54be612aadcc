"""Make the embedded sign-digits data: one Parquet file from the photos as they were published.

    python scripts/make_sign_digits.py SRC DEST

SRC holds the ten class folders and the LICENSE of ardamavi/Sign-Language-Digits-Dataset (folder
``Dataset``, commit 4b09433). DEST gets ``sign-digits.parquet`` and ``LICENSE``. Every photo is
decoded as the package decodes any photo, scaled to 64 x 64 (Lanczos) and stored as JPEG, in the
layout of Hugging Face datasets. The same Pillow and pyarrow make the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from resnets.data.fit import resize_crop
from resnets.data.images import decode

SIZE = 64
QUALITY = 92


def encode(photo: Path) -> bytes:
    """Return the photo as a JPEG of SIZE x SIZE pixels."""
    pixels = resize_crop(decode(photo), SIZE, "lanczos")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()


def schema(classes: list[str]) -> pa.Schema:
    """Return the schema: `image` (bytes, path) and `label`, with the class names as metadata."""
    features = {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.schema(
        [("image", image), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def main() -> None:
    """Read SRC, write DEST."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("src", type=Path, metavar="SRC")
    parser.add_argument("dest", type=Path, metavar="DEST")
    args = parser.parse_args()

    classes = sorted(folder.name for folder in args.src.iterdir() if folder.is_dir())
    photos = sorted(args.src.glob("*/*.JPG"))
    rows = {
        "image": [
            {"bytes": encode(photo), "path": photo.relative_to(args.src).as_posix()}
            for photo in photos
        ],
        "label": [classes.index(photo.parent.name) for photo in photos],
    }
    args.dest.mkdir(parents=True, exist_ok=True)
    target = args.dest / "sign-digits.parquet"
    # JPEG does not compress again, and statistics over it would be as long as the photos.
    pq.write_table(
        pa.table(rows, schema=schema(classes)),
        target,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    shutil.copyfile(args.src / "LICENSE", args.dest / "LICENSE")
    print(f"{len(photos):,} photos, {len(classes)} classes, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
