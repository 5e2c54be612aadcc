"""What a checkpoint says of itself, beside its tensors: never guessed over.

Names and shapes do not tell where a stride is, how a pool works or which activation there is; the
configuration that some projects store does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.errors import UserError
from resnets.spec import ResNetSpec
from resnets.weights.maps import Match
from resnets.weights.readers import Foreign
from resnets.weights.readers.foreign import shown
from resnets.zoo import ZOO

USUAL = {
    # what other values of make a network of no row, in transformers' configurations
    "hidden_act": "relu",
    "global_padding": None,
    "downsample_in_first_stage": False,
    "num_groups": 32,
    "output_stride": 32,
    "embedding_dynamic_padding": False,
}
PLAIN_ARGUMENTS = (
    # of timm's models, that change nothing in a trained network
    *("in_chans", "num_classes", "global_pool", "pretrained", "img_size", "zero_init_last"),
    *("drop_rate", "drop_path_rate", "drop_block_rate"),
)


@dataclass(frozen=True)
class Claims:
    """`name`: the architecture that a file says it holds, `config`: a configuration beside it.

    `loose` says that the name may be meant in another way than ours.
    """

    path: Path
    name: str | None
    config: Mapping[str, Any]
    loose: bool = False

    def allows(self, spec: ResNetSpec) -> bool:
        """Tell whether the file may be of a row, by its name and by where its strides are."""
        return spec.name == self.name or (self.name not in ZOO and self._is_configured(spec))

    def _is_configured(self, spec: ResNetSpec) -> bool:
        if self.config.get("model_type") == "resnet":
            inside = "1x1" if self.config.get("downsample_in_bottleneck") else "3x3"
            return spec.block == "basic" or spec.stride_in == inside
        return True

    def check(self, match: Match) -> None:
        """Raise UserError where the file says that it is another network than was recognised."""
        spec, config = match.spec, self.config
        if self.name and not self.loose and self.name not in (spec.name, *match.also):
            self._refuse(
                f"it says it is a {shown(self.name)}, and its weights fit {spec.name}; if that is "
                "what they are, give the file with the weights alone"
            )
        if not self._is_configured(spec):
            self._refuse(f"its configuration is not that of a {spec.name}")
        for key, usual in USUAL.items():
            if config.get(key, usual) != usual:
                self._refuse(f"{key}={shown(config[key])!r} is of no row here")
        arguments = _object(config, "model_args", self.path)
        odd = [key for key in arguments if key not in PLAIN_ARGUMENTS]
        if any(source.get("global_pool", "avg") != "avg" for source in (arguments, config)):
            odd.append("global_pool")
        if odd:
            self._refuse(
                f"timm's argument {shown(odd[0])} changes it into no row here; resnets.create_model"
                " takes a changed spec"
            )

    def _refuse(self, why: str) -> None:
        raise UserError(f"{self.path}: {why}")


def of(foreign: Foreign) -> Claims:
    """Return what a checkpoint says of itself."""
    facts = foreign.facts
    config = facts.get("config") or {}
    entries = facts.get("entries") or {}
    name = config.get("architecture") or entries.get("arch") or facts.get("name")
    name = name.partition(".")[0] if isinstance(name, str) else None
    layers = [layer["name"] for layer in facts.get("layers", ())]
    if foreign.format == "torch" and name not in ZOO:
        name = None  # a script's word for something of its own
    if foreign.format in ("h5", "keras") and (name not in ZOO or "stem" not in layers):
        name = None  # keras.applications has a resnet50, too; `resnets.keras` names a layer stem
    return Claims(foreign.path, name, config, loose=foreign.format == "torch")


def _object(values: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    """Return a JSON object within another. Raises UserError if it is something else."""
    found = values.get(key) or {}
    if not isinstance(found, Mapping):
        raise UserError(f"{path}: damaged ({key} of its configuration is {shown(found)})")
    return found


def licence(foreign: Foreign) -> str:
    """Return the licence that a configuration or a file's metadata states, or nothing."""
    config = foreign.facts.get("config") or {}
    photos = _object(config, "pretrained_cfg", foreign.path)
    metadata = foreign.facts.get("metadata") or {}
    return str(photos.get("license") or config.get("license") or metadata.get("license") or "")
