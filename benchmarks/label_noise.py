"""Planted label noise on CIFAR-10: how much of it `resnets check --labels` finds, and cleanlab.

    python benchmarks/label_noise.py cifar10/ --weights resnet20.th --scratch 10000

A twentieth of the labels is made wrong: to any other class (symmetric), or to the class that the
photo's own is most often taken for (asymmetric). Judged are the 10,000 test photos by linear
classifiers on the features of a network that was trained on the others, with several seeds; and so
many training photos by trainings from scratch, with one. cleanlab's rules get the very same
out-of-fold probabilities. CIFAR-10 has wrong labels of its own, which count as false alarms here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from side_by_side import moments, parser, target, write
from sklearn.metrics import average_precision_score

from resnets.console import Console
from resnets.data.folds import deal, kin
from resnets.data.sources import Samples, open_dataset
from resnets.evaluate.mislabelled import find
from resnets.labelling.by_features import features, judge
from resnets.labelling.by_training import from_trainings
from resnets.labelling.out_of_fold import OutOfFold
from resnets.weights.convert import open_model

FOLDS, SHARE = 5, 0.05
KINDS = ("none", "symmetric", "asymmetric")
RULES = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")
"""The first is what cleanlab takes if nothing is said."""
RANKS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
Labels = NDArray[np.int64]


def plant(labels: Labels, kind: str, seed: int, taken_for: Labels) -> Labels:
    """Return labels of which a twentieth are wrong; `taken_for` has the nearest of each class."""
    if kind == "none":
        return labels
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(labels), round(SHARE * len(labels)), replace=False)
    noisy, k = labels.copy(), len(taken_for)
    others = {
        "symmetric": (labels[chosen] + draw.integers(1, k, len(chosen))) % k,
        "asymmetric": taken_for[labels[chosen]],
    }
    noisy[chosen] = others[kind]
    return noisy


def taken_for(judgement: OutOfFold, labels: Labels) -> Labels:
    """Return the class that each class is most often taken for."""
    k = judgement.probabilities.shape[1]
    best = judgement.probabilities.argmax(1)
    confusion = np.bincount(labels * k + best, minlength=k * k).reshape(k, k)
    np.fill_diagonal(confusion, -1)
    return confusion.argmax(1)


def figures(judgement: OutOfFold, noisy: Labels, truth: Labels, classes: Any) -> dict[str, Any]:
    """Return what is found, by us and by cleanlab, of the labels that are wrong."""
    wrong, values = noisy != truth, judgement.probabilities
    ours = find(values, noisy, classes)
    mask = np.isin(np.arange(len(noisy)), ours.found)
    lines = {"ours": mask}
    for rule in RULES:
        lines[f"cleanlab {rule}"] = find_label_issues(noisy, values, filter_by=rule, n_jobs=1)
    ranks = {"ours": -ours.quality}
    for rank in RANKS:
        ranks[f"cleanlab {rank}"] = -get_label_quality_scores(noisy, values, method=rank)
    found: dict[str, Any] = {name: scores(mask, wrong) for name, mask in lines.items()}
    return {
        "wrong": int(wrong.sum()),
        "accuracy": float((values.argmax(1) == truth).mean()),
        "share": ours.share,
        "share_low": ours.share_low,
        "share_high": ours.share_high,
        "right class suggested": float((ours.suggested == truth)[wrong & mask].mean())
        if (wrong & mask).any()
        else None,
        "found": found,
        "average precision": {
            name: float(average_precision_score(wrong, rank)) if wrong.any() else None
            for name, rank in ranks.items()
        },
    }


def scores(mask: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, float]:
    hits, n = int((mask & wrong).sum()), int(mask.sum())
    precision, recall = hits / max(n, 1), hits / max(int(wrong.sum()), 1)
    f1 = 2 * hits / max(n + int(wrong.sum()), 1)
    return {"n": n, "precision": precision, "recall": recall, "f1": f1}


# -- the two ways ----------------------------------------------------------------------------------


def by_features(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Judge the test photos on the features of a network that never saw them."""
    dataset = open_dataset(options.data, val_fraction=0.0)
    test = dataset.splits["test"]
    samples = thinned(test, 500 if options.quick else len(test))
    model, console = open_model(options.weights), Console()
    found, failed = features(model, samples, work, "cpu", 1, console)
    alone = kin(samples)

    def judged(labels: Labels, seed: int) -> OutOfFold:
        noisy = dataclasses.replace(samples, labels=labels)
        return judge(found, failed, noisy, alone, FOLDS, seed, console)

    near = taken_for(judged(samples.labels, 0), samples.labels)
    runs: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for seed in range(options.seeds):
            noisy = plant(samples.labels, kind, seed, near)
            result = figures(judged(noisy, seed), noisy, samples.labels, dataset.classes)
            runs[kind].append({"seed": seed, **result})
    what = f"{len(samples):,} test photos, linear classifiers on features of {model.spec.name}"
    pairs = {a: dataset.classes[b] for a, b in zip(dataset.classes, near, strict=True)}
    return {"what": what, "folds": FOLDS, "taken for": pairs, "runs": runs}


