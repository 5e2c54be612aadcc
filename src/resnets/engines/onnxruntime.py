"""ONNX Runtime as an engine, on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.extras import library
from resnets.training.inference import Wait
from resnets.training.machine import Machine
from resnets.weights.model_file import Model
from resnets.weights.onnx_writer import to_onnx

ERRORS = 3
"""The least severe of what it prints: it warns of what only its developers can mend."""


@dataclass(frozen=True, eq=False)
class OnnxRuntime:
    """A session. It computes in a thread of its own, as it has no way to begin and wait."""

    session: Any
    outputs: int
    device: str = "cpu"
    thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "resnets-onnxruntime"), repr=False
    )

    def start(self, images: Tensor) -> Wait:
        if not len(images):
            return lambda: torch.empty(0, self.outputs)
        array = images.contiguous().numpy()
        future = self.thread.submit(lambda: self.session.run(None, {"images": array})[0])
        return lambda: torch.from_numpy(future.result())


def open_engine(model: Model, machine: Machine, precision: str) -> OnnxRuntime:
    """Return a session for a model.

    Raises:
      UserError: ONNX Runtime is not installed, or cannot compute this network.
    """
    runtime = library("onnxruntime", "export", "--engine onnxruntime")
    runtime.disable_telemetry_events()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = machine.threads
    options.log_severity_level = ERRORS
    try:
        session = runtime.InferenceSession(
            to_onnx(model), options, providers=["CPUExecutionProvider"]
        )
    except UserError:
        raise
    except Exception as error:  # its own kinds have no common ancestor but this
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"ONNX Runtime cannot compute this {model.spec.name} ({reason})") from None
    return OnnxRuntime(session, model.spec.num_classes or model.spec.num_features)
