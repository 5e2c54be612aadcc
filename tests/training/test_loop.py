"""The loop on photos made here: what it promises, on a network small enough for seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from resnets.data.cache import ImageCache, Storage
from resnets.data.preprocess import Preprocess
from resnets.data.samples import ArrayReader, Samples
from resnets.errors import Interrupted
from resnets.nn import ResNet
from resnets.spec import ResNetSpec, Stem
from resnets.tasks.classify import Classify
from resnets.training import checkpoint
from resnets.training.interrupt import Interrupt
from resnets.training.loop import MOST_SKIPPED, Diverged, Trainer
from resnets.training.machine import Machine
from resnets.training.recipe import Recipe

SPEC = ResNetSpec("tiny", (1, 1), (8, 16), stem=Stem(8, 3, 1, pool="none"), num_classes=2)
RECIPE = Recipe(
    "test", epochs=3, batch_size=8, lr=0.05, warmup_epochs=0.5, ema=0.9, mixup=0.3, cutmix=0.3
)


def photos(n: int, seed: int) -> Samples:
    """Return photos of two classes: bright above, or bright below."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.integers(0, 120, (n, 12, 12, 3))
    for image, label in zip(images, labels, strict=True):
        image[6 * label : 6 * label + 6] += 100
    reader = ArrayReader((images.astype(np.uint8),), ("memory",))
    return Samples(tuple(map(str, range(n))), labels, reader)


class Watcher:
    """Keeps what a trainer reports, and can ask it to stop after some steps."""

    def __init__(self, interrupt: Interrupt, stop_after: int = 0) -> None:
        self.kept: dict[str, dict[str, Tensor]] = {}
        self.losses: list[float] = []
        self.pooled = 0
        self.rows: list[dict[str, float]] = []
        self.problems: list[tuple[int, int, str]] = []
        self.interrupt, self.stop_after = interrupt, stop_after

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None:
        self.losses.append(loss)
        self.interrupt.requested = len(self.losses) == self.stop_after

    def features(self, photos: int) -> None:
        self.pooled += photos

    def skipped(self, epoch: int, step: int, why: str) -> None:
        self.problems.append((epoch, step, why))

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        self.rows.append(dict(row))

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
        self.kept[name] = {k: v.clone() for k, v in weights.items()}

    def history(self, rows: list[dict[str, float]]) -> None:
        self.written = rows


def make(
    folder: Path,
    recipe: Recipe = RECIPE,
    workers: int = 0,
    stop_after: int = 0,
    val: bool = True,
    spec: ResNetSpec = SPEC,
    convolution: str = "direct",
) -> tuple[Trainer, Watcher]:
    preprocess = Preprocess.for_photos(12, 12)
    memory = Storage("memory")
    torch.manual_seed(0)
    interrupt = Interrupt()
    watcher = Watcher(interrupt, stop_after)
    train = photos(37, 0)
    trainer = Trainer(
        ResNet(spec),
        Classify.for_labels(("above", "below"), train.labels, 0.1, "balanced"),
        recipe,
        ImageCache(train, preprocess, memory),
        ImageCache(photos(20, 1), preprocess, memory) if val else None,
        Machine("cpu", "fp32", convolution=convolution),
        seed=5,
        workers=workers,
        checkpoints=folder,
        keeper=watcher,
        observer=watcher,
        interrupt=interrupt,
    )
    # Epochs as short as these would not all be written.
    trainer.saver.epoch_due = lambda: True  # type: ignore[method-assign]
    return trainer, watcher


