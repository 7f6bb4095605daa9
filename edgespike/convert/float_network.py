"""Runs the source network in onnxruntime, with the values of every layer.

Samples go through in small batches, so memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgespike.errors import ModelError
from edgespike.importers.network import Network

CHUNK = 32
ELEMENT_TYPES = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class FloatNetwork:
    """The network of the source file, in float32.

    Raises:
        ModelError: onnxruntime cannot run it.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.layers = open_session(network.model)
        self.original = open_session(network.original)

    def scores(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Output of the original network: (samples, scores) for x (samples, *input shape)."""
        return self.outputs(self.original, x)

    def check(self, x: NDArray[Any]) -> None:
        """Makes sure, on some samples, that simplification kept what the network computes.

        Raises:
            ModelError: it did not.
        """
        before, after = (self.outputs(session, x[:8]) for session in (self.original, self.layers))
        near = 0.1 if self.network.is_quantized else 1e-3  # onnxruntime itself rounds it in several ways
        if not np.allclose(before, after, rtol=near, atol=near * np.abs(before).max(), equal_nan=True):
            raise ModelError(
                "onnxslim changed what the network computes",
                "install another version of onnxslim, and report this",
                "simplify",
            )

    def outputs(self, session: onnxruntime.InferenceSession, x: NDArray[Any]) -> NDArray[np.float64]:
        """The network's output in one of the sessions, flattened: (samples, scores)."""
        names = [session.get_outputs()[0].name]
        runs = [outputs[0] for _, outputs in batches(session, x, self.network.batch, names)]
        return np.concatenate(runs).reshape(len(x), -1).astype(np.float64)

    def values(self, x: NDArray[Any]) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
        """Values of all layers but the input, before their clips.

        Yields which samples, and for layer 1, 2, ... an array (samples, height, width, channels).
        """
        layers = self.network.layers[1:]
        names = [layer.probe.tensor for layer in layers]
        waiting: list[list[NDArray[Any]]] = []
        start = 0
        for samples, outputs in batches(self.layers, x, self.network.batch, names):
            waiting.append(outputs)
            count = samples.stop - start
            if count >= CHUNK or samples.stop == len(x):
                columns = [np.concatenate(column).reshape(count, -1) for column in zip(*waiting, strict=True)]
                yield (
                    slice(start, samples.stop),
                    [
                        layer.probe.read(column).reshape(count, *layer.shape)
                        for column, layer in zip(columns, layers, strict=True)
                    ],
                )
                waiting, start = [], samples.stop


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU that keeps its warnings to itself."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        wrong = ["Pad_Fusion"]  # of 1.31: drops the zeros of a Pad before a MaxPool
        return onnxruntime.InferenceSession(
            model, options, ["CPUExecutionProvider"], disabled_optimizers=wrong
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise cannot_run(error) from error


def cannot_run(error: Exception) -> ModelError:
    """What onnxruntime complained of, in one line."""
    return ModelError(
        f"onnxruntime cannot run the network: {str(error).splitlines()[0]}",
        "update onnxruntime, or export with an older opset",
        "onnxruntime",
    )


def batches(
    session: onnxruntime.InferenceSession, x: NDArray[Any], batch: int, names: list[str]
) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
    """Runs x in batches of a fixed size; the last one is filled up, and the filling cut off."""
    (source,) = session.get_inputs()
    dtype = ELEMENT_TYPES.get(source.type)
    if dtype is None:
        raise ModelError(
            f"input {source.name} has type {source.type}", "export the network with a float input"
        )
    for start in range(0, len(x), batch):
        part = x[start : start + batch].astype(dtype)
        count = len(part)
        if count < batch:
            part = np.concatenate([part, np.repeat(part[-1:], batch - count, axis=0)])
        try:
            outputs = session.run(names, {source.name: part})
        except Exception as error:  # likewise
            raise cannot_run(error) from error
        yield slice(start, start + count), [np.asarray(output)[:count] for output in outputs]
