"""``edgespike check``: what a network is, before it is converted, or what a model claims, after."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgespike.cli.certificate import check_certificate
from edgespike.cli.options import INPUT_FILE, json_option, onnx_options
from edgespike.cli.output import print_fields, print_json, print_table
from edgespike.convert import Calibration, load_calibration
from edgespike.convert.report import short_name
from edgespike.errors import UsageError
from edgespike.modelfile import MAGIC

CLASSES_LIMIT = 100  # more outputs than this are hardly classes


@click.command()
@click.argument("file", type=INPUT_FILE)
@click.option("--calibration", type=INPUT_FILE, metavar="FILE.npz", help="Typical inputs x to try it on.")
@onnx_options
@click.option("--against", type=INPUT_FILE, metavar="NETWORK", help="The file that a model was made from.")
@json_option
def command(
    file: Path,
    calibration: Path | None,
    shape: tuple[int, ...] | None,
    scores: str | None,
    fixed: tuple[tuple[str, float], ...],
    against: Path | None,
    as_json: bool,
) -> None:
    """Look at FILE: a network before its conversion, or a model's certificate after.

    Of an .onnx or .nir file it shows what is in it, what conversion would make of it,
    and what stands in the way. It needs no data: sizes come from a conversion on random
    inputs. With --calibration it is tried on these.

    Of an .esg file it checks what the conversion has proved: with --against that it
    comes from this network, with --calibration that it was calibrated on these samples,
    on which it is then run again beside its dense twin.

    \b
    Example:
      edgespike check digits.onnx
      edgespike check digits.esg --against digits.onnx --calibration digits.npz
    """
    with file.open("rb") as opened:
        is_model = opened.read(len(MAGIC)) == MAGIC
    if is_model:
        check_certificate(file, against, calibration, as_json)
    elif against:
        raise UsageError("--against goes with an .esg file", "leave it out")
    else:
        check_network(file, calibration, as_json, shape=shape, output=scores, fixed=dict(fixed))


def check_network(network: Path, calibration: Path | None, as_json: bool, **choices: Any) -> None:
    """Tells what a network is, and fails if it cannot be converted; ``choices``: of `convert_onnx`."""
    samples = load_calibration(calibration) if calibration else None
    description = describe(network, samples, {name: choice for name, choice in choices.items() if choice})
    for warning in description["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(description)
    else:
        show(description)
    problem = description["problem"]
    if problem:
        print(f"error: {problem['message']}\nhint: {problem['hint']}", file=sys.stderr)
        raise click.exceptions.Exit(problem["exit_code"])


def describe(network: Path, samples: Calibration | None, choices: dict[str, Any]) -> dict[str, Any]:
    """A check as JSON values."""
    from edgespike.convert.check import check  # needs the extras

    found = check(network, samples, **choices)
    options = list(found.options)
    if "shape" in choices:
        options.append(f"--shape {shlex.quote(found.input_name)}={','.join(map(str, choices['shape']))}")
    if "output" in choices:
        options.append(f"--scores {shlex.quote(choices['output'])}")
    options += [f"--fix {shlex.quote(name)}={number:g}" for name, number in choices.get("fixed", {}).items()]
    error = found.problem
    problem = error and {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    return {
        "network": str(network),
        "format": found.format,
        "producer": found.producer,
        "operators": [{"name": name, "count": count} for name, count in found.operators.items()],
        "input": {"name": found.input_name, "shape": list(found.input_shape)},
        "output": {"name": found.output_name, "shape": list(found.output_shape)},
        "classes": found.classes,
        "layers": [asdict(layer) for layer in found.layers],
        "parameters": found.parameters,
        "macs": found.macs,
        "estimates": [
            {**asdict(estimate), "ram_one_shot": estimate.ram_one_shot or None}
            for estimate in found.estimates
        ],
        "tried_on": found.tried_on,
        "warnings": list(found.warnings),
        "convertible": problem is None,
        "problem": problem,
        "command": None if problem else command_line(network, options),
    }


def command_line(network: Path, options: list[str]) -> str:
    """What to call next."""
    model = network.with_suffix(".esg").name
    return f"edgespike convert {shlex.quote(str(network))} -o {shlex.quote(model)} {' '.join(options)}"


def show(found: dict[str, Any]) -> None:
    """Prints a check at 80 columns."""
    print_fields(fields(found))
    if not found["layers"]:
        return
    print()
    print_table(
        ["layer", "kind", "shape", "range", "weights", "MACs"],
        [
            (
                short_name(layer["name"]),
                layer["kind"],
                "x".join(map(str, layer["shape"])),
                layer["range"] or "-",
                f"{layer['weights']:,}" if layer["weights"] else "-",
                f"{layer['macs']:,}" if layer["macs"] else "-",
            )
            for layer in found["layers"]
        ],
        names=2,
    )
    print()
    print_fields(costs(found))
    if found["command"]:
        print(f"\nConvert it with\n  {found['command']}")
        for line in data_needed(found):
            print(line)


def fields(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the file says."""
    made_by = f", {found['producer']}" if found["producer"] else ""
    yield "file", f"{found['network']}: {found['format'].upper()}{made_by}"
    for side in ("input", "output"):
        yield side, f"{found[side]['name']} ({'x'.join(str(size or '?') for size in found[side]['shape'])})"
    yield "operators", ", ".join(f"{row['count']} {row['name']}" for row in found["operators"])


def costs(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What it takes."""
    yield "parameters", f"{found['parameters']:,}"
    yield "MACs", f"{found['macs']:,} a {'tick' if found['format'] == 'nir' else 'sample'}"
    for row in found["estimates"]:
        one_shot = f", one-shot {kibibytes(row['ram_one_shot'])}" if row["ram_one_shot"] else ""
        yield (
            f"{row['weight_bits']}-bit weights",
            f"flash about {kibibytes(row['flash'])}, RAM {kibibytes(row['ram_streaming'])}{one_shot}",
        )


def data_needed(found: dict[str, Any]) -> Iterator[str]:
    """What the files in the command hold."""
    if found["format"] == "onnx":
        shape = ", ".join(map(str, found["input"]["shape"]))
        yield f"where FILE.npz holds x, typical inputs: (some hundred, {shape})"
        if 1 < found["classes"] <= CLASSES_LIMIT:
            yield f"and, to measure accuracy, y, their class numbers: 0 to {found['classes'] - 1}"


def kibibytes(size: int) -> str:
    """``"12.1 KiB"``."""
    return f"{size / 1024:,.1f} KiB"
