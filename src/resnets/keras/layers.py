"""A Keras layer, or a few in a row, for each kind of layer in a plan; all take ``N H W C``.

Nearly everything is composed of Keras' own layers, so that a saved model needs no code of ours to
load. Two things are not in Keras: `StandardizedConv2D` and `ReflectionPadding2D`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import keras
from keras import ops

from resnets import layers
from resnets.axes import keras_name
from resnets.layers import STANDARD_EPS, Layer
from resnets.plan import Chain

Tensor: TypeAlias = Any
Builder: TypeAlias = Callable[[Any, str, Tensor], Tensor]

LAST = {"data_format": "channels_last"}
"""Said to every layer, whatever the user's Keras is configured to."""

register = keras.saving.register_keras_serializable(package="resnets")


@register
class StandardizedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution whose filters have mean 0 and variance 1 (Qiao et al. 2019, 1903.10520)."""

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        # Half precision has no number as small as the ε.
        wide = ops.cast(kernel, keras.backend.result_type(kernel.dtype, "float32"))
        mean = ops.mean(wide, (0, 1, 2), keepdims=True)
        variance = ops.var(wide, (0, 1, 2), keepdims=True)
        wide = (wide - mean) * ops.rsqrt(variance + STANDARD_EPS)
        return super().convolution_op(inputs, ops.cast(wide, kernel.dtype))


@register
class ReflectionPadding2D(keras.layers.Layer):  # type: ignore[misc]
    """Pad height and width by `padding` pixels, mirrored about the outermost ones."""

    def __init__(self, padding: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = padding

    def call(self, inputs: Tensor) -> Tensor:
        sides = (self.padding, self.padding)
        return ops.pad(inputs, ((0, 0), sides, sides, (0, 0)), mode="reflect")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, *sides, channels = input_shape
        padded = (None if side is None else side + 2 * self.padding for side in sides)
        return (batch, *padded, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding}


# Keras' initialisers repeat themselves when they are used twice: every layer needs its own.


def _he() -> keras.Initializer:
    """He et al. 2015, arXiv:1502.01852, equation 14: normal with variance 2 / fan-out."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _uniform() -> keras.Initializer:
    """PyTorch's for linear layers: uniform within 1 / √fan-in."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def _shifted(plan: layers.Pool) -> bool:
    """Tell whether Keras' own 'same' moves the windows off centre, by padding the end more."""
    return plan.stride > 1 and plan.kernel > 1 and plan.kernel % 2 == 1


def _conv(plan: layers.Conv, name: str, x: Tensor) -> Tensor:
    kind = StandardizedConv2D if plan.standardized else keras.layers.Conv2D
    padding = "same"
    if plan.padding == "same" and plan.kernel > 1 and (plan.stride > 1 or plan.kernel % 2 == 0):
        x = keras.layers.ZeroPadding2D(plan.pad, **LAST, name=f"{name}_pad")(x) if plan.pad else x
        padding = "valid"
    conv = kind(
        plan.outputs,
        plan.kernel,
        plan.stride,
        padding,
        groups=plan.groups,
        use_bias=plan.bias,
        kernel_initializer=_he(),
        **LAST,
        name=name,
    )
    return conv(x)


def _norm(plan: layers.Norm, name: str, x: Tensor) -> Tensor:
    if plan.kind == "group":
        return keras.layers.GroupNormalization(32, epsilon=plan.eps, name=name)(x)
    # What PyTorch calls a momentum of 0.1.
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=plan.eps, name=name)(x)


def _act(plan: layers.Act, name: str, x: Tensor) -> Tensor:
    if plan.kind == "prelu":
        slope = keras.initializers.Constant(0.25)
        return keras.layers.PReLU(slope, shared_axes=(1, 2), name=name)(x)
    return keras.layers.ReLU(name=name)(x)


def _max(plan: layers.Pool, name: str, x: Tensor) -> Tensor:
    if plan.kernel % 2 == 0:
        return keras.layers.MaxPooling2D(plan.kernel, plan.stride, **LAST, name=name)(x)
    if not _shifted(plan):
        return _tf_max(plan, name, x)
    # Keras has no border of −∞: so pool without a stride, then take every so many pixels of that.
    x = keras.layers.MaxPooling2D(plan.kernel, 1, "same", **LAST, name=name)(x)
    return keras.layers.MaxPooling2D(1, plan.stride, **LAST, name=f"{name}_stride")(x)


def _over_zeros(plan: layers.Pool) -> layers.Pool:
    """Return what a max pool of values that are not negative may be instead, and is faster."""
    return replace(plan, kind="zero-max") if _shifted(plan) else plan


