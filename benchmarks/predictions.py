"""Predicting photos: plain loops, and `predict` with each engine and precision, in turn.

    python benchmarks/predictions.py                    # photos are made
    python benchmarks/predictions.py --photos photos/ --model best.safetensors --data cifar10/

Three things are compared for each network, all at 224 pixels: whole predictions of files (decoded,
scaled, classified), peers' loops and ours; ours from files with the engine alone, which is given
numbers in memory; and int8 with ONNX Runtime in float32, both on numbers in memory. With `--model`
and `--data`, how often each engine and precision names the class that torch in float32 names.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from photos import CLASSES, MADE, make_photos
from side_by_side import (
    PRODUCT,
    VERDICTS,
    Aim,
    Comparison,
    Figures,
    Ratio,
    in_turn,
    measured,
    parser,
    publish,
    rounds_of,
    watch,
)

from resnets.data.loader import prefetch
from resnets.data.scan import find_images
from resnets.errors import UserError

MODELS = ("resnet18", "resnet50")
SIZE, RESIZE = 224, 256
WAYS: dict[str, dict[str, str]] = {
    "torch fp32": {},  # what `Predictor.load` does by itself
    "torch bf16": {"engine": "torch", "precision": "bf16"},
    "openvino fp32": {"engine": "openvino", "precision": "fp32"},
    "openvino bf16": {"engine": "openvino", "precision": "bf16"},
    "openvino int8": {"engine": "openvino", "precision": "int8"},
    "onnxruntime fp32": {"engine": "onnxruntime", "precision": "fp32"},
    "auto": {"engine": "auto"},
}
"""Ours, by what `Predictor.load` is given; int8 takes a model file of its own."""
BASE = "torch fp32"
RUNTIME = "ONNX Runtime by hand, fp32"
DECODING = "decoding alone"
BATCH = 64  # of numbers in memory, as the product has it
CALIBRATION = 64  # photos that int8 is calibrated on, where there is nothing to get right
NOTES = (
    "plain loops: Pillow, torchvision's Resize, CenterCrop, ToTensor and Normalize, NCHW float32, "
    "eval() under no_grad, one thread that decodes; torchvision's network",
    "timm: create_loader with 2 workers and batches of 32, as its inference.py; timm's network",
    "ours: Predictor.stream over the files; GOMP_SPINCOUNT as the command sets it",
    f"weights are random and classes {CLASSES}, in all of them; the clock begins after a few "
    "photos; peak_mib with what is loaded",
    "engine alone: batches of 64 that are numbers in memory already; where photos are decoded on "
    "the same cores, both together can at best take the sum of their times",
    f"{RUNTIME}: torch.onnx.export of torchvision's network, a session with its default options",
)


# -- contenders, in processes of their own --------------------------------------------------------


def plain(model: str, files: Sequence[str], batch: int) -> None:
    """Predict as the usual script does."""
    import torch
    import torchvision
    from PIL import Image
    from torchvision import transforms

    net = torchvision.models.get_model(model, num_classes=CLASSES).eval()
    prepare = transforms.Compose(
        [
            transforms.Resize(RESIZE),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    def predict(names: Sequence[str]) -> None:
        for start in range(0, len(names), batch):
            photos = [Image.open(name).convert("RGB") for name in names[start : start + batch]]
            with torch.no_grad():
                outputs = net(torch.stack([prepare(photo) for photo in photos]))
            outputs.softmax(1).topk(CLASSES)

    _time(predict, files)


def timm_loader(model: str, files: Sequence[str]) -> None:
    """Predict as timm's inference.py does."""
    import timm
    import torch
    from timm.data import ImageDataset, create_loader, resolve_data_config

    net = timm.create_model(model, num_classes=CLASSES).eval()
    config = resolve_data_config({"input_size": (3, SIZE, SIZE)}, model=net)

    loader = create_loader(
        ImageDataset("", reader=_Listed(files)),
        input_size=config["input_size"],
        batch_size=32,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        num_workers=2,
        device=torch.device("cpu"),
    )

    def predict(names: Sequence[str]) -> None:
        with torch.inference_mode():
            for images, _ in loader:
                net(images).softmax(1).topk(CLASSES)

    _time(predict, files, warm=len(files))  # its workers start with the first pass


