"""What a temperature does to a model whose photos are not those that it was fitted on.

    python benchmarks/calibration.py MODEL cifar10/test

Every other photo of each class is for fitting, the rest for judging; then the other way round. The
model file is left as it is; all is done by the command line, as its users would.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import RESULTS, machine, write

KEPT = ("ece", "adaptive_ece", "ece_chance", "ece_chance_high", "nll", "brier")
HEADER = ("judged on", "temperature", "top-1, %", "ECE, %", "by chance, %", "NLL", "Brier")


def table(root: Path, folder: Path, fit: int) -> Path:
    """Write a table that calls every other photo of ``root/CLASS`` val, and the others test."""
    lines = ["path,label,split"]
    for group in sorted(path for path in root.iterdir() if path.is_dir()):
        for number, photo in enumerate(sorted(group.iterdir())):
            split = "val" if number % 2 == fit else "test"
            lines.append(f"{photo.absolute()},{group.name},{split}")
    out = folder / f"half{fit}.csv"
    out.write_text("\n".join(lines), encoding="utf-8")
    return out


def resnets(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "resnets", *map(str, arguments)], check=True)


def measure(model: Path, root: Path, fit: int) -> dict[str, Any]:
    """Return the figures of the half that was not fitted on, with and without the temperature."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        data, fitted, found = table(root, folder, fit), folder / "m.safetensors", folder / "f.json"
        resnets("evaluate", model, data, "--calibrate", fitted)
        resnets("evaluate", fitted, data, "--split", "test", "--json", found)
        values = json.loads(found.read_text())
    names = ("n", "top1", "top1_low", "top1_high", "temperature", "aurc")
    return {
        "judged_on": "odd" if fit == 0 else "even",
        **{name: values[name] for name in names},
        "before": {name: values["uncalibrated"][name] for name in KEPT},
        "after": {name: values["calibration"][name] for name in KEPT},
    }


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table in Markdown."""
    found = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for row in rows:
        before, after = row["before"], row["after"]
        cells = [
            f"{row['n']:,} {row['judged_on']} photos",
            f"{row['temperature']:.3f}",
            f"{100 * row['top1']:.2f}",
            f"{100 * before['ece']:.2f} → {100 * after['ece']:.2f}",
            f"{100 * after['ece_chance']:.2f}, up to {100 * after['ece_chance_high']:.2f}",
            f"{before['nll']:.4f} → {after['nll']:.4f}",
            f"{before['brier']:.4f} → {after['brier']:.4f}",
        ]
        found.append("| " + " | ".join(cells) + " |")
    return found


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("model", type=Path, help="a model file without a temperature of its own")
    made.add_argument("data", type=Path, help="a folder of classes, none of it seen in training")
    made.add_argument("--out", type=Path, default=RESULTS / "calibration")
    options = made.parse_args()
    rows = [measure(options.model, options.data, fit) for fit in (0, 1)]
    text = lines(rows)
    print("\n".join(text))
    write(options.out, {"halves": rows})
    about = machine()
    head = [f"# {__doc__.splitlines()[0]}", "", f"`{about['command']}`", ""]
    tail = ["", f"{about['date']}, {about['machine']}, resnets {about['versions']['resnets']}."]
    (options.out / "result.md").write_text(
        "\n".join([*head, *text, *tail]) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
