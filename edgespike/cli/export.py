"""``edgespike export``: a model and the core as C sources."""

from __future__ import annotations

from pathlib import Path

import click

from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, json_option
from edgespike.cli.output import byte_count, print_fields, print_json
from edgespike.errors import ModelError, UsageError
from edgespike.export import export_c


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
@json_option
def command(model: Path, folder: Path, cmake: bool, arduino: bool, as_json: bool) -> None:
    """Write MODEL, an .esg file, and what runs it as C sources.

    The folder holds the core as one edgespike.c and edgespike.h, the model as model.c
    and model.h, and an example. They compile as C99 and as C++17 in any firmware.

    \b
    Example:
      edgespike export digits.esg --c digits
      edgespike export digits.esg --c libraries/digits --arduino
    """
    if cmake and arduino:
        raise UsageError("--cmake and --arduino exclude each other", "export twice, to two folders")
    with about(model, ModelError):
        written = export_c(model, folder, "cmake" if cmake else "arduino" if arduino else "plain")
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
