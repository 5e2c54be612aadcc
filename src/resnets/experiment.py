"""`train` and `resume`: from what the user names to a run folder with a model and a report."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torchvision

from resnets.choices import (
    announce_data,
    check_options,
    choose_preprocess,
    choose_recipe,
    choose_spec,
)
from resnets.console import Console
from resnets.data.sources import Dataset, open_dataset
from resnets.errors import UserError
from resnets.execution import execute
from resnets.results import Run
from resnets.spec import ResNetSpec
from resnets.training import checkpoint
from resnets.training.budget import parse_budget
from resnets.training.distributed import Ranks, together
from resnets.training.machine import Machine, default_workers, threads_restored
from resnets.training.processes import local_count, local_rank, restarts, torchrun_id
from resnets.training.recipe import Recipe
from resnets.training.run_folder import Config, RunFolder
from resnets.training.saver import Every
from resnets.training.speed import Speed
from resnets.version import VERSION
from resnets.weights import hub
from resnets.weights.convert import open_model
from resnets.weights.model_file import Model


def train(
    data: Any,
    *,
    model: str | ResNetSpec | None = None,
    weights: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    stem: str = "auto",
    epochs: int | None = None,
    budget: str | float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    recipe: str | Recipe | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    speed: str | Mapping[str, Any] = "auto",
    workers: int | None = None,
    checkpoint_every: str | float = "10m",
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_table: str | Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    quiet: bool = False,
) -> Run:
    """Train a residual network on labelled photos; what is not given is chosen and announced.

    In a script that torchrun starts in several processes, they train together; after a restart of
    torchrun's they go on with the run in `out`.

    Args:
      data: a folder, table, array file or built-in name; or a pair (images, labels) in memory.
      model: a name of the zoo or a spec; by the size of the photos if None.
      weights: what to start from: a model file, another project's checkpoint, or a published name
        such as ``timm/resnet50.a1_in1k``; the recipe is then ``finetune`` if none is given.
      size: side of the network's input, pixels; by the size of the photos if None.
      channels: 3, or 1 to read photos as grey; as the weights have it, else 3, if None.
      stem: ``auto`` (small for photos of up to 48 px), ``imagenet`` or ``small``.
      epochs, batch_size: instead of the recipe's; the rate follows the batch size.
      budget: the wall-clock time that all of it may take, ``90s``, ``10m``, ``1.5h`` or seconds:
        the epochs are as many as fit, and the recipe is ``fast`` if none is given.
      seed: of the split, the initialisation, the order and the augmentation.
      recipe, overrides: a recipe or its name, and fields to replace in it.
      out: the run folder; ``runs/<data>-<model>-<n>`` if None.
      device: ``cpu``, ``cuda``…; the best that is there if None.
      speed: how the steps are computed: ``auto`` (measured at the start of all but short runs),
        ``exact`` (the same everywhere), or settings, as text or by name: ``layout``
        (``channels-last`` or ``contiguous``), ``precision`` (``fp32`` or ``bf16``), ``compile``
        and ``threads``.
      workers: threads that decode photos.
      checkpoint_every: between checkpoints within an epoch: seconds, ``5m`` or ``200steps``. Epochs
        end with one, if that takes no more than a fiftieth of the time.
      val_fraction, test_fraction: of a source that has no such split.
      split_table: a CSV or Parquet of the split of every photo, such as a run's ``splits.csv``.
      path_column, label_column: of a table, where the names do not tell.
      quiet: say nothing but warnings.

    Raises:
      UserError: something given cannot be used; the message says what and how to mend it.
      Interrupted: stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    if out is not None and _is_restart(Path(out)):
        return resume(out, device=device, workers=workers, quiet=quiet)
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: from 0 to 2⁶³ - 1")
    began, limit = time.monotonic(), parse_budget(budget)
    if limit and epochs is not None:
        raise UserError("--budget and --epochs: the one follows from the other; give one of them")
    if limit and recipe is None and weights is None:
        recipe = "fast"  # with weights, `finetune` as ever
    check_options(model, stem, channels, recipe, overrides)
    Every.parse(checkpoint_every)
    said = Speed.parse(speed)
    machine = said.on(Machine.detect(device))
    options: dict[str, Any] = {
        "seed": seed,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "split_table": None if split_table is None else str(Path(split_table).absolute()),
        "path_column": path_column,
        "label_column": label_column,
    }
    if isinstance(data, str | Path) and Path(data).exists():
        data = Path(data).absolute()  # as a resume has it, from wherever
    with together(machine.of_rank(local_rank()).device) as ranks, threads_restored():
        console = Console(quiet, heard=ranks.leads)
        if out is not None and ranks.leads:
            RunFolder.check_free(Path(out))
        start = None
        if weights is not None:
            arch = model if isinstance(model, str) else None
            start = open_model(weights, arch=arch, say=console.say)
            weights = str(weights) if hub.is_name(weights) else str(Path(weights).resolve())
        dataset = open_dataset(data, **options)
        announce_data(dataset, console)
        preprocess = choose_preprocess(dataset, size, channels, start, console)
        spec = choose_spec(dataset, model, stem, preprocess, recipe, start, console)
        chosen = choose_recipe(
            dataset, recipe, preprocess, spec, epochs, batch_size, overrides, start, console
        )
        preprocess = dataclasses.replace(
            preprocess, mirrored=preprocess.mirrored or chosen.mirrored
        )
        config = Config(
            data=dataset.root if isinstance(data, str | Path) else None,
            data_options=options,
            fingerprint=dataset.fingerprint(),
            split=dataset.split_info,
            classes=dataset.classes,
            weights=None if weights is None else str(weights),
            start={} if start is None else _record(start),
            spec=spec.to_dict(),
            preprocess=preprocess.to_dict(),
            recipe=chosen.to_dict(),
            machine=machine.to_dict(),
            speed=str(said),
            budget=limit,
            seed=seed,
            workers=default_workers() if workers is None else workers,
            processes=ranks.world,
            local=local_count(),
            job=torchrun_id(),
            checkpoint_every=str(checkpoint_every),
            versions=_versions(machine),
        )
        if limit and chosen.linear:
            raise UserError(
                f"--budget: recipe {chosen.name} trains the classifier alone, which takes seconds; "
                "leave --budget out"
            )
        made = _create_folder(out, dataset, spec) if ranks.leads else None
        path = ranks.text(str(made.path) if made else "")
        folder = made or RunFolder(Path(path))
        with _held(folder, ranks):
            try:
                if ranks.leads:  # the configuration last: with it, the run can be resumed
                    folder.write_splits({k: v.ids for k, v in dataset.splits.items() if k != "all"})
                    folder.write_config(config)
                console.say(f"run      {folder.path}")
                return execute(folder, config, dataset, start, console, ranks, began=began)
            except UserError:
                if ranks.leads and not checkpoint.generations(folder.checkpoints):
                    folder.discard()
                raise


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Run:
    """Continue an interrupted run from its newest checkpoint, with the choices it began with.

    Args:
      run: its folder.
      epochs: more than it was to have; the schedule is drawn anew over all of them.
      device, workers: others than it began with; another device gives other last bits.
      quiet: say nothing but warnings.

    Raises:
      UserError: not a run folder, another process trains in it, or its data has changed since.
      Interrupted: stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    folder = RunFolder(Path(run))
    config = folder.read_config()
    recorded = Machine(**config.machine)
    detected = Machine.detect(device or recorded.device)
    moved = detected.device != recorded.device
    machine = detected if moved else recorded
    shared = together(machine.of_rank(local_rank()).device)
    with shared as ranks, threads_restored(), _held(folder, ranks):
        console = Console(quiet, heard=ranks.leads)
        _compare(config, machine, ranks, console)
        workers = config.workers if workers is None else workers
        config = dataclasses.replace(config, machine=machine.to_dict(), workers=workers)
        if config.data is None:
            raise UserError(f"{run}: trained on arrays in memory, which a resume cannot open again")
        dataset = open_dataset(config.data, **config.data_options)
        if dataset.fingerprint() != config.fingerprint:
            raise UserError(
                f"{config.data} has changed since {run} began: files, labels or splits differ; "
                "train anew, or restore the data"
            )
        return execute(folder, config, dataset, None, console, ranks, epochs, moved)


# -- the run ------------------------------------------------------------------------------------


def _held(folder: RunFolder, ranks: Ranks) -> AbstractContextManager[None]:
    """Keep others out of the run's folder; one of several processes does so for all."""
    return folder.lock() if ranks.leads else nullcontext()