def everything(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a trainer's whole state; times aside, which no two runs share."""
    tensors, values = trainer.state()
    for name in ("seconds", "saving"):
        values["progress"].pop(name)
    for row in values["progress"]["history"]:
        for name in ("seconds", "images_per_second", "checkpoint_seconds"):
            row.pop(name)
    return {name: value.clone() for name, value in tensors.items()}, values


def assert_same(a: Trainer, b: Trainer) -> None:
    (tensors, values), (others, other_values) = everything(a), everything(b)
    assert values == other_values
    assert tensors.keys() == others.keys()
    for name, value in tensors.items():
        assert torch.equal(value, others[name]), name


def test_it_learns_and_keeps_the_best(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=8, mixup=0, cutmix=0)
    trainer, watcher = make(tmp_path, recipe)
    progress = trainer.run()
    assert [row["epoch"] for row in watcher.rows] == list(range(1, 9))
    assert watcher.rows[-1]["train_loss"] < watcher.rows[0]["train_loss"]
    scores = [row["val_top1"] for row in watcher.rows]
    assert max(scores) >= 0.9
    ranks = [[row["val_top1"], -row["val_loss"]] for row in watcher.rows]
    assert progress.best == max(ranks)
    assert progress.best_epoch == 1 + ranks.index(max(ranks))
    assert set(watcher.kept) == {"best", "last"}
    assert watcher.written == progress.history


def test_the_kept_weights_are_the_averaged_ones(tmp_path: Path) -> None:
    trainer, watcher = make(tmp_path)
    trainer.run()
    assert trainer.stepper.ema is not None
    for name, value in trainer.stepper.ema.net.state_dict().items():
        assert torch.equal(watcher.kept["last"][name], value)
    live = trainer.stepper.net.state_dict()
    assert not torch.equal(watcher.kept["last"]["conv1.weight"], live["conv1.weight"])


def test_the_trunk_keeps_still_while_the_classifier_learns(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2, head_epochs=1, ema=0.0)
    trainer, watcher = make(tmp_path, recipe)
    before = {name: value.clone() for name, value in trainer.stepper.net.state_dict().items()}
    kept: list[dict[str, Tensor]] = []
    keep = watcher.keep
    watcher.keep = lambda name, weights, row: (  # type: ignore[method-assign]
        kept.append({k: v.clone() for k, v in weights.items()}),
        keep(name, weights, row),
    )[1]
    trainer.run()
    changed = [name for name, value in before.items() if not torch.equal(value, kept[0][name])]
    assert set(changed) == {"fc.weight", "fc.bias"}
    assert not torch.equal(before["conv1.weight"], kept[-1]["conv1.weight"])


def test_photos_are_looked_at_once_while_the_classifier_learns(tmp_path: Path) -> None:
    trainer, watcher = make(tmp_path, dataclasses.replace(RECIPE, epochs=4, head_epochs=2))
    seen: list[tuple[int, int]] = []
    forward = trainer.stepper.net.forward_features
    trainer.stepper.net.forward_features = lambda x: (  # type: ignore[method-assign]
        seen.append((trainer.progress.epoch, len(x))),
        forward(x),
    )[1]
    trainer.run()
    # Of 37 photos the centre and the mirror, of 20 for validation the centre; then every step.
    assert [size for epoch, size in seen if epoch < 2] == [37, 37, 20]
    assert watcher.pooled == 57
    assert sum(size for epoch, size in seen if epoch >= 2) == 2 * 37
    assert not trainer.pooled
    assert [row["epoch"] for row in watcher.rows] == [1, 2, 3, 4]
    assert all(row["val_loss"] > 0 for row in watcher.rows)


def test_mirrors_are_trained_on_where_the_recipe_mirrors(tmp_path: Path) -> None:
    weights = []
    for flip in (True, False):
        recipe = dataclasses.replace(LINEAR, flip=flip)
        trainer, _ = make(tmp_path / str(flip), recipe)
        trainer.run()
        weights.append(trainer.stepper.net.get_parameter("fc.weight"))
    assert not torch.equal(*weights)


def test_stopped_while_features_are_computed(tmp_path: Path) -> None:
    whole, _ = make(tmp_path / "whole", LINEAR)
    whole.run()
    first, watcher = make(tmp_path / "parts", LINEAR)
    watcher.features = lambda photos: setattr(  # type: ignore[method-assign]
        first.interrupt, "requested", True
    )
    with pytest.raises(Interrupted):
        first.run()
    second, _ = make(tmp_path / "parts", LINEAR)
    loaded = checkpoint.load_newest(tmp_path / "parts", print)
    assert loaded is not None
    second.restore(*loaded)
    second.run()
    assert_same(whole, second)


def test_with_winograds_convolutions_a_resume_comes_to_the_same_bits(tmp_path: Path) -> None:
    spec = ResNetSpec("wider", (1,), (32,), stem=Stem(32, 3, 1, pool="none"), num_classes=2)
    recipe = dataclasses.replace(RECIPE, accumulate=2)
    ways = {"spec": spec, "convolution": "winograd"}
    whole, _ = make(tmp_path / "whole", recipe, **ways)
    whole.run()
    direct, _ = make(tmp_path / "direct", recipe, spec=spec)
    direct.run()
    name = "net.layer1.0.conv1.weight"
    assert not torch.equal(whole.state()[0][name], direct.state()[0][name])  # it was used
    first, _ = make(tmp_path / "parts", recipe, stop_after=7, **ways)
    with pytest.raises(Interrupted):
        first.run()
    second, _ = make(tmp_path / "parts", recipe, **ways)
    loaded = checkpoint.load_newest(tmp_path / "parts", print)
    assert loaded is not None
    second.restore(*loaded)
    second.run()
    assert_same(whole, second)


def test_workers_change_nothing(tmp_path: Path) -> None:
    trainers = []
    for workers in (0, 1, 4):
        trainer, _ = make(tmp_path / str(workers), workers=workers)
        trainer.run()
        trainers.append(trainer)
    assert_same(trainers[0], trainers[1])
    assert_same(trainers[0], trainers[2])


FINETUNE = dataclasses.replace(RECIPE, head_epochs=1, layer_decay=0.5, bn="fixed")
LINEAR = dataclasses.replace(RECIPE, head_epochs=3)
RESUMED = {"from scratch": RECIPE, "fine-tuning": FINETUNE, "linear": LINEAR}


@pytest.mark.parametrize("recipe", RESUMED.values(), ids=RESUMED)
@pytest.mark.parametrize("stop_after", [1, 4, 5, 7, 12, 15])
def test_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path: Path, stop_after: int, recipe: Recipe
) -> None:
    whole, _ = make(tmp_path / "whole", recipe)
    whole.run()
    first, _ = make(tmp_path / "parts", recipe, stop_after=stop_after)
    with pytest.raises(Interrupted):
        first.run()
    second, _ = make(tmp_path / "parts", recipe, workers=2)
    loaded = checkpoint.load_newest(tmp_path / "parts", print)
    assert loaded is not None
    second.restore(*loaded)
    second.run()
    assert_same(whole, second)


