"""Does `resnets check` find what is wrong with data, and nothing else?

    python benchmarks/gate.py --photos grocery --cifar cifar10

Plants faults of every kind and 1,000 copies across splits among the photos (folders of splits and
classes), runs `resnets check --json` on that, and counts what is found, missed and made up. Then
it checks both data sets as they are: how many pairs are called nearly the same, what share of
CIFAR-10's test photos has a copy in train (3.3 % by ciFAIR: Barz and Denzler, J. Imaging 2020), how
long that takes and how much memory. The pairs are listed, and with --sheets laid out to be looked
at: whether a pair is a false alarm, only people can say.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from planted import Photo, Planted
from planted_sets import EXACT, Copy, plant_folder, plant_grey, plant_table
from side_by_side import RESULTS, machine, watch, write

CIFAIR = 0.033
SHEET = 96
"""Pairs of a sheet."""
OBEYING = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Root may read everything; so that permissions count, it is run without that right."""


def check(data: Path, folder: Path, *options: object) -> tuple[dict[str, Any], float, float]:
    """Run `resnets check`; return its JSON, the seconds and the MiB at the peak."""
    out = folder / f"{data.name}.json"
    program = [sys.executable, "-m", "resnets", "check", data, "--json", out, "--force"]
    obeying = OBEYING if os.geteuid() == 0 and shutil.which("setpriv") else ()
    done = watch([*obeying, *program, "--fail-on", "never", *options])
    return json.loads(out.read_text()), done.seconds, done.peak_mib


def photos_of(folder: Path) -> list[Photo]:
    """Return all photos below ``folder/<split>/<class>``."""
    files = sorted(file for file in folder.glob("*/*/*") if file.suffix.lower() in (".jpg", ".png"))
    return [(file.parent.name, file.read_bytes()) for file in files]


