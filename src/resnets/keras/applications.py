"""keras.applications' own networks, with the weights of our `keras_` rows."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from resnets.spec import ResNetSpec

BUILDERS = {
    "keras_resnet50": keras.applications.ResNet50,
    "keras_resnet101": keras.applications.ResNet101,
    "keras_resnet152": keras.applications.ResNet152,
    "keras_resnet50v2": keras.applications.ResNet50V2,
    "keras_resnet101v2": keras.applications.ResNet101V2,
    "keras_resnet152v2": keras.applications.ResNet152V2,
}


def build(spec: ResNetSpec, weights: Mapping[str, np.ndarray]) -> keras.Model:
    """Return the network of keras.applications of a row; it puts out probabilities.

    `weights` are named as Keras does, ``conv1_conv/kernel``.
    """
    model = BUILDERS[spec.name](
        weights=None,
        classes=spec.num_classes,
        input_shape=(spec.image_size, spec.image_size, spec.in_channels),
    )
    for name, value in weights.items():
        layer, _, variable = name.rpartition("/")
        getattr(model.get_layer(layer), variable).assign(value)
    return model
