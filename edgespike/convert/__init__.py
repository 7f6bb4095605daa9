"""Conversion of trained networks. `convert_onnx` needs the onnx extra, and imports it when called for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgespike.convert.calibration import Calibration, load_calibration
from edgespike.convert.early_exit import ExitReport, with_early_exit
from edgespike.convert.event_input import EventOptions
from edgespike.convert.report import LayerReport, Report

__all__ = [
    "Calibration",
    "EventOptions",
    "ExitReport",
    "LayerReport",
    "Report",
    "convert_onnx",
    "load_calibration",
    "with_early_exit",
]

if TYPE_CHECKING:
    from edgespike.convert.activation import convert_onnx


def __getattr__(name: str) -> Any:
    if name == "convert_onnx":
        from edgespike.convert.activation import convert_onnx

        return convert_onnx
    raise AttributeError(f"module 'edgespike.convert' has no attribute {name!r}")
