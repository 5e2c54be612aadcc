"""`ResNet`: the PyTorch network of a spec."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from resnets.nn.blocks import build_block, conv
from resnets.spec import ResNetSpec


def _plainly(stage: nn.Module, x: Tensor) -> Tensor:
    return stage(x)  # type: ignore[no-any-return]


def _recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # the compiler traces the stage once, and takes no contexts
        return checkpoint(stage, x, use_reentrant=False)  # type: ignore[no-any-return]
    return checkpoint(  # type: ignore[no-any-return]
        stage, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _KeptStatistics(stage))
    )


class _KeptStatistics:
    """While it is entered, norms leave their running statistics alone.

    They have counted the batch in the forward pass; recomputing it would count it twice.
    """

    def __init__(self, stage: nn.Module) -> None:
        kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
        norms = [norm for norm in stage.modules() if isinstance(norm, kinds)]
        self._norms = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]

    def __enter__(self) -> None:
        # Not `track_running_stats`: autograd would save fewer tensors than in the forward pass.
        for norm, _, _ in self._norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, momentum, count in self._norms:
            norm.momentum, norm.num_batches_tracked = momentum, count


class ResNet(nn.Module):
    """A residual network for images ``N C H W`` (float, normalised) with logits ``N classes``.

    Parameter names are torchvision's, method names timm's. A v2 network ends in one more BN and
    ReLU (``bn``, ``act``), as the last addition is not activated (v2, appendix).
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.num_classes = spec.num_classes
        self.num_features = spec.num_features
        self.conv1 = conv(spec.stem_conv)
        self.bn1 = nn.BatchNorm2d(spec.stem.width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if spec.stem.pool else nn.Identity()
        self.stages: tuple[str, ...] = ()
        for stage in spec.stages():
            self.add_module(stage.name, nn.Sequential(*map(build_block, stage.blocks)))
            self.stages += (stage.name,)
        v2 = spec.order == "pre"
        self.bn = nn.BatchNorm2d(spec.num_features) if v2 else nn.Identity()
        self.act = nn.ReLU(inplace=True) if v2 else nn.Identity()
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.fc = _classifier(spec.num_features, spec.num_classes)
        self._run: Callable[[nn.Module, Tensor], Tensor] = _plainly
        initialize(self)

    # -- forward --------------------------------------------------------------------------------

    def forward_stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.act1(self.bn1(self.conv1(x))))  # type: ignore[no-any-return]

    def forward_stages(self, x: Tensor) -> dict[str, Tensor]:
        """Return the feature maps by name: ``stem``, ``layer1``, …; the last one is activated."""
        x = self.forward_stem(x)
        features = {"stem": x}
        for name in self.stages:
            x = self._run(getattr(self, name), x)
            features[name] = x
        features[self.stages[-1]] = self.act(self.bn(x))
        return features

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map, ``N num_features H' W'``."""
        x = self.forward_stem(x)  # not by `forward_stages`, which keeps every map alive
        for name in self.stages:
            x = self._run(getattr(self, name), x)
        return self.act(self.bn(x))  # type: ignore[no-any-return]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits ``N classes`` of a feature map, or the pooled features ``N features``."""
        pooled = self.global_pool(x)
        return pooled if pre_logits else self.fc(pooled)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    # -- what users of timm call ----------------------------------------------------------------

    @property
    def feature_info(self) -> list[dict[str, int | str]]:
        """Channels, stride towards the input and module of every map of `forward_stages`.

        The module is the one in `named_modules` that puts the map out.
        """
        stride = self.spec.stem.stride * (2 if self.spec.stem.pool else 1)
        rows: list[dict[str, int | str]] = [
            {"num_chs": self.spec.stem.width, "reduction": stride, "module": "maxpool"}
        ]
        for stage in self.spec.stages():
            for block in stage.blocks:
                stride *= block.stride
            rows.append({"num_chs": stage.outputs, "reduction": stride, "module": stage.name})
        if self.spec.order == "pre":
            rows[-1]["module"] = "act"
        return rows

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by a fresh one; 0 leaves the pooled features as the output."""
        self.spec = self.spec.replace(num_classes=num_classes)
        self.num_classes = num_classes
        old = next(self.parameters())
        self.fc = _classifier(self.num_features, num_classes).to(old.device, old.dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute each stage in the backward pass."""
        self._run = _recomputed if enable else _plainly


def _classifier(features: int, classes: int) -> nn.Module:
    if classes == 0:
        return nn.Identity()
    linear = nn.Linear(features, classes)
    nn.init.zeros_(linear.bias)
    return linear


def initialize(net: nn.Module) -> None:
    """Initialise as the papers do: normal with variance 2 / fan-out, γ = 1, β = 0.

    He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, equation 14.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
