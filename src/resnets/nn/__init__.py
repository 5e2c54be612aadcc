"""PyTorch networks built from a `ResNetSpec`."""

from resnets.nn.resnet import ResNet

__all__ = ["ResNet"]
