"""PyTorch as an engine: the network itself, with its BatchNorms folded away."""

from __future__ import annotations

import torch

from resnets.nn.folding import fold_batchnorm
from resnets.training.inference import Eager
from resnets.training.machine import Machine
from resnets.weights.model_file import Model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_engine(model: Model, machine: Machine, precision: str) -> Eager:
    """Return the network on the machine's device, its weights in the precision.

    Raises:
      UserError: the model is quantised.
    """
    net = model.network()
    fold_batchnorm(net)
    dtype = DTYPES[precision]
    return Eager(machine.place(net.to(dtype)), machine.device, dtype)
