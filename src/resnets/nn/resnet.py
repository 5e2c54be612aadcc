"""`ResNet`: the PyTorch network of a spec."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from resnets.nn.blocks import build_stage
from resnets.nn.layers import build_chain
from resnets.plan import Chain
from resnets.spec import ResNetSpec

STEM = ("conv1", "bn1", "act1", "maxpool")
TOP = ("bn", "act")
HEAD = ("global_pool", "fc", "features")
"""Modules that every network has under these names; the identity where a spec has no such layer."""


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
        norms = [norm for norm in stage.modules() if isinstance(norm, _BatchNorm)]
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
        self.conv1, self.bn1, self.act1, self.maxpool = _modules(STEM, spec.plan.stem)
        self.stages: tuple[str, ...] = ()
        for stage in spec.stages():
            self.add_module(stage.name, build_stage(stage))
            self.stages += (stage.name,)
        self.bn, self.act = _modules(TOP, spec.plan.top)
        self.global_pool, self.fc, self.features = _modules(HEAD, spec.plan.head)
        self.output_stride = max(stride for _, stride in spec.plan.reaches().values())
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
        return pooled if pre_logits else self.features(self.fc(pooled))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    # -- what users of timm call ----------------------------------------------------------------

    @property
    def feature_info(self) -> list[dict[str, int | str]]:
        """Channels, stride towards the input and module of every map of `forward_stages`.

        The module is the one in `named_modules` that puts the map out.
        """
        modules = {"stem": "maxpool"} | {name: name for name in self.stages}
        if self.spec.plan.top:
            modules[self.stages[-1]] = list(self.spec.plan.top)[-1]
        channels = {name: shape[0] for name, shape in self.spec.feature_shapes().items()}
        return [
            {
                "num_chs": channels[name],
                "reduction": min(stride, self.output_stride),
                "module": modules[name],
            }
            for name, (_, stride) in self.spec.plan.reaches().items()
        ]

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by a fresh one; 0 leaves the pooled features as the output."""
        self.spec = self.spec.replace(num_classes=num_classes)
        self.num_classes = num_classes
        old = next(self.parameters())
        for name, module in zip(HEAD, _modules(HEAD, self.spec.plan.head), strict=True):
            initialize(module)
            setattr(self, name, module.to(old.device, old.dtype).train(self.training))

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        """Return the parameters in groups from the photo to the answer: stem, stages, head.

        The norm after the last stage belongs to the head.
        """
        named = dict(self.named_parameters())
        groups: dict[str, list[nn.Parameter]] = {"stem": []}
        groups |= {name: [] for name in (*self.stages, "head")}
        for name, parameter in named.items():
            first = name.partition(".")[0]
            group = first if first in groups else "stem" if first in STEM else "head"
            groups[group].append(parameter)
        return list(groups.values())

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute each stage in the backward pass."""
        self._run = _recomputed if enable else _plainly


def _modules(names: tuple[str, ...], chain: Chain) -> list[nn.Module]:
    """Return the modules of a chain under `names`, identities where it has none."""
    modules = build_chain(chain)
    return [modules.get(name, nn.Identity()) for name in names]


def initialize(net: nn.Module) -> None:
    """Initialise as the papers do: normal with variance 2 / fan-out, γ = 1, β = 0, no biases.

    He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, equation 14. The classifier
    keeps torch's uniform weights.
    """
    for module in net.modules():
        # On the meta device there is nothing to draw, and to try it loads torch's compiler: 1 s.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
