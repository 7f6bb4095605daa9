"""Exports small Keras networks to ONNX, for tests of what Keras and tf2onnx write.

    pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0 keras==3.15.1
    python tools/make_keras_exports.py tests/data/keras

Written into the folder: a file for each function of `NETWORKS`, with random weights. A network's name
ends in `_keras` where `model.export(format="onnx")` wrote it, in `_tf2onnx` where
`tf2onnx.convert.from_keras` did, with `inputs_as_nchw`: both are in use.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

OPSET = 17


def sequential() -> keras.Model:
    """Convolutions, a max pool and dense layers; softmax at the end."""
    return keras.Sequential(
        [
            keras.Input((12, 10, 1)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(12, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(5, activation="softmax"),
        ]
    )


def depthwise() -> keras.Model:
    """As MobileNet: depthwise blocks with padding on one side, batch normalization, Relu6, a global mean."""
    x = image = keras.Input((12, 12, 3))
    x = layers.Rescaling(1 / 127.5, -1)(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(6, 3, strides=2, use_bias=False)(x)
    for channels in (8, 10):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.Conv2D(channels, 1, use_bias=False)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4)(x))


def residual() -> keras.Model:
    """A functional network: branches added and joined."""
    x = image = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    inner = layers.Conv2D(6, 3, padding="same")(x)
    inner = layers.BatchNormalization()(inner)
    x = layers.ReLU()(layers.Add()([x, inner]))
    joined = layers.Concatenate()([layers.Conv2D(3, 1)(x), layers.Conv2D(3, 3, padding="same")(x)])
    x = layers.AveragePooling2D(2)(layers.LeakyReLU(negative_slope=0.2)(joined))
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def functions() -> keras.Model:
    """Activations that are level tables, and a PReLU by channel."""
    x = image = keras.Input((8, 6, 2))
    for activation in ("swish", "hard_sigmoid", "elu", "softplus", "tanh"):
        x = layers.Conv2D(4, 3, padding="same", activation=activation)(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.25))(x)
    return keras.Model(image, layers.Dense(3, activation="sigmoid")(layers.GlobalMaxPooling2D()(x)))


def one_axis() -> keras.Model:
    """Conv1D and SeparableConv1D over time."""
    return keras.Sequential(
        [
            keras.Input((32, 3)),
            layers.Conv1D(6, 5, strides=2, padding="same", activation="relu"),
            layers.SeparableConv1D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.GlobalAveragePooling1D(),
            layers.Dense(4),
        ]
    )


NETWORKS: tuple[Callable[[], keras.Model], ...] = (sequential, depthwise, residual, functions, one_axis)


def settle(model: keras.Model, random: np.random.Generator) -> None:
    """Makes the statistics of batch normalization other than 0 and 1, and biases other than 0."""
    for layer in model.layers:
        values: list[Any] = layer.get_weights()
        for number, value in enumerate(values):
            if value.ndim == 1:
                values[number] = random.uniform(0.5, 1.5, value.shape)
                if number in (1, 2) or not isinstance(layer, layers.BatchNormalization):
                    values[number] -= 1
        layer.set_weights(values)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for network in NETWORKS:
        keras.utils.set_random_seed(0)
        model = network()
        settle(model, np.random.default_rng(0))
        model(np.zeros((1, *model.input_shape[1:]), np.float32))  # export wants it to have run
        name = network.__name__
        model.export(str(options.folder / f"{name}_keras.onnx"), format="onnx", verbose=False)
        shape = (None, *model.input_shape[1:])
        signature = [tf.TensorSpec(shape, tf.float32, name="input")]
        function = tf.function(lambda x, model=model: model(x, training=False), input_signature=signature)
        tf2onnx.convert.from_function(
            function,
            input_signature=signature,
            opset=OPSET,
            inputs_as_nchw=["input"] if len(shape) == 4 else None,
            output_path=str(options.folder / f"{name}_tf2onnx.onnx"),
        )


if __name__ == "__main__":
    main()