def _zero_max(plan: layers.Pool, name: str, x: Tensor) -> Tensor:
    x = keras.layers.ZeroPadding2D(plan.kernel // 2, **LAST, name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(plan.kernel, plan.stride, **LAST, name=name)(x)


def _tf_max(plan: layers.Pool, name: str, x: Tensor) -> Tensor:
    return keras.layers.MaxPooling2D(plan.kernel, plan.stride, "same", **LAST, name=name)(x)


def _avg(plan: layers.Pool, name: str, x: Tensor) -> Tensor:
    # 'same' rounds an odd side up and does not count what it pads.
    return keras.layers.AveragePooling2D(plan.kernel, plan.stride, "same", **LAST, name=name)(x)


def _blur(plan: layers.Pool, name: str, x: Tensor) -> Tensor:
    """The filter 1-2-1 as two means of neighbours (Zhang 2019, arXiv:1904.11486)."""
    x = ReflectionPadding2D(1, name=f"{name}_pad")(x)
    x = keras.layers.AveragePooling2D(2, 1, **LAST, name=f"{name}_mean")(x)
    return keras.layers.AveragePooling2D(2, plan.stride, **LAST, name=name)(x)


POOLS: dict[str, Builder] = {
    "max": _max,
    "zero-max": _zero_max,
    "tf-max": _tf_max,
    "avg": _avg,
    "blur": _blur,
}


def _pad(plan: layers.Pad, name: str, x: Tensor) -> Tensor:
    """Option A: every `stride`-th pixel, and zeros for half the missing channels on either side."""
    x = keras.layers.MaxPooling2D(1, plan.stride, **LAST, name=f"{name}_stride")(x)
    before = (plan.outputs - plan.inputs) // 2
    sides = (0, 0), (before, plan.outputs - plan.inputs - before)
    # Not a mistake: 'channels_first' makes it pad the last two axes, which here are W and C.
    return keras.layers.ZeroPadding2D(sides, data_format="channels_first", name=name)(x)


def _se(plan: layers.Gate, name: str, x: Tensor) -> Tensor:
    """Squeeze and excitation (Hu et al. 2017, arXiv:1709.01507, Figure 2)."""
    weights = keras.layers.GlobalAveragePooling2D(keepdims=True, **LAST, name=f"{name}_mean")(x)
    for part, outputs, act in (("fc1", plan.size, "relu"), ("fc2", plan.channels, "sigmoid")):
        conv = keras.layers.Conv2D(
            outputs, 1, activation=act, kernel_initializer=_he(), **LAST, name=f"{name}_{part}"
        )
        weights = conv(weights)
    return keras.layers.Multiply(name=name)([x, weights])


def _eca(plan: layers.Gate, name: str, x: Tensor) -> Tensor:
    """Efficient channel attention (Wang et al. 2019, arXiv:1910.03151, Figure 2)."""
    weights = keras.layers.GlobalAveragePooling2D(**LAST, name=f"{name}_mean")(x)
    weights = keras.layers.Reshape((plan.channels, 1), name=f"{name}_row")(weights)
    conv = keras.layers.Conv1D(
        1,
        plan.size,
        padding="same",
        use_bias=False,
        activation="sigmoid",
        kernel_initializer=_uniform(),
        **LAST,
        name=f"{name}_conv",
    )
    weights = keras.layers.Reshape((1, 1, plan.channels), name=f"{name}_map")(conv(weights))
    return keras.layers.Multiply(name=name)([x, weights])


GATES: dict[str, Builder] = {"se": _se, "eca": _eca}


def _linear(plan: layers.Linear, name: str, x: Tensor) -> Tensor:
    dense = keras.layers.Dense(
        plan.outputs, use_bias=plan.bias, kernel_initializer=_uniform(), name=name
    )
    if plan.scale == 1:
        return dense(x)
    return keras.layers.Rescaling(plan.scale, name=f"{name}_scale")(dense(x))


def _all(plan: layers.Flatten, name: str, x: Tensor) -> Tensor:
    # In PyTorch's order of pixels, so that the weights behind it are in the same order too.
    x = keras.layers.Permute((3, 1, 2), name=f"{name}_order")(x)
    return keras.layers.Flatten(name=name)(x)


FLATTENS: dict[str, Builder] = {
    "avg": lambda plan, name, x: keras.layers.GlobalAveragePooling2D(**LAST, name=name)(x),
    "max": lambda plan, name, x: keras.layers.GlobalMaxPooling2D(**LAST, name=name)(x),
    "all": _all,
}
BUILDERS: dict[type[Layer], Builder] = {
    layers.Conv: _conv,
    layers.Norm: _norm,
    layers.Act: _act,
    layers.Pool: lambda plan, name, x: POOLS[plan.kind](plan, name, x),
    layers.Pad: _pad,
    layers.Gate: lambda plan, name, x: GATES[plan.kind](plan, name, x),
    layers.Linear: _linear,
    layers.Flatten: lambda plan, name, x: FLATTENS[plan.kind](plan, name, x),
}


def apply_chain(chain: Chain, prefix: str, x: Tensor) -> Tensor:
    """Put the layers of a chain, named with `prefix`, behind a tensor; return what they put out."""
    nonnegative = False
    for name, layer in chain.items():
        if nonnegative and isinstance(layer, layers.Pool) and layer.kind == "max":
            layer = _over_zeros(layer)
        x = BUILDERS[type(layer)](layer, keras_name(prefix + name), x)
        nonnegative = isinstance(layer, layers.Act) and layer.kind == "relu"
    return x
