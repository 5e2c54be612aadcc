"""The engines, what each of them can do, and which one is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from resnets.errors import UserError, did_you_mean
from resnets.extras import installed
from resnets.training.inference import Engine
from resnets.training.machine import Machine
from resnets.weights.model_file import Model

AUTO, DEFAULT = "auto", "torch"
PRECISIONS = ("fp32", "bf16", "int8")
Open = Callable[[Model, Machine, str], Engine]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Kind:
    """An engine: the module with its `open`, the libraries it needs, and what it can do.

    `precisions` are of a model in float32; `int8` says that it runs those that are quantised.
    """

    module: str
    needs: tuple[str, ...]
    precisions: tuple[str, ...]
    int8: bool = False
    cpu_only: bool = True

    def open(self, model: Model, machine: Machine, precision: str) -> Engine:
        """Return the engine. Raises UserError if a library is missing, or it cannot be done."""
        open_: Open = import_module(f"resnets.engines.{self.module}").open_engine
        return open_(model, machine, precision)

    def installed(self) -> bool:
        return all(map(installed, self.needs))


ENGINES = {
    "torch": Kind("pytorch", (), ("fp32", "bf16"), cpu_only=False),
    "openvino": Kind("openvino", ("onnx", "openvino"), ("fp32", "bf16"), int8=True),
    "onnxruntime": Kind("onnxruntime", ("onnx", "onnxruntime"), ("fp32",)),
}


@dataclass(frozen=True)
class Ready:
    """An engine that is ready, by its name, and the precision it computes in."""

    name: str
    precision: str
    engine: Engine = field(repr=False)


def check(model: Model, name: str | None, precision: str | None) -> tuple[str, str]:
    """Return the engine and the precision that are meant; ``auto`` only where there is a choice.

    Raises:
      UserError: an unknown one, or an engine that cannot do it; the message says which can.
    """
    name = name or (AUTO if model.quantization else DEFAULT)
    if name not in (AUTO, *ENGINES):
        near = did_you_mean(name, ENGINES) or f"; one of: {', '.join((AUTO, *ENGINES))}"
        raise UserError(f"--engine {name}: unknown{near}")
    if precision not in (None, *PRECISIONS):
        raise UserError(f"--precision {precision}: one of {', '.join(PRECISIONS)}")
    if model.quantization:
        able = [name for name, kind in ENGINES.items() if kind.int8]
        if precision not in (None, "int8"):
            raise UserError(f"--precision {precision}: this model is quantised to int8")
        if name not in (AUTO, *able):
            raise UserError(
                f"--engine {name}: this model is quantised to int8, which {_names(able)} computes"
            )
        return able[0] if name == AUTO else name, "int8"
    if precision == "int8":
        raise UserError(
            "--precision int8: takes a model that is quantised, which is made by: resnets convert "
            "MODEL DST --precision int8 --data DATA"
        )
    precision = precision or "fp32"
    able = [name for name, kind in ENGINES.items() if precision in kind.precisions]
    if name not in (AUTO, *able):
        raise UserError(f"--engine {name}: has no {precision}; {_names(able)} has")
    return name, precision


def _names(engines: list[str]) -> str:
    return " or ".join(engines)


def device_for(name: str, device: str | None) -> str | None:
    """Return the device for an engine; None for the best there is.

    Raises:
      UserError: the engine does not compute on `device`.
    """
    if name == AUTO or not ENGINES[name].cpu_only:
        return device
    if device not in (None, "cpu"):
        raise UserError(f"--engine {name}: computes on the CPU, and not on --device {device}")
    return "cpu"


def open_engine(
    model: Model,
    machine: Machine,
    name: str = DEFAULT,
    precision: str = "fp32",
    photos: int | None = None,
    say: Say = lambda text: None,
) -> Ready:
    """Return what computes a model; `name` and `precision` as `check` returns them.

    ``auto`` measures those that are installed, unless there are only few `photos` to do.

    Raises:
      UserError: a library that it needs is not installed, or it cannot compute this network.
    """
    if name != AUTO:
        return Ready(name, precision, ENGINES[name].open(model, machine, precision))
    from resnets.engines.choose import choose

    return choose(model, machine, precision, photos, say)
