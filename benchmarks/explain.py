"""Which methods of heat maps depend on what a network has learnt: the test by random networks.

Every candidate makes maps of photos for the trained network, for a twin (the same network trained
a little further, as good), and for networks with random weights. How alike two maps are is the
rank correlation of their cells. A method passes where, on every network,

  1. random networks keep next to nothing of the map: their mean correlation is at most 0.3, with
     the upper end of its 95 % interval (bootstrap over photos), and
  2. the twin is told from random networks: the area under the ROC curve is at least 0.95.

Guided backpropagation, which is known to fail the first, and a CAM of random channels, which must
fail the second, are controls. What does not pass is not offered by ``resnets explain``.

The photos may be a part of CIFAR-10: in `benchmarks/results/explain` they are the first 600 of each
class for training and the first 200 for testing; `sign-digits/` are the original photos, at 96 px.

    resnets convert cifar10-resnet20-option-a.th a.safetensors
    resnets train cifar10-part --model resnet20 --weights a.safetensors --recipe finetune \\
        --epochs 1 --set lr=0.003 --set head_epochs=0 --seed 1 --out a2
    resnets train sign-digits/ --model resnet18 --epochs 6 --out b
    resnets train sign-digits/ --model resnet18 --weights b/best.safetensors --recipe finetune \\
        --epochs 1 --set lr=0.003 --set head_epochs=0 --seed 1 --out b2
    python benchmarks/explain.py --network a.safetensors a2/best.safetensors cifar10-part \\
        --network b/best.safetensors b2/best.safetensors sign-digits/
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from side_by_side import parser, target, write
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from resnets.data.sources import open_dataset
from resnets.explain.faithful import curves
from resnets.explain.maps import Mapper, choose_layer, enlarge, readied
from resnets.explain.methods import METHODS, Compute, Method, cam, pixels
from resnets.explain.randomised import (
    LIMIT,
    cascade,
    parts,
    randomised,
    rank_correlation,
    ssim,
)
from resnets.extras import version
from resnets.nn import ResNet
from resnets.weights import model_file

LEAST = 0.95
DRAWS = 2000
BATCH = 16


def guided(captum: Any, net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    found: Tensor = captum.GuidedBackprop(net).attribute(images, target=classes)
    return found.abs()  # as it is usually shown, and as Adebayo et al. have it


def gradient(captum: Any, net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    found: Tensor = captum.Saliency(net).attribute(images, target=classes)
    return found


def times_input(captum: Any, net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    found: Tensor = captum.InputXGradient(net).attribute(images, target=classes)
    return found


def quietly(compute: Compute) -> Compute:
    """Score-CAM shows a bar for every photo."""

    def computed(*arguments: Any) -> NDArray[np.float32]:
        with redirect_stderr(io.StringIO()):
            return compute(*arguments)

    return computed


OTHERS = {
    "eigencam": Method("EigenCAM", "Muhammad & Yeasin 2020, arXiv:2008.00299", cam("EigenCAM")),
    "eigengradcam": Method("Eigen-Grad-CAM", "of grad-cam", cam("EigenGradCAM")),
    "scorecam": Method(
        "Score-CAM", "Wang et al. 2020, arXiv:1910.01279", quietly(cam("ScoreCAM")), dear=True
    ),
    "gradcam++": Method(
        "Grad-CAM++", "Chattopadhay et al. 2018, arXiv:1710.11063", cam("GradCAMPlusPlus")
    ),
    "hirescam": Method("HiResCAM", "Draelos & Carin 2020, arXiv:2011.08891", cam("HiResCAM")),
    "xgradcam": Method("XGrad-CAM", "Fu et al. 2020, arXiv:2008.02312", cam("XGradCAM")),
    "layercam": Method(
        "LayerCAM", "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943", cam("LayerCAM")
    ),
    "gradient": Method(
        "Gradient", "Simonyan et al. 2014, arXiv:1312.6034", pixels(gradient), at_layer=False
    ),
    "gradient x input": Method(
        "Gradient × input", "Shrikumar et al. 2016, arXiv:1605.01713", pixels(times_input), False
    ),
    "guided backprop": Method(
        "Guided backpropagation (control)",
        "Springenberg et al. 2015, arXiv:1412.6806",
        pixels(guided),
        at_layer=False,
    ),
    "randomcam": Method("CAM of random channels (control)", "of grad-cam", cam("RandomCAM")),
}
CANDIDATES = {**METHODS, **{k: v for k, v in OTHERS.items() if k not in METHODS}}


class Subject:
    """A trained network, its twin, and photos that neither has learnt from.

    `few` of them are for deletion and insertion, for the parts that are drawn anew one by one, and
    for methods that take hundreds of passes.
    """

    def __init__(self, model: str, twin: str, data: str, photos: int, few: int) -> None:
        self.few = few
        loaded = model_file.load(model)
        self.preprocess, self.name = loaded.preprocess, f"{loaded.spec.name}, {Path(data).name}"
        self.net = readied(loaded.network())
        self.twin = readied(model_file.load(twin).network())
        samples = open_dataset(data).splits["test"]
        rng = np.random.default_rng(0)
        chosen = rng.choice(len(samples), min(photos, len(samples)), replace=False)
        prepared = np.stack([self.preprocess.prepare(samples.read(int(i))) for i in chosen])
        centred = self.preprocess.center(torch.from_numpy(prepared))
        self.images = self.preprocess.normalize(centred).contiguous()
        self.classes = self.answers(self.net).argmax(1)
        labels = torch.from_numpy(samples.labels[chosen])
        right = {"trained": self.net, "twin": self.twin}
        self.top1 = {
            name: float((self.answers(net).argmax(1) == labels).double().mean())
            for name, net in right.items()
        }

    @torch.no_grad()
    def answers(self, net: ResNet) -> Tensor:
        return net(self.images).softmax(1)

    def maps(self, mapper: Mapper, net: ResNet, most: int | None = None) -> NDArray[np.float32]:
        wanted = self.few if mapper.method.dear else most or len(self.images)
        count = min(wanted, len(self.images))
        starts = range(0, count, BATCH)
        parts = [slice(start, min(start + BATCH, count)) for start in starts]
        return np.concatenate([mapper(net, self.images[p], self.classes[p]) for p in parts])


def judge(subject: Subject, method: Method, layer: str, seeds: int) -> dict[str, Any]:
    """Return how alike the maps of a method are, and whether it passes."""
    mapper, size = Mapper(method, layer), subject.preprocess.size
    own = subject.maps(mapper, subject.net)
    began = time.monotonic()
    twin = rank_correlation(own, subject.maps(mapper, subject.twin))
    seconds = time.monotonic() - began
    everything = parts(subject.net)
    random, pictures = [], []
    for seed in range(seeds):
        other = subject.maps(mapper, randomised(subject.net, everything, seed, size))
        random.append(rank_correlation(own, other))
        pictures.append(ssim(enlarge(own, size), enlarge(other, size)))
    alike = np.stack(random)
    low, high = interval(alike.mean(0))
    auroc = float(
        roc_auc_score([1] * len(twin) + [0] * alike.size, np.concatenate([twin, alike.ravel()]))
    )
    line: dict[str, Any] = {
        "layer": layer if method.at_layer else None,
        "photos": len(own),
        "cells": list(own.shape[1:]),
        "blank": float((own.max((1, 2)) == 0).mean()),
        "random": {"mean": float(alike.mean()), "low": low, "high": high},
        "random_ssim": float(np.mean(pictures)),
        "twin": {"mean": float(twin.mean()), "median": float(np.median(twin))},
        "photos_that_pass": float((alike.mean(0) <= LIMIT).mean()),
        "auroc": auroc,
        "seconds_per_map": seconds / len(own),
        "passes": high <= LIMIT and auroc >= LEAST,
    }
    if not method.dear:
        line |= by_part(subject, mapper, own[: subject.few])
    return line | faithfulness(subject, own)


def by_part(subject: Subject, mapper: Mapper, own: NDArray[np.float32]) -> dict[str, Any]:
    """Return the mean correlation as parts are drawn anew: in a cascade, and each alone."""
    size, steps = subject.preprocess.size, cascade(subject.net)

    def mean(random: tuple[str, ...]) -> float:
        net = randomised(subject.net, random, 0, size)
        return float(rank_correlation(own, subject.maps(mapper, net, subject.few)).mean())

    return {
        "cascade": {name: mean(random) for name, random in steps.items()},
        "alone": {name: mean((name,)) for name in steps},
    }


def faithfulness(subject: Subject, own: NDArray[np.float32]) -> dict[str, Any]:
    """Return the mean areas of deletion and insertion, and those of maps in random order."""

    @torch.no_grad()
    def answer(images: Tensor) -> Tensor:
        return subject.net(images).softmax(1)

    found = [
        curves(answer, subject.images[i], int(subject.classes[i]), own[i], seed=i)
        for i in range(min(subject.few, len(own)))
    ]
    return {
        name: {
            "area": float(np.mean([c[name].area for c in found])),
            "random": float(np.mean([c[name].random_area for c in found])),
        }
        for name in ("deletion", "insertion")
    }


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by the bootstrap over photos."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(lines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a Markdown table of all methods on one network."""
    yield (
        "| method | layer | photos | random networks | twin | AUROC | deletion (random order) "
        "| insertion (random order) | |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, line in lines.items():
        random, areas = line["random"], [line[k] for k in ("deletion", "insertion")]
        shown = " | ".join(f"{a['area']:.2f} ({a['random']:.2f})" for a in areas)
        yield (
            f"| {name} | {line['layer'] or '–'} | {line['photos']} | "
            f"{random['mean']:.2f} ({random['low']:.2f} to {random['high']:.2f}) | "
            f"{line['twin']['mean']:.2f} | {line['auroc']:.3f} | {shown} | "
            f"{'passes' if line['passes'] else 'FAILS'} |"
        )


def main() -> None:
    options = _options()
    folder = target(options, "explain")
    networks = _kept(folder) if options.resume else {}
    for model, twin, data in options.network:
        subject = Subject(model, twin, data, options.photos, options.few)
        found = {"photos": len(subject.images), "size": subject.preprocess.size}
        known = networks.setdefault(subject.name, {**found, "top1": subject.top1, "methods": {}})
        lines, layers = known["methods"], options.layers or [None]
        for name in options.methods:
            method = CANDIDATES[name]
            for wanted in layers if method.at_layer else layers[:1]:
                layer = choose_layer(subject.net, subject.preprocess.size, wanted)
                key = name if wanted is None else f"{name}, {layer}"
                if key not in lines:
                    lines[key] = judge(subject, method, layer, options.seeds)
                    print(list(table({key: lines[key]}))[-1], flush=True)
                    _save(folder, networks, options.seeds)
    _save(folder, networks, options.seeds)


def _kept(folder: Path | None) -> dict[str, Any]:
    path = folder and folder / "result.json"
    if not path or not path.exists():
        return {}
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["networks"]
    return kept


def _save(folder: Path | None, networks: Mapping[str, Any], seeds: int) -> None:
    if not folder:
        return
    rule = f"random ≤ {LIMIT} (upper end of the interval) and AUROC ≥ {LEAST}"
    libraries = {name: version(name) for name in ("grad-cam", "captum", "scikit-learn")}
    write(folder, {"rule": rule, "seeds": seeds, "libraries": libraries, "networks": networks})
    (folder / "result.md").write_text("\n".join(page(networks, rule)) + "\n", encoding="utf-8")


def page(networks: Mapping[str, Any], rule: str) -> Iterator[str]:
    yield "# Heat maps, tested by random networks\n"
    yield "Rank correlation of a map with those of random networks and of a twin."
    yield f"Passes: {rule}.\n"
    for name, found in networks.items():
        tops = ", ".join(f"{k} {100 * v:.1f} %" for k, v in found["top1"].items())
        yield f"## {name}, {found['photos']} photos at {found['size']} px (top-1 of them: {tops})\n"
        yield from table(found["methods"])
        yield ""


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument(
        "--network", nargs=3, action="append", required=True, metavar=("MODEL", "TWIN", "DATA")
    )
    made.add_argument("--photos", type=int, help="of each data set; 128, or 4 with --quick")
    made.add_argument("--few", type=int, help="photos of what is dear; 32, or 4 with --quick")
    made.add_argument("--seeds", type=int, help="random networks; 3, or 1 with --quick")
    made.add_argument("--methods", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    made.add_argument("--layers", nargs="+", help="instead of the one that explain would choose")
    made.add_argument("--resume", action="store_true", help="keep the lines that are written")
    options = made.parse_args()
    options.photos = options.photos or (4 if options.quick else 128)
    options.few = options.few or (4 if options.quick else 32)
    options.seeds = options.seeds or (1 if options.quick else 3)
    return options


if __name__ == "__main__":
    main()
