"""safetensors. Facts: ``metadata`` (text by name, from the header) and ``prefix``, as for torch."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch

from resnets.errors import UserError
from resnets.weights.readers.foreign import Content, Gathered, strip_prefix

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I32": torch.int32,
    "I64": torch.int64,
}


def read(path: Path) -> Content:
    """Read a safetensors file that is not a model file of this package, else raise UserError."""
    into = Gathered(path, path.stat().st_size)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if "resnets" in metadata:
            raise UserError(f"{path}: a resnets model file already; use it as it is")
        for name in file.offset_keys():
            stored = file.get_slice(name)
            dtype = stored.get_dtype()
            into.expect(name, DTYPES.get(dtype, dtype), stored.get_shape())
            # Cloned, as it is a view of the file.
            into.add(name, file.get_tensor(name).clone())
    tensors, prefix = strip_prefix(into.tensors)
    return tensors, {"metadata": metadata, "prefix": prefix}