def test_accumulation_sees_the_same_gradient(tmp_path: Path) -> None:
    """Without BN in the way, dealing a batch out changes rounding only."""
    results = []
    for parts in (1, 4):
        recipe = dataclasses.replace(
            RECIPE, epochs=1, batch_size=64, accumulate=parts, ema=0.0, warmup_epochs=0.0
        )
        trainer, _ = make(tmp_path / str(parts), recipe)
        trainer.stepper.net.eval().train = lambda mode=True, net=trainer.stepper.net: net
        trainer.run()
        results.append(trainer.stepper.net.state_dict())
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], atol=1e-5), name


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        RECIPE, epochs=1, clip_norm=1e-3, momentum=0.0, weight_decay=0.0, warmup_epochs=0.0
    )
    trainer, watcher = make(tmp_path, recipe)
    before = [p.detach().clone() for p in trainer.stepper.net.parameters()]
    trainer.run()
    after = trainer.stepper.net.parameters()
    moved = torch.stack([(p - q).norm() for p, q in zip(after, before, strict=True)]).norm()
    assert 0 < float(moved.detach()) <= len(watcher.losses) * recipe.lr * 1e-3 * 1.001


def test_patience_stops_early(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=50, lr=0.0, ema=0.0, patience=2)
    trainer, watcher = make(tmp_path, recipe)
    # With a rate of nothing only the BN statistics move, and soon not even they.
    trainer.run()
    assert len(watcher.rows) < 50
    assert len(watcher.rows) == trainer.progress.best_epoch + 2