def by_trainings(
    options: argparse.Namespace, pairs: Mapping[str, str], work: Path
) -> dict[str, Any]:
    """Judge some training photos by networks trained from scratch."""
    dataset = open_dataset(options.data, val_fraction=0.0)
    samples = thinned(dataset.splits["train"], options.scratch)
    near = np.array([dataset.classes.index(pairs[name]) for name in dataset.classes])
    runs: dict[str, list[Any]] = {kind: [] for kind in options.kinds}
    for kind in options.kinds:
        noisy = plant(samples.labels, kind, 0, near)
        folder = work / kind
        folder.mkdir(exist_ok=True)
        table = folder / "data.csv"
        names = [dataset.classes[label] for label in noisy]
        rows = [f'"{samples.path(i)}",{name}\n' for i, name in enumerate(names)]
        table.write_text("path,label\n" + "".join(rows))
        same = open_dataset(table, val_fraction=0.0, test_fraction=0.0).splits["all"]
        arguments = {"recipe": "fast", "model": options.model, "device": "cpu", "workers": 1}
        fold = deal(same.ids, same.labels, kin(same), FOLDS, 0)
        judgement = from_trainings(
            table, same, fold, 0, folder, 0.0, Console(), quiet=False, **arguments
        )
        result = figures(judgement, noisy, samples.labels, dataset.classes)
        runs[kind].append({"seed": 0, **result})
    what = f"{len(samples):,} training photos, {FOLDS} trainings of {options.model} by recipe fast"
    return {"what": what, "folds": FOLDS, "runs": runs}


def thinned(samples: Samples, count: int) -> Samples:
    """Return so many samples, evenly dealt over the classes."""
    return samples.subset(np.linspace(0, len(samples) - 1, count).astype(np.int64))


# -- the tables ------------------------------------------------------------------------------------


def tables(parts: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the figures for people, as Markdown."""
    for part in parts:
        for kind, runs in part["runs"].items():
            yield f"\n## {part['what']}; noise: {kind}, {runs[0]['wrong']:,} labels\n"
            yield (
                f"Accuracy {_mean(runs, 'accuracy'):.1%}; estimated share of wrong labels "
                f"{_mean(runs, 'share'):.1%} (interval of seed 0: {runs[0]['share_low']:.1%} to "
                f"{runs[0]['share_high']:.1%}); {len(runs)} seed{'s' * (len(runs) > 1)}.\n"
            )
            yield "| rule | found | precision | recall | F1 |\n|---|---|---|---|---|"
            for name in runs[0]["found"]:
                lines = [run["found"][name] for run in runs]
                cells = [f"{_mean(lines, 'n'):,.0f}"]
                if kind != "none":
                    cells += [f"{_mean(lines, key):.3f}" for key in ("precision", "recall", "f1")]
                else:
                    cells += ["–", "–", "–"]
                yield f"| {name} | {' | '.join(cells)} |"
            if kind != "none":
                yield "\n| rank | average precision |\n|---|---|"
                for name in runs[0]["average precision"]:
                    mean = moments(run["average precision"][name] for run in runs)["mean"]
                    yield f"| {name} | {mean:.3f} |"


def _mean(rows: list[Any], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def keep(options: argparse.Namespace, parts: list[Mapping[str, Any]]) -> None:
    """Print what there is so far, and write it."""
    text = "\n".join(tables(parts))
    print(text)
    if folder := target(options, "label-noise"):
        versions = {name: metadata.version(name) for name in ("cleanlab", "scikit-learn")}
        write(folder, {"libraries": versions, "parts": parts})
        (folder / "result.md").write_text(f"# Planted label noise\n{text}\n", encoding="utf-8")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("data", help="CIFAR-10 as class folders in train and test")
    made.add_argument("--weights", required=True, help="of a network that saw no test photo")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--scratch", type=int, default=0, help="training photos; 0: no trainings")
    made.add_argument("--model", default="resnet8_fast", help="what is trained from scratch")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=["symmetric"])
    made.add_argument("--work", type=Path, help="folder to go on from, where it was stopped")
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(exist_ok=True)
        done = work / "features.json"
        part = json.loads(done.read_text()) if done.exists() else by_features(options, work)
        done.write_text(json.dumps(part))
        keep(options, [part])
        if options.scratch:
            keep(options, [part, by_trainings(options, part["taken for"], work)])


if __name__ == "__main__":
    main()