class _Listed:
    """What timm reads: some files, without labels."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return Path(self.names[index]).open("rb"), 0


def ours(path: str, files: Sequence[str], way: str) -> None:
    predictor = load(path, way)

    def predict(names: Sequence[str]) -> None:
        for _ in predictor.stream((name, name) for name in names):
            pass

    _time(predict, files)


def decoding(path: str, files: Sequence[str]) -> None:
    """Decode and scale as ours does, without a network."""
    predictor = load(path, BASE)
    prepare = predictor.model.preprocess.prepare

    def predict(names: Sequence[str]) -> None:
        for _ in prefetch(prepare, map(Path, names), predictor.workers):
            pass

    _time(predict, files)


def alone(path: str, batches: int, batch: int, way: str) -> None:
    """Give one of our engines numbers in memory; a batch is begun before the last one is done."""
    import numpy as np
    import torch

    from resnets.training.machine import full_precision

    predictor = load(path, way)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, SIZE, SIZE, 3), np.uint8)
    images = predictor.model.preprocess.normalize(torch.from_numpy(pixels))

    def torch_alone() -> Callable[[], Any]:
        net = predictor.machine.place(predictor.model.network())

        def run() -> Any:
            with full_precision():
                outputs = net(images)
            return lambda: outputs

        return run

    begin = torch_alone() if way == BASE else lambda: predictor.ready.engine.start(images)

    def run(count: range) -> None:
        waits = []
        for _ in count:
            waits.append(begin())
            if len(waits) > 1:
                waits.pop(0)()
        waits.pop()()

    _time(run, range(batches), batch, warm=1)


def runtime(model: str, batches: int, batch: int) -> None:
    """Give ONNX Runtime numbers in memory, as its documentation shows."""
    import numpy as np
    import onnxruntime
    import torch
    import torchvision

    net = torchvision.models.get_model(model, num_classes=CLASSES).eval()
    images = np.random.default_rng(0).standard_normal((batch, 3, SIZE, SIZE), np.float32)
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "model.onnx"
        torch.onnx.export(net, (torch.from_numpy(images),), file, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(count: range) -> None:
        for _ in count:
            session.run(None, {name: images})

    _time(run, range(batches), batch, warm=1)


def _time(work: Callable[[Any], None], items: Any, photos: int = 1, warm: int = 8) -> None:
    """Print how many photos a second `work` does, an item being so many; `warm` come before."""
    work(items[: min(warm, len(items))])
    began = time.perf_counter()
    work(items)
    seconds = time.perf_counter() - began
    print(json.dumps({"images/s": photos * len(items) / seconds}))


def load(path: str, way: str) -> Any:
    """Return a predictor. Raises UserError for an engine or a precision that is not there."""
    from resnets.predict import Predictor

    try:
        return Predictor.load(path, **WAYS[way])
    except TypeError as error:  # a version without engines
        raise UserError(str(error)) from None


def write_model(name: str, path: Path) -> None:
    """Write a model file with random weights."""
    import torch

    import resnets
    from resnets.data.preprocess import Preprocess
    from resnets.weights import model_file

    torch.manual_seed(0)
    net = resnets.create_model(name, num_classes=CLASSES)
    classes = tuple(f"class {number}" for number in range(CLASSES))
    preprocess = Preprocess.for_photos(SIZE, RESIZE)
    model_file.save(model_file.Model(net.spec, classes, preprocess, net.state_dict()), path)


# -- comparing ------------------------------------------------------------------------------------


def available(path: Path, data: str | Path, work: Path, ways: Sequence[str]) -> dict[str, Path]:
    """Return the model file for each of our ways that can be had; print why the others cannot.

    A model in int8 is made by the command, from a model file and `data` with its classes.
    """
    files: dict[str, Path] = {}
    for way in ways:
        file = path
        try:
            if WAYS[way].get("precision") == "int8":
                file = work / f"{path.stem}-int8.safetensors"
                arguments = [path, file, "--precision", "int8", "--data", data, "--force"]
                watch([sys.executable, "-m", "resnets", "convert", *arguments])
            load(str(file), way)
            files[way] = file
        except (UserError, RuntimeError) as error:
            print(f"skipped: {way}: {str(error).splitlines()[-1]}", flush=True)
    return files


def compare(options: argparse.Namespace, model: str, work: Path) -> Iterator[Comparison]:
    path = work / f"{model}.safetensors"
    write_model(model, path)
    ways = available(path, work / "calibration", work, options.ways)

    def once(role: str, argument: str | Path, *more: str) -> Callable[[], Figures]:
        arguments = ["--measure", role, argument, *more]
        arguments += [
            "--photos",
            options.photos,
            "--batches",
            options.batches,
            "--batch",
            options.batch,
        ]
        environment = PRODUCT if role in ("ours", "alone", "decoding") else None
        return partial(measured, __file__, *arguments, env=environment)

    peers = {
        "plain loop, batch 1": once("plain", model, "1"),
        "plain loop, batch 32": once("plain", model, "32"),
        "timm's loader, batch 32": once("timm", model),
    }
    from_files = {f"ours, {way}": once("ours", file, way) for way, file in ways.items()}
    in_memory = {f"{way} alone": once("alone", file, way) for way, file in ways.items()}
    in_memory[RUNTIME] = once("runtime", model)
    bound = {DECODING: once("decoding", path)}
    rounds = in_turn({**peers, **from_files, **in_memory, **bound}, rounds_of(options))
    count = len(photos_in(options.photos))
    yield Comparison(
        f"predictions of {count} files, {model} at {SIZE} px",
        "images/s",
        {name: rounds[name] for name in (*peers, *from_files)},
        "images/s",
        also=("peak_mib",),
        ratios=[Ratio(mine, peer) for mine in from_files for peer in peers],
    )
    yield Comparison(
        f"with numbers in memory, {model} at {SIZE} px",
        "images/s",
        {name: rounds[name] for name in in_memory},
        "images/s",
        also=("peak_mib",),
        ratios=[
            Ratio(f"{way} alone", RUNTIME, Aim("≥", 3.3) if way.endswith("int8") else None)
            for way in ways
        ],
    )
    yield Comparison(
        f"from files beside the engine alone, {model} at {SIZE} px",
        "images/s",
        {name: rounds[name] for name in (*from_files, *in_memory, DECODING) if name != RUNTIME},
        "images/s",
        ratios=[Ratio(f"ours, {way}", f"{way} alone", Aim("≥", 0.85)) for way in ways],
    )


def agreement(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Return how often each way names the class that torch in float32 names, and the right one."""
    import numpy as np

    from resnets.judging.heldout import open_for

    base = load(options.model, BASE)
    _, samples, split, _ = open_for(base, options.data, None, {})
    few = min(len(samples), options.most or len(samples))
    inputs = [(samples.path(i), samples.read(i)) for i in range(few)]
    labels = [base.classes[label] for label in samples.labels[:few]]
    aim, found = Aim("≥", 0.99), {}
    expected: list[str | None] = []
    ways = dict.fromkeys([BASE, *options.ways])
    for way, file in available(options.model, options.data, work, [*ways]).items():
        named = [row.label for row in load(str(file), way).stream(inputs)]
        expected = expected or named
        same = float(np.mean([a == b for a, b in zip(named, expected, strict=True)]))
        right = float(np.mean([a == b for a, b in zip(named, labels, strict=True)]))
        found[way] = {"top1": right, "agreement": same, "aim": "≥ 0.99", "met": aim.met(same)}
        verdict = VERDICTS[aim.met(same)]
        print(f"{way}: top-1 {right:.4f}, agrees for {same:.4f}, aim ≥ 0.99: {verdict}", flush=True)
    return {"photos": few, "split": split, "with": BASE, "ways": found}