def test_a_diverging_run_stops_and_keeps_good_weights(tmp_path: Path) -> None:
    trainer, watcher = make(tmp_path, dataclasses.replace(RECIPE, epochs=4))
    original = trainer.task.loss
    calls = 0

    def spoiled(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return original(outputs, targets) * (float("nan") if calls == 8 else 1)

    trainer.stepper.task = _WithLoss(trainer.task, spoiled)  # type: ignore[assignment]
    with pytest.raises(Diverged, match=r"loss is nan in epoch 2, step 3.*lr=0.005"):
        trainer.run()
    assert all(torch.isfinite(v).all() for v in watcher.kept["last"].values())
    loaded = checkpoint.load_newest(tmp_path, print)
    assert loaded is not None
    assert all(torch.isfinite(v.float()).all() for v in loaded[0].values())


def test_weights_spoilt_by_the_last_update_of_an_epoch_are_not_kept(tmp_path: Path) -> None:
    trainer, watcher = make(tmp_path, dataclasses.replace(RECIPE, ema=0.0), val=False)
    update = trainer.stepper._update

    def spoil(norm: Tensor, steps_done: int) -> None:
        update(norm, steps_done)
        if trainer._steps_done == 2 * trainer.plan.steps - 1:
            with torch.no_grad():
                trainer.stepper.net.get_parameter("fc.weight").fill_(float("inf"))

    trainer.stepper._update = spoil  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"fc\.weight"):
        trainer.run()
    for kept in watcher.kept.values():
        assert all(torch.isfinite(value.float()).all() for value in kept.values())


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_steps_that_are_not_finite_can_be_skipped(tmp_path: Path, where: str) -> None:
    recipe = dataclasses.replace(RECIPE, on_nan="skip", epochs=2)
    trainer, watcher = make(tmp_path, recipe)
    _spoil(trainer, where, {4})
    seen: list[dict[str, Tensor]] = []
    note = trainer._note
    trainer._note = lambda outcome: (  # type: ignore[method-assign]
        seen.append({k: v.clone() for k, v in trainer.state()[0].items()}),
        note(outcome),
    )[1]
    trainer.run()
    assert [(epoch, step) for epoch, step, _ in watcher.problems] == [(0, 3)]
    assert where in watcher.problems[0][2]
    for name, value in seen[2].items():  # not even BN's statistics, nor the average
        assert torch.equal(seen[3][name], value), name
    assert not torch.equal(seen[4]["net.conv1.weight"], seen[3]["net.conv1.weight"])
    assert trainer.progress.epoch == 2


def test_skipping_has_an_end(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, on_nan="skip", epochs=9)
    trainer, watcher = make(tmp_path, recipe)
    _spoil(trainer, "loss", set(range(2, 100)))
    with pytest.raises(Diverged, match="loss is nan"):
        trainer.run()
    assert len(watcher.problems) == MOST_SKIPPED


def _spoil(trainer: Trainer, where: str, calls: set[int]) -> None:
    """Make the loss, or only its gradient, no number in some calls, from 1."""
    original, count = trainer.task.loss, 0

    def spoiled(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count not in calls:
            return original(outputs, targets)
        if where == "loss":
            return original(outputs, targets) * float("nan")
        return (outputs - outputs.detach()).abs().sqrt().sum(1)  # 0, with a slope of 0 × ∞

    trainer.stepper.task = _WithLoss(trainer.task, spoiled)  # type: ignore[assignment]


def test_an_extended_run_counts_its_patience_anew(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=4, lr=0.0, ema=0.0, patience=2)
    first, _ = make(tmp_path, recipe)
    ended = first.run().epoch
    second, _ = make(tmp_path, dataclasses.replace(recipe, epochs=40))
    loaded = checkpoint.load_newest(tmp_path, print)
    assert loaded is not None
    second.restore(*loaded)
    assert second.run().epoch == ended
    second.progress.patience_from = ended
    assert second.run().epoch == ended + 2


class _WithLoss:
    def __init__(self, task: Any, loss: Any) -> None:
        self._task, self.loss = task, loss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def test_without_validation_the_newest_is_the_best(tmp_path: Path) -> None:
    trainer, watcher = make(tmp_path, val=False)
    trainer.run()
    assert trainer.progress.best_epoch == RECIPE.epochs
    for name, value in watcher.kept["last"].items():
        assert torch.equal(watcher.kept["best"][name], value)
