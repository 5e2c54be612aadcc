"""The main job in three commands, on the photos that come with the package.

    python examples/demo.py FOLDER

Every command is printed before it runs, and is what one would type.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

from resnets.data.sources import open_dataset


def main(folder: Path) -> None:
    began = time.monotonic()
    folder.mkdir(parents=True)
    photos = save_some_photos(folder / "photos")
    run, model = folder / "run", folder / "run" / "best.safetensors"
    resnets("train", "sign-digits", "--epochs", "8", "--out", run)
    resnets("evaluate", model, "sign-digits", "--json", folder / "evaluation.json")
    resnets("predict", model, photos)
    resnets("predict", model, photos, "--out", folder / "predictions.csv")
    print(f"\nDone in {time.monotonic() - began:.0f} s. Open {run / 'report.html'} in a browser.")


def resnets(*arguments: object) -> None:
    command = ["resnets", *map(str, arguments)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", *command])
    if done.returncode:
        sys.exit(done.returncode)


def save_some_photos(folder: Path) -> Path:
    """Write one photo of each class that training will not see as JPEG files."""
    folder.mkdir()
    held_out = open_dataset("sign-digits").splits["test"]
    for label in range(10):
        i = int((held_out.labels == label).argmax())
        content = held_out.read(i)
        assert isinstance(content, bytes)
        (folder / f"a-{label}.jpg").write_bytes(content)
    return folder


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
