"""What tells photos of nothing that a network knows: scores side by side, on the same features.

    python benchmarks/unknown.py cifar10/ resnet20.safetensors fast.safetensors \\
        --others grocery/ sign-digits/

Of CIFAR-10's test split, which trained no weights, 2,000 photos are shown to the scores and 2,000
others are the known photos that are judged; unknown are photos of the other folders, scaled as the
network scales its own, and noise, 1,000 of each. Without data or models, and beside them, a network
is trained on eight of the ten built-in signs, and the other two are unknown to it. AUROC is the
chance that an unknown photo has the higher score of the two; FPR95 is the share of unknown photos
that pass where 95 % of the judged known ones do. `kept` is the share of judged known photos that
pass the threshold that was set, for 95 %, on the photos shown, in five folds. With ``--resume``
networks that the result has already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from side_by_side import machine, parser, target, write
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from unknown_scores import SCORES, Fit, Seen

import resnets
from resnets.data.cache import ImageCache, Storage
from resnets.data.preprocess import Preprocess
from resnets.data.samples import Samples
from resnets.data.sources import open_dataset
from resnets.predict import Predictor
from resnets.training.features import WithFeatures
from resnets.training.inference import BATCH, Eager, Outputs, probabilities
from resnets.weights import model_file
from resnets.weights.model_file import Model

KNOWN, UNKNOWN = 2_000, 1_000
"""Photos that are shown, as many judged; and unknown ones of a source."""

# -- photos ---------------------------------------------------------------------------------------


def look(model: Model, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Seen:
    """Return what a network makes of prepared photos ``N H W C``; of mirrored views the mean."""
    engine = Eager.of(WithFeatures(model.network()))
    batches = ((None, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH))
    outputs = probabilities(engine, Outputs(), model.preprocess, batches)
    rows = np.concatenate([values for _, values in outputs]).astype(float)
    logits, features = np.split(rows, [len(model.classes)], axis=1)
    return Seen(features, logits, labels)


def photos(samples: Samples, preprocess: Preprocess) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    cache = ImageCache(samples, preprocess, Storage("memory"))
    found, pixels = cache.get(np.arange(len(samples)))
    return pixels, samples.labels[found]


def some(samples: Samples, most: int) -> Samples:
    drawn = np.random.default_rng(0).permutation(len(samples))[:most]
    return samples.subset(np.sort(drawn))


def noise(preprocess: Preprocess, most: int) -> dict[str, NDArray[np.uint8]]:
    """Return pixels of pure chance: uniform, normal, and normal smoothed over three pixels."""
    rng, side = np.random.default_rng(0), preprocess.resize
    shape = (most, side, side, preprocess.channels)
    smooth = gaussian_filter(rng.standard_normal(shape), (0, 3, 3, 0), mode="wrap")
    smooth /= smooth.std((1, 2, 3), keepdims=True)
    drawn = {
        "uniform noise": rng.uniform(0, 255, shape),
        "Gaussian noise": rng.normal(127.5, 64, shape),
        "smooth noise": 127.5 + 64 * smooth,
    }
    return {name: np.clip(x, 0, 255).astype(np.uint8) for name, x in drawn.items()}


# -- judging --------------------------------------------------------------------------------------


def judge(
    model: Model, shown: Seen, judged: Seen, unknown: Mapping[str, Seen]
) -> dict[str, dict[str, Any]]:
    """Return the figures of every score, by source and on average."""
    found: dict[str, dict[str, Any]] = {}
    for name, fit in SCORES.items():
        score = fit(shown, model)
        known = score(judged)
        passing = np.quantile(known, 0.95)
        sources = {}
        for source, seen in unknown.items():
            values = score(seen)
            truth = np.repeat([0, 1], [len(known), len(values)])
            sources[source] = {
                "auroc": float(roc_auc_score(truth, np.concatenate([known, values]))),
                "fpr95": float((values <= passing).mean()),
            }
        means = {k: float(np.mean([s[k] for s in sources.values()])) for k in ("auroc", "fpr95")}
        kept = float((known <= threshold(fit, shown, model)).mean())
        found[name] = {"mean": means, "kept": kept, "sources": sources}
    return found


def threshold(fit: Fit, shown: Seen, model: Model) -> float:
    """Return the score below which 95 % of the photos shown lie, each judged by the others."""
    values = np.empty(len(shown.labels))
    for others, fold in KFold(5, shuffle=True, random_state=0).split(values):
        values[fold] = fit(shown[others], model)(shown[fold])
    return float(np.quantile(values, 0.95))


def on_photos(path: Path, data: str, others: Sequence[str], most: int) -> dict[str, Any]:
    model = model_file.load(path)
    tests = some(open_dataset(data).splits["test"], 2 * KNOWN * most // UNKNOWN)
    pixels, labels = photos(tests, model.preprocess)
    known = look(model, pixels, labels)
    order = np.random.default_rng(1).permutation(len(labels))
    shown, judged = known[order[: len(order) // 2]], known[order[len(order) // 2 :]]
    sources = {}
    for other in others:
        pixels, labels = photos(some(open_dataset(other).splits["all"], most), model.preprocess)
        sources[Path(other).name] = look(model, pixels, labels)
    for name, pixels in noise(model.preprocess, most).items():
        sources[name] = look(model, pixels, np.full(most, -1))
    top1 = float((known.logits.argmax(1) == known.labels).mean())
    return {
        "what": f"{model.spec.name} on {Path(data).name}, {100 * top1:.2f} % top-1 there",
        "shown": len(shown.labels),
        "judged": len(judged.labels),
        "unknown": {name: len(seen.labels) for name, seen in sources.items()},
        "scores": judge(model, shown, judged, sources),
    }


def on_signs(epochs: int, most: int) -> dict[str, Any]:
    """Train on eight signs; the signs 3 and 7 are unknown."""
    everything = open_dataset("sign-digits").splits["all"]
    preprocess = Preprocess.for_photos(32, 32)
    pixels, labels = photos(everything, preprocess)
    out = np.isin(labels, (3, 7))
    part = np.arange(len(labels)) % 10  # of ten photos six train, two are shown, two are judged
    known = {name: ~out & np.isin(part, parts) for name, parts in PARTS.items()}
    with tempfile.TemporaryDirectory() as work:
        data = pixels[known["train"]], labels[known["train"]]
        run = resnets.train(
            data,
            model="resnet20",
            epochs=epochs,
            val_fraction=0.0,
            test_fraction=0.0,
            out=Path(work) / "run",
            quiet=True,
        )
        model = Predictor.load(run.model).model
    seen = {
        name: look(model, pixels[mask][:most], labels[mask][:most]) for name, mask in known.items()
    }
    sources = {"signs 3 and 7": look(model, pixels[out], labels[out])}
    for name, drawn in noise(preprocess, min(most, 500)).items():
        sources[name] = look(model, drawn, np.full(len(drawn), -1))
    names = np.array([int(name) for name in model.classes])
    right = names[seen["judged"].logits.argmax(1)] == seen["judged"].labels
    return {
        "what": f"resnet20 on eight of ten signs, {100 * right.mean():.2f} % top-1 there",
        "shown": len(seen["shown"].labels),
        "judged": len(seen["judged"].labels),
        "unknown": {name: len(s.labels) for name, s in sources.items()},
        "scores": judge(model, seen["shown"], seen["judged"], sources),
    }


PARTS = {"train": range(6), "shown": (6, 7), "judged": (8, 9)}


def table(found: Mapping[str, Any]) -> list[str]:
    """Return a table in Markdown: AUROC and FPR95, %, by source."""
    sources = list(found["unknown"])
    lines = [
        f"## {found['what']}",
        "",
        f"{found['shown']:,} photos shown, {found['judged']:,} judged; unknown: "
        + ", ".join(f"{name} {n:,}" for name, n in found["unknown"].items()),
        "",
        f"| AUROC / FPR95, % | {' | '.join(sources)} | mean | kept |",
        "|---|" + "---|" * (len(sources) + 2),
    ]
    for name, row in found["scores"].items():
        values = [*(row["sources"][s] for s in sources), row["mean"]]
        cells = [f"{100 * v['auroc']:.1f} / {100 * v['fpr95']:.1f}" for v in values]
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * row['kept']:.1f} |")
    return [*lines, ""]


def main() -> None:
    options = _options()
    most, epochs = (100, 1) if options.quick else (UNKNOWN, 12)
    folder = target(options, "unknown")
    found = kept(folder) if options.resume and folder else {}
    for path in options.models:
        if path.stem not in found:
            found[path.stem] = on_photos(path, options.data, options.others, most)
            publish(folder, found)
    if "signs" not in found:
        found["signs"] = on_signs(epochs, most)
        publish(folder, found)
    print("\n".join(line for one in found.values() for line in table(one)))


def kept(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    there: dict[str, Any] = json.loads(path.read_text("utf-8"))["networks"] if path.exists() else {}
    return there


def publish(folder: Path | None, found: Mapping[str, Any]) -> None:
    """Write what there is, for programs and for people."""
    if not folder:
        return
    write(folder, {"networks": found})
    about = machine()
    lines = [
        "# What tells unknown photos",
        "",
        f"{about['date']}, {about['machine']}, {about['system']}; "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        "",
        f"`{about['command']}`",
        "",
        *(line for one in found.values() for line in table(one)),
    ]
    (folder / "result.md").write_text("\n".join(lines), encoding="utf-8")


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("data", nargs="?", help="CIFAR-10 as class folders in train and test")
    made.add_argument("models", nargs="*", type=Path, help="model files that were trained on it")
    made.add_argument("--resume", action="store_true", help="keep the networks that are written")
    made.add_argument("--others", nargs="*", default=[], help="folders of unknown photos")
    return made.parse_args()


if __name__ == "__main__":
    main()