def _compare(config: Config, machine: Machine, ranks: Ranks, console: Console) -> None:
    """Say what keeps a run from going on to the very bits that it would have come to."""
    here = _versions(machine)
    for name in ("torch", "hardware"):
        began = config.versions.get(name, here[name])
        if began != here[name]:
            console.warn(f"begun with {name} {began}, here {here[name]}: the last bits may differ")
    if config.machine["device"] != machine.device:
        console.warn(f"begun on {config.machine['device']}, here on {machine.device}")
    if config.processes != ranks.world:
        console.warn(
            f"processes when it began: {config.processes}, here: {ranks.world}; the same photos in "
            "the same order, but other last bits"
        )


def _is_restart(out: Path) -> bool:
    """Tell whether torchrun has started a job again that has a run in this folder."""
    if not restarts() or not torchrun_id() or not (out / "config.yaml").is_file():
        return False
    return bool(RunFolder(out).read_config().job == torchrun_id())


def _record(start: Model) -> dict[str, Any]:
    """Return what a run's own model files carry on of the weights that it starts from."""
    data = {k: v for k, v in start.data.items() if k != "seen"}
    return {"licence": start.licence, "data": {"spec": start.spec.name, **data}}


def _create_folder(out: str | Path | None, dataset: Dataset, spec: ResNetSpec) -> RunFolder:
    if out is not None:
        return RunFolder.create(Path(out))
    return RunFolder.numbered(Path("runs"), f"{dataset.name}-{spec.name}")


def _versions(machine: Machine) -> dict[str, str]:
    return {
        "resnets": VERSION,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "python": platform.python_version(),
        "hardware": machine.hardware(),
    }
