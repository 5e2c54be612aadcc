"""``--engine auto``: the engines that are installed are timed, and the fastest is taken."""

from __future__ import annotations

import hashlib
import json
import math
import time

import torch
from torch import Tensor

from resnets.engines.table import DEFAULT, ENGINES, Ready, Say
from resnets.errors import UserError
from resnets.extras import version
from resnets.timings import recall, remember
from resnets.training.inference import BATCH, Engine
from resnets.training.machine import Machine
from resnets.weights.model_file import Model

ENOUGH = 300
"""Photos for which it pays to measure."""
SECONDS = 5.0
"""Time for all measurements; an engine whose turn does not come is left out."""


def choose(model: Model, machine: Machine, precision: str, photos: int | None, say: Say) -> Ready:
    """Return the fastest engine for a model on this machine, and say which one and why.

    It is measured once for a machine, a network, a size of photos and the libraries' versions.
    """
    able = [
        name
        for name, kind in ENGINES.items()
        if precision in kind.precisions
        and kind.installed()
        and (machine.device == "cpu" or not kind.cpu_only)
    ]
    if able == [DEFAULT] or (photos is not None and photos < ENOUGH):
        return _open(DEFAULT, model, machine, precision)
    key = _key(model, machine, precision, able)
    rates = _rates(recall(key), able)
    if rates:
        best = max(rates, key=rates.__getitem__)
        ready = _open(best, model, machine, precision)
        say(f"engine   {_verdict(rates)}, as measured before")
        return ready
    ready, rates = _measure(able, model, machine, precision)
    remember(key, {"rates": rates})
    say(f"engine   {_verdict(rates)}; --engine for another")
    return ready


def _open(name: str, model: Model, machine: Machine, precision: str) -> Ready:
    return Ready(name, precision, ENGINES[name].open(model, machine, precision))


def _key(model: Model, machine: Machine, precision: str, able: list[str]) -> str:
    """Return all that the rates depend on."""
    spec = json.dumps(model.spec.to_dict(), sort_keys=True)
    size = model.preprocess.size
    versions = [f"{name} {version(name)}" for name in able]
    return "; ".join(
        [
            "inference",
            machine.hardware(),
            f"{machine.device}, {machine.threads} threads",
            f"{model.spec.name} {hashlib.sha256(spec.encode()).hexdigest()[:16]}",
            f"{model.spec.in_channels}×{size}×{size} {precision}",
            *versions,
        ]
    )


def _rates(found: dict[str, object] | None, able: list[str]) -> dict[str, float]:
    """Return remembered rates, or nothing where they are not such."""
    rates = (found or {}).get("rates")
    if not isinstance(rates, dict) or DEFAULT not in rates or not set(rates) <= set(able):
        return {}
    if not all(isinstance(r, int | float) and 0 < r < math.inf for r in rates.values()):
        return {}
    return rates


def _measure(
    able: list[str], model: Model, machine: Machine, precision: str
) -> tuple[Ready, dict[str, float]]:
    """Return the fastest engine, and photos a second by engine; the default is always among them.

    The photos are noise: no engine here takes longer or shorter for what is in them.
    """
    end = time.perf_counter() + SECONDS
    size, channels = model.preprocess.size, model.spec.in_channels
    generator = torch.Generator().manual_seed(0)  # not the one that the caller draws from
    noise = (
        torch.randn(BATCH, size, size, channels, generator=generator)
        .permute(0, 3, 1, 2)
        .to(machine.device)
    )
    best, rates = _open(DEFAULT, model, machine, precision), dict[str, float]()
    for number, name in enumerate([DEFAULT, *(name for name in able if name != DEFAULT)]):
        now = time.perf_counter()
        share = (end - now) / (len(able) - number)
        if rates and share <= 0:
            break
        try:
            ready = _open(name, model, machine, precision) if rates else best
        except UserError:  # that of a network too large for it, say
            continue
        rates[name] = _rate(ready.engine, noise, now + share)
        best = ready if rates[name] == max(rates.values()) else best
    return best, rates


def _rate(engine: Engine, photos: Tensor, end: float) -> float:
    """Return photos a second, of the best of some runs of as many as there is time for."""
    number, best = 2, math.inf
    engine.start(photos[:1])()
    while True:
        began = time.perf_counter()
        engine.start(photos[:number])().cpu()
        now = time.perf_counter()
        seconds = now - began
        best = min(best, seconds / number)
        larger = min(4 * number, len(photos))
        if now + best * larger > end:
            return 1 / best
        number = larger


def _verdict(rates: dict[str, float]) -> str:
    best = max(rates, key=rates.__getitem__)
    if best == DEFAULT:
        others = ", ".join(name for name in rates if name != best)
        beside = f", the fastest beside {others}" if others else ""
        return f"{best}: {rates[best]:,.3g} images/s{beside}"
    gain = rates[best] / rates[DEFAULT]
    return f"{best}: {rates[best]:,.3g} images/s, {gain:.2g}× {DEFAULT}"