def photos_in(folder: Path) -> list[str]:
    return list(find_images([folder]))


def main() -> None:
    options = _options()
    if options.measure:
        return _measure(options)
    if (options.model is None) != (options.data is None):
        sys.exit("--model and --data belong together: a model file, and labelled photos for it")
    if options.quick:
        options.count, options.batches, options.batch, options.models = 8, 1, 4, ["resnet18"]
        options.ways = [BASE, "openvino int8"]
    notes, more = list(NOTES), {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if options.model:
            more["agreement"] = agreement(options, work)
        make_photos(work / "calibration", CALIBRATION)
        if options.photos is None:
            options.photos = make_photos(work / "photos", options.count)
            notes.append(MADE)
        compared = [c for model in options.models for c in compare(options, model, work)]
    publish(options, "predictions", compared, notes, **more)


def _measure(options: argparse.Namespace) -> None:
    role, subject, *more = options.measure
    roles: dict[str, Callable[[], None]] = {
        "plain": lambda: plain(subject, photos_in(options.photos), int(more[0])),
        "timm": lambda: timm_loader(subject, photos_in(options.photos)),
        "ours": lambda: ours(subject, photos_in(options.photos), more[0]),
        "decoding": lambda: decoding(subject, photos_in(options.photos)),
        "alone": lambda: alone(subject, options.batches, options.batch, more[0]),
        "runtime": lambda: runtime(subject, options.batches, options.batch),
    }
    roles[role]()


def _options() -> argparse.Namespace:
    made = parser(__doc__, rounds=3)
    made.add_argument("--photos", type=Path, help="a folder of photos of natural size")
    made.add_argument("--count", type=int, default=256, help="of photos, where they are made")
    made.add_argument("--batches", type=int, default=8, help="of 64, in memory")
    made.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    made.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    made.add_argument("--model", type=Path, help="a trained model file, for the agreement")
    made.add_argument("--data", help="labelled photos that it knows the classes of")
    made.add_argument("--most", type=int, help="photos for the agreement, all if not given")
    made.add_argument("--batch", type=int, default=BATCH, help=argparse.SUPPRESS)
    made.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    return made.parse_args()


if __name__ == "__main__":
    main()
