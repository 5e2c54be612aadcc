"""What a run leaves: model files and a history as it trains, figures and a report at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from resnets.console import Console
from resnets.data.cache import ImageCache
from resnets.data.preprocess import Preprocess
from resnets.data.sources import Dataset
from resnets.evaluate import Evaluation, words
from resnets.judging.fitting import fitted
from resnets.judging.heldout import count_seen, record_seen
from resnets.judging.reporting import report_result, write_predictions
from resnets.judging.scoring import headline, score
from resnets.judging.slicing import slice_result
from resnets.predict import Predictor
from resnets.spec import ResNetSpec
from resnets.training.distributed import Ranks
from resnets.training.events import write_events
from resnets.training.machine import Machine
from resnets.training.recipe import Recipe
from resnets.training.run_folder import Config, RunFolder
from resnets.weights import model_file
from resnets.weights.model_file import Model


@dataclass(frozen=True)
class Run:
    """A finished training run: its folder, model file and figures on held-out photos."""

    path: Path
    model: Path
    report: Path
    split: str
    evaluation: Evaluation


def template(
    config: Config, recipe: Recipe, spec: ResNetSpec, preprocess: Preprocess, dataset: Dataset
) -> Model:
    """Return what every model file of the run says."""
    return Model(
        spec=spec,
        classes=dataset.classes,
        preprocess=preprocess,
        weights={},
        recipe=recipe.to_dict(),
        data={
            "name": dataset.name,
            "fingerprint": config.fingerprint,
            "photos": len(dataset.splits["all"]),
            **config.split,
            **record_seen(dataset),
            **({"start": config.start["data"]} if config.start else {}),
        },
        licence=config.start.get("licence", ""),
        versions=config.versions,
    )


@dataclass(frozen=True)
class RunKeeper:
    """Keeps the weights of a run as model files in its folder, and its history."""

    folder: RunFolder
    template: Model

    def keep(self, name: str, weights: Mapping[str, Tensor], row: Mapping[str, float]) -> None:
        model = dataclasses.replace(self.template, weights=weights, metrics=dict(row))
        model_file.save(model, self.folder.path / f"{name}.safetensors")

    def history(self, rows: list[dict[str, float]]) -> None:
        self.folder.write_history(rows)
        write_events(self.folder.path, rows[-1])


def judged_split(splits: Mapping[str, object]) -> str:
    """Return the split that the trained model is judged on."""
    return next(name for name in ("test", "val", "train") if name in splits)


def finish(
    folder: RunFolder,
    config: Config,
    dataset: Dataset,
    caches: Mapping[str, ImageCache],
    machine: Machine,
    history: list[dict[str, float]],
    console: Console,
    ranks: Ranks,
) -> Run:
    """Judge the best weights on photos that training never used, and write it all down."""
    ranks.wait()  # until they are written
    predictor = Predictor.load(folder.best, machine.device, workers=config.workers)
    if "val" in caches:
        predictor = fitted(predictor, caches["val"], "val", console, ranks)
    split = judged_split(caches)
    if split == "train":
        console.warn("no photos were held out: the figures are of the training photos themselves")
    result = score(predictor, caches[split], split, console, ranks, look=True)
    figures = result.evaluation
    if ranks.leads:
        metrics = {**predictor.model.metrics, "split": split, **headline(figures)}
        model_file.save(dataclasses.replace(predictor.model, metrics=metrics), folder.best)
        write_predictions(result, predictor.classes, folder.predictions)
        title = f"{config.spec['name']} on {dataset.name}"
        seen = count_seen(predictor.model, dataset, split, result.samples)
        learned = words.learned(seen, len(result.samples))
        sliced = slice_result(result)
        report_result(sliced, predictor, folder.report, title, dataset, history, learned=learned)
    ranks.wait()
    console.say(f"{split:8} {figures.summary()}")
    console.say(f"model    {folder.best}")
    console.say(f"report   {folder.report}")
    return Run(folder.path, folder.best, folder.report, split, figures)