def by_kind(found: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    return {f["kind"]: [case["where"] for case in f["cases"]] for f in found["findings"]}


# -- faults ---------------------------------------------------------------------------------------


def judge(planted: Sequence[Planted], found: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Count what of each planted kind was found; an empty `where` asks for the kind alone."""
    cases, rows = by_kind(found), defaultdict(Counter)
    for fault in planted:
        wheres = cases.get(fault.kind, [])
        there = any(fault.where in where for where in wheres) if fault.where else bool(wheres)
        rows[fault.kind]["planted"] += 1
        rows[fault.kind]["found" if there else "missed"] += 1
    return {kind: {k: row[k] for k in ("planted", "found", "missed")} for kind, row in rows.items()}


def false_faults(good: Sequence[str], found: Mapping[str, Any]) -> dict[str, int]:
    """Count, by kind, findings about a single photo that nothing was done to."""
    known = set(good)
    wrong = Counter(
        kind
        for kind, wheres in by_kind(found).items()
        for where in wheres
        if len(where) == 1 and where[0] in known
    )
    return dict(wrong)


def judge_copies(copies: Sequence[Copy], found: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Count which copies were found as copies of their originals: exact ones as such."""
    cases = by_kind(found)
    exact = [set(where) for where in cases.get("exact-leak", [])]
    near = [set(where) for where in cases.get("near-leak", [])]
    alike: dict[str, set[str]] = defaultdict(set)
    for where in (*exact, *near):
        for name in where:
            alike[name] |= where
    same: dict[str, set[str]] = {name: where for where in exact for name in where}
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for copy in copies:
        if copy.manner in EXACT:
            there = copy.original in same.get(copy.copy, ())
        else:  # of photos with the same pixels, one stands for all in pairs
            there = bool(alike[copy.copy] & (same.get(copy.original, set()) | {copy.original}))
        rows[copy.manner]["planted"] += 1
        rows[copy.manner]["found"] += there
    return {manner: dict(row) for manner, row in rows.items()}


def made_up(
    copies: Sequence[Copy], planted: Sequence[Planted], found: Mapping[str, Any]
) -> list[list[str]]:
    """Return the near pairs of which neither photo is planted, nor a copy of the other."""
    original = {copy.copy: copy.original for copy in copies}
    ours = {fault.where for fault in planted}
    pairs = {tuple(w) for kind, ws in by_kind(found).items() if kind.startswith("near") for w in ws}
    return [
        [*pair]
        for pair in sorted(pairs)
        if len({original.get(name, name) for name in pair}) > 1 and not ours & {*pair}
    ]


# -- clean data -----------------------------------------------------------------------------------


def clean(data: Path, folder: Path, out: Path, sheets: Path | None) -> dict[str, Any]:
    """Check a data set as it is, with its own splits."""
    found, seconds, peak = check(data, folder, "--val-fraction", "0", "--workers", "1")
    pairs = sorted(
        (case["detail"], case["where"])
        for finding in found["findings"]
        if finding["kind"].startswith("near")
        for case in finding["cases"]
    )
    distinct = {tuple(where): detail for detail, where in pairs}
    count = found["photos"]
    with (out / f"{data.name}-pairs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = ((*where, detail.split()[0]) for where, detail in distinct.items())
        csv.writer(file).writerows([("first", "second", "alike"), *rows])
    if sheets:
        sheet([*distinct.items()], data, sheets / f"{data.name}.png")
        across = {w: d for w, d in distinct.items() if len({name[:5] for name in w}) > 1}
        sheet([*across.items()], data, sheets / f"{data.name}-across.png")
    return {
        "photos": count,
        "pairs": math.comb(count, 2),
        "called_nearly_the_same": len(distinct),
        "share_of_pairs": len(distinct) / math.comb(count, 2),
        "exact_copies": len(by_kind(found).get("exact-copies", [])),
        "leaks": found["leaks"],
        "seconds": round(seconds, 1),
        "photos_per_second": round(count / seconds),
        "peak_mib": round(peak),
        "findings": {f["kind"]: f["count"] for f in found["findings"]},
    }


def sheet(
    pairs: Sequence[tuple[Sequence[str], str]], root: Path, out: Path, side: int = 64
) -> None:
    """Lay evenly dealt pairs out, the least alike first; of no pairs no picture."""
    if not pairs:
        return
    step = max(1, len(pairs) // SHEET)
    chosen, columns = pairs[::step][:SHEET], 8
    size = (columns * (2 * side + 8), -(-len(chosen) // columns) * (side + 8))
    picture = Image.new("RGB", size, "white")
    for number, (where, _) in enumerate(chosen):
        left, top = number % columns * (2 * side + 8), number // columns * (side + 8)
        for place, name in enumerate(where[:2]):
            with Image.open(root / name) as photo:
                shown = ImageOps.exif_transpose(photo).convert("RGB").resize((side, side))
            picture.paste(shown, (left + place * side, top))
    picture.save(out)


# -- the whole ------------------------------------------------------------------------------------


def faults(photos: Sequence[Photo], copies: int, per_kind: int, folder: Path) -> dict[str, Any]:
    plots = {"folder": folder / "folder", "table": folder / "table", "grey": folder / "grey"}
    planted, made, good = plant_folder(plots["folder"], photos, copies, per_kind)
    table = plant_table(plots["table"], photos[-100:])
    grey = plant_grey(plots["grey"], photos[-100:])
    found, seconds, _ = check(plots["folder"], folder)
    in_table, *_ = check(plots["table"], folder, "--group-column", "person")
    in_grey, *_ = check(plots["grey"], folder)
    (plots["grey"] / "closed").chmod(0o700)
    kinds = judge(planted, found) | judge(table, in_table) | judge(grey, in_grey)
    manners = judge_copies(made, found)
    count = found["photos"]
    wrong = made_up(made, planted, found)
    return {
        "photos": count,
        "seconds": round(seconds, 1),
        "kinds": kinds,
        "kinds_planted": len(kinds),
        "kinds_missed": sorted(kind for kind, row in kinds.items() if row["missed"]),
        "copies": manners,
        "near_pairs_neither_planted": len(wrong),
        "share_of_pairs": len(wrong) / math.comb(count, 2),
        "good_photos": len(good),
        "good_photos_spoken_of": false_faults(good, found),
        "findings": {f["kind"]: f["count"] for f in found["findings"]},
    }


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results as a page of Markdown."""
    yield "# What `resnets check` finds\n"
    yield f"{result['date']}, {result['machine']}, beside other work\n"
    yield "\n".join(f"    {command}" for command in result["commands"]) + "\n"
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    yield f"{versions}\n"
    if planted := result.get("planted"):
        yield f"## Planted: {planted['kinds_planted']} kinds in {planted['photos']:,} photos\n"
        yield from _rows(planted["kinds"], ("planted", "found", "missed"))
        yield "\n## Planted copies across splits\n"
        yield from _rows(planted["copies"], ("planted", "found"))
        yield (
            f"\n{planted['near_pairs_neither_planted']} pairs are called nearly the same that were "
            f"not planted, {planted['share_of_pairs']:.2g} of all pairs."
        )
        if "good_photos_spoken_of" in planted:
            count = sum(planted["good_photos_spoken_of"].values())
            good = planted["good_photos"]
            yield f"Of {good:,} photos to which nothing was done, {count} are in other findings."
    sets = {name: row for name, row in result.items() if isinstance(row, dict) and "pairs" in row}
    if sets:
        yield "\n## Data as it is\n"
        names = ("photos", "pairs", "called_nearly_the_same", "share_of_pairs", "exact_copies")
        yield from _rows(sets, (*names, "seconds", "photos_per_second", "peak_mib"))
    if "test_in_train" in result:
        ours, theirs = result["test_in_train"], result["test_in_train_by_cifair"]
        yield f"\nCIFAR-10: {ours:.2%} of test photos have a copy in train; by ciFAIR {theirs:.1%}."


def _rows(table: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    yield "| | " + " | ".join(column.replace("_", " ") for column in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in table.items():
        cells = (row.get(column, "") for column in columns)
        yield f"| {name} | " + " | ".join(map(_shown, cells)) + " |"


def _shown(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) and value < 1 else f"{value:,}"


def kept(out: Path) -> dict[str, Any]:
    """Return what earlier runs have written of the parts that this one may leave out."""
    file = out / "result.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def without_machine(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in machine()}


def _bare(argument: str) -> str:
    path = Path(argument)
    return path.name if path.is_absolute() else argument


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="Grocery: {train,val,test}/<class>/*.jpg")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10: {train,test}/<class>/*.png")
    parser.add_argument("--copies", type=int, default=1000)
    parser.add_argument("--per-kind", type=int, default=3, help="odd photos of each kind")
    parser.add_argument("--sheets", type=Path, help="folder for pictures of the pairs")
    parser.add_argument("--out", type=Path, default=RESULTS / "gate")
    options = parser.parse_args()
    for made in filter(None, (options.out, options.sheets)):
        made.mkdir(parents=True, exist_ok=True)
    result = kept(options.out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.photos:
            photos = photos_of(options.photos)
            result["planted"] = faults(photos, options.copies, options.per_kind, folder)
            result[options.photos.name] = clean(options.photos, folder, options.out, options.sheets)
        if options.cifar:
            result["cifar10"] = clean(options.cifar, folder, options.out, options.sheets)
            test = result["cifar10"]["leaks"]["test"]
            result["test_in_train"] = (test["exact"] + test["near"]) / test["photos"]
            result["test_in_train_by_cifair"] = CIFAIR
    commands = [*result.pop("commands", []), shlex.join(["python", *map(_bare, sys.argv)])]
    write(options.out, without_machine(result) | {"commands": [*dict.fromkeys(commands)]})
    text = "\n".join(lines(json.loads((options.out / "result.json").read_text())))
    (options.out / "result.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
