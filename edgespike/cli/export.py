"""``edgespike export``: a model and the core as C sources."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import click

from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, json_option
from edgespike.cli.output import byte_count, print_fields, print_json
from edgespike.cli.sensors import number
from edgespike.encoders import Window, parse_code
from edgespike.errors import DataError, ModelError, UsageError
from edgespike.export import Layout, export_c


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.option(
    "--c",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder to write; an earlier export is replaced.",
)
@click.option("--cmake", is_flag=True, help="With a CMakeLists.txt.")
@click.option("--arduino", is_flag=True, help="As an Arduino library.")
@click.option("--encode", metavar="window:hop=N", help="With a sliding window of a sensor's samples.")
@click.option("--scale", type=number, metavar="N", help="Whole numbers to the sensor's unit.")
@json_option
def command(
    model: Path,
    folder: Path,
    cmake: bool,
    arduino: bool,
    encode: str | None,
    scale: Fraction | None,
    as_json: bool,
) -> None:
    """Write MODEL, an .esg file, and what runs it as C sources.

    The folder holds the core as one edgespike.c and edgespike.h, the model as model.c
    and model.h, and an example. They compile as C99 and as C++17 in any firmware.
    With --encode, sensor.c and sensor.h have a sliding window of samples for the network
    (docs/sensors.md).

    \b
    Example:
      edgespike export digits.esg --c digits
      edgespike export ecg.esg --c ecg --encode window:hop=18
      edgespike export digits.esg --c libraries/digits --arduino
    """
    if cmake and arduino:
        raise UsageError("--cmake and --arduino exclude each other", "export twice, to two folders")
    layout: Layout = "cmake" if cmake else "arduino" if arduino else "plain"
    with about(model, ModelError), about(model, DataError):
        written = export_c(model, folder, layout, window_of(encode, scale), scale or Fraction(1))
    if as_json:
        print_json(
            {
                "model": str(model),
                "folder": str(folder),
                "files": list(written.files),
                "model_bytes": written.model_bytes,
                "ram_streaming": written.streaming_bytes,
                "ram_one_shot": written.one_shot_bytes or None,
                "left_out": list(written.left_out),
            }
        )
        return
    one_shot = written.one_shot_bytes
    print_fields(
        [
            ("wrote", f"{folder}: {' '.join(written.files)}"),
            ("model", f"{byte_count(written.model_bytes)} of flash"),
            ("RAM streaming", byte_count(written.streaming_bytes)),
            ("RAM one-shot", byte_count(one_shot) if one_shot else "needs the streaming plan"),
            ("left out", f"{', '.join(written.left_out)} (ES_WITH_... in edgespike.h)"),
        ]
    )


def window_of(encode: str | None, scale: Fraction | None) -> Window | None:
    """The window that was asked for."""
    if encode is None:
        if scale:
            raise UsageError("--scale is for samples of a sensor", "add --encode window")
        return None
    code = parse_code(encode, scale or Fraction(1))
    if not isinstance(code, Window):
        raise UsageError(
            f"{encode!r} needs no tables of the model",
            "compile edgespike/core/sensor/es_encode.c, whose settings are these numbers (docs/sensors.md)",
        )
    return code
