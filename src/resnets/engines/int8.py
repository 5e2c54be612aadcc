"""Quantisation to int8 after training, by NNCF, for OpenVINO."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from resnets.errors import UserError
from resnets.extras import library, version
from resnets.weights import quantized
from resnets.weights.model_file import Model
from resnets.weights.onnx_writer import to_onnx

PURPOSE, NEEDS = "--precision int8", ("onnx", "openvino", "nncf")


def quantize(model: Model, photos: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a model in int8, and by what they were made.

    Each filter of a convolution has a scale of its own; those of the maps are of their ranges over
    `photos` (``N C H W``, normalised), and the biases make up for what rounding shifts on average
    (NNCF's ``performance`` preset with fast bias correction). The additions stay in float: what
    they round would go on through the shortcuts to the end.

    Raises:
      UserError: OpenVINO or NNCF is not installed, or they cannot quantise this network.
    """
    openvino, content = library("openvino", "export", PURPOSE), to_onnx(model)
    with _silence():
        nncf = library("nncf", "export", PURPOSE)
        try:
            network = nncf.quantize(
                openvino.Core().read_model(content),
                nncf.Dataset([photo[None].contiguous().numpy() for photo in photos]),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                subset_size=len(photos),
                fast_bias_correction=True,
                ignored_scope=nncf.IgnoredScope(types=["Add"], validate=False),
            )
        except Exception as error:  # its own kinds have no common ancestor but this
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"NNCF cannot quantise this {model.spec.name} ({reason})") from None
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "network.xml", Path(folder) / "network.bin"
        openvino.serialize(network, *map(str, files))
        written = quantized.pack(*(file.read_bytes() for file in files))
    try:
        clean = quantized.unpack(written, model.spec, model.preprocess)
    except ValueError as error:  # of a version of OpenVINO that writes other kinds of layers
        raise UserError(
            f"OpenVINO {openvino.__version__} writes what is not read: {error}"
        ) from None
    libraries = {name: version(name) for name in ("nncf", "openvino")}
    return quantized.pack(*clean), {
        "engine": "openvino",
        "versions": libraries,
        "preset": "performance",
    }


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep bars, notes and warnings of others' code from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
