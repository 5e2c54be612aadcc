"""Keras 3's .keras: a zip file of the configuration (JSON) and the weights (HDF5).

Tensors and facts are those of a whole model in `keras_h5`.
"""

from __future__ import annotations

from pathlib import Path

from resnets.errors import UserError
from resnets.weights.readers import archive, hdf5, keras_config, keras_h5
from resnets.weights.readers.foreign import Content, Gathered, parse_json

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
METADATA = "metadata.json"
MAX_CONFIG = 64 * 2**20


def read(path: Path) -> Content:
    """Read a .keras file in memory. Raises UserError where it is damaged or holds code."""
    with archive.opened(path) as file:
        sizes = {member.filename: member.file_size for member in file.infolist()}
        missing = [name for name in (CONFIG, METADATA, WEIGHTS) if name not in sizes]
        if missing:
            raise UserError(f"{path}: truncated or damaged (it lacks {', '.join(missing)})")
        if sizes[CONFIG] + sizes[METADATA] > MAX_CONFIG:
            raise UserError(f"{path}: its configuration is larger than that of any network")
        # Before the weights, which are of no use with a network that cannot be read.
        network = keras_config.parse(path, parse_json(file.read(CONFIG)))
        metadata = parse_json(file.read(METADATA))
        weights = file.read(WEIGHTS)
    into = Gathered(path, len(weights))
    keras_h5.take_variables(into, hdf5.File(path, weights).root, network)
    return into.tensors, network.facts() | {"keras_version": str(metadata["keras_version"])}
