"""OpenVINO as an engine, on the CPU."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resnets.errors import UserError
from resnets.extras import library
from resnets.training.inference import Wait
from resnets.training.machine import Machine
from resnets.weights import quantized
from resnets.weights.model_file import Model
from resnets.weights.onnx_writer import to_onnx

PIECE = 16
"""Photos that go through at once: the maps of a whole batch would not stay in the CPU's cache."""
HINTS = {"fp32": "f32", "bf16": "bf16"}


@dataclass(frozen=True, eq=False)
class OpenVINO:
    """A compiled network. `free` are requests that wait for work: each has room for its outputs."""

    compiled: Any
    outputs: int
    device: str = "cpu"
    free: deque[Any] = field(default_factory=deque, repr=False)

    def start(self, images: Tensor) -> Wait:
        running = []
        for piece in torch.split(images.contiguous(), PIECE) if len(images) else ():
            request = self._request()
            request.start_async({0: piece.numpy()})  # copied: who starts may never wait
            running.append(request)

        def wait() -> Tensor:
            values = [torch.empty(0, self.outputs)]
            for request in running:
                request.wait()
                values.append(torch.from_numpy(request.get_output_tensor().data.copy()))
                self.free.append(request)
            return torch.cat(values)

        return wait

    def _request(self) -> Any:
        try:
            return self.free.popleft()
        except IndexError:
            return self.compiled.create_infer_request()


def open_engine(model: Model, machine: Machine, precision: str) -> OpenVINO:
    """Compile a model, from float32 or as it was quantised.

    Raises:
      UserError: OpenVINO is not installed, or cannot compute this network.
    """
    openvino = library("openvino", "export", "--engine openvino")
    options = {
        "PERFORMANCE_HINT": "LATENCY",  # all threads on one piece after the other
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": machine.threads,
        "ENABLE_CPU_PINNING": False,  # two processes would share the first cores, and leave others
    }
    if not model.quantization:
        # Left alone, OpenVINO takes bf16 on some processors.
        options["INFERENCE_PRECISION_HINT"] = HINTS[precision]
    core = openvino.Core()
    try:
        if model.quantization:
            files = quantized.unpack(model.weights, model.spec, model.preprocess)
            network = core.read_model(*files)
        else:
            network = core.read_model(to_onnx(model))
        _check_ends(network, model)
        _check_sizes(network)
        compiled = core.compile_model(network, "CPU", options)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"OpenVINO cannot compute this {model.spec.name} ({reason})") from None
    return OpenVINO(compiled, model.spec.num_classes or model.spec.num_features)


def _check_ends(network: Any, model: Model) -> None:
    """Raise ValueError unless a network takes and puts out what OpenVINO's own reading says."""
    size = model.preprocess.size
    inputs, outputs = (
        [[d.get_length() if d.is_static else -1 for d in end.partial_shape] for end in ends]
        for ends in (network.inputs, network.outputs)
    )
    classes = model.spec.num_classes or model.spec.num_features
    if inputs != [[-1, model.spec.in_channels, size, size]] or outputs != [[-1, classes]]:
        raise ValueError(f"its input is {inputs}, its output {outputs}")


def _check_sizes(network: Any) -> None:
    """Raise ValueError for a layer whose output, as OpenVINO itself sees it, is too large: a small
    file may say one shape and compute another."""
    for layer in network.get_ordered_ops():
        for output in layer.outputs():
            shape = output.partial_shape
            if shape.rank.is_dynamic or any(side.is_dynamic for side in list(shape)[1:]):
                raise ValueError(f"the shape {shape} of {layer.get_friendly_name()} is not given")
            sides = [side.get_length() for side in shape if side.is_static]
            if math.prod(sides) > quantized.MAX_VALUES:
                raise ValueError(f"{layer.get_friendly_name()} has the shape {shape}")
