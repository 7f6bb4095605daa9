"""``edgespike inspect``: check a model file and show what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgespike import _core, arena
from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, json_option
from edgespike.cli.output import byte_count, print_fields, print_json, print_table
from edgespike.convert.report import short_name
from edgespike.errors import ModelError
from edgespike.graph import (
    Accumulator,
    Activation,
    Convolution,
    Dense,
    Graph,
    IntegrateAndFire,
    LevelInput,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Projection,
    SpikeInput,
    SumPool,
)
from edgespike.modelfile import decode_model, read_model_bytes

NEURON_KINDS = {
    LevelInput: "level input",
    SpikeInput: "spike input",
    Activation: "activation",
    MaxPool: "max pool",
    Accumulator: "accumulator",
    IntegrateAndFire: "integrate-and-fire",
}
CONNECTION_KINDS = {
    Dense: "dense",
    Convolution: "convolution",
    SumPool: "sum pool",
    OneToOne: "one to one",
    MaxPoolWindow: "max pool",
}


@click.command()
@click.argument("model", type=INPUT_FILE)
@json_option
def command(model: Path, as_json: bool) -> None:
    """Check MODEL, an .esg file, and show what is in it.

    The file goes through the loader that runs on boards, and then runs the self-test
    that it brings along.

    \b
    Example:
      edgespike inspect digits.esg
    """
    with about(model, ModelError):
        data = read_model_bytes(model)
        graph = decode_model(data)
        if graph.self_test:
            _core.Network(_core.Model(data)).self_test()
    description = describe(graph, model)
    if as_json:
        print_json(description)
    else:
        show(description)


# ---- what is in a model -----------------------------------------------------


def describe(graph: Graph, path: Path) -> dict[str, Any]:
    """Everything worth knowing about a model file, as JSON values."""
    return {
        "file": str(path),
        "size": path.stat().st_size,
        "producer": graph.metadata.get("producer"),
        "source": {**graph.metadata.get("source", {}), "sha256": graph.source_hash.hex()},
        "ram_streaming": arena.streaming_bytes(graph),
        "ram_one_shot": arena.one_shot_bytes(graph) or None,
        "input": describe_input(graph),
        "output": graph.metadata.get("output"),
        "classes": graph.metadata.get("classes"),
        "profile": graph.metadata.get("profile"),
        "certificate": graph.metadata.get("certificate"),
        "self_test": graph.self_test and {"events": len(graph.self_test.events), "passed": True},
        "populations": [describe_population(graph, number) for number in range(len(graph.populations))],
        "projections": [describe_projection(projection) for projection in graph.projections],
    }


def describe_input(graph: Graph) -> dict[str, Any]:
    """How samples or events come in."""
    counts, tick_us = graph.input.event_counts, graph.input.tick_us
    height, width, _ = graph.populations[0].shape
    metadata = graph.metadata.get("input", {})
    return {
        "kind": "event counts" if counts else NEURON_KINDS[type(graph.populations[0].neuron)],
        "name": metadata.get("name"),
        "shape": metadata.get("shape"),
        "tick_us": tick_us,
        "window_us": graph.input.window_ticks * tick_us or None,
        "early_exit": asdict(graph.input.early_exit) if graph.input.early_exit else None,
        "event_counts": counts
        and {
            "width": width,
            "height": height,
            "polarities": counts.polarities,
            "slices": counts.slices,
            "slice_us": counts.slice_ticks * tick_us,
            "saturation": counts.saturation,
        },
    }


def describe_population(graph: Graph, number: int) -> dict[str, Any]:
    """One population; ``levels`` is null where neurons have none."""
    population = graph.populations[number]
    neuron = population.neuron
    levels = None
    bounds = (graph.metadata.get("certificate") or {}).get("bounds", ())
    if isinstance(neuron, LevelInput | Activation | MaxPool):
        levels = [neuron.level_min, neuron.level_max]
    return {
        "number": number,
        "name": population.name,
        "kind": NEURON_KINDS[type(neuron)],
        "shape": list(population.shape),
        "neurons": population.size,
        "levels": levels,
        "accumulator_bits": population.accumulator_bits,
        "bound": bounds[number] if number < len(bounds) else None,
        "state_bytes": arena.neuron_state_bytes(graph, number),
    }


def describe_projection(projection: Projection) -> dict[str, Any]:
    """One projection; ``kernel`` and ``stride`` are null where there is no window."""
    connection = projection.connection
    kernel = stride = None
    weights = bits = 0
    if isinstance(connection, Convolution):
        kernel, stride = connection.weight.shape[1:3], connection.stride
    elif isinstance(connection, SumPool | MaxPoolWindow):
        kernel, stride = connection.kernel, connection.stride
    if isinstance(connection, Dense | Convolution | OneToOne):
        weights, bits = connection.weight.size, connection.weight_bits
    return {
        "source": projection.source,
        "target": projection.target,
        "kind": CONNECTION_KINDS[type(connection)],
        "kernel": kernel and list(kernel),
        "stride": stride and list(stride),
        "groups": connection.groups if isinstance(connection, Convolution) else 1,
        "shift": projection.shift,
        "delay": projection.delay,
        "weights": weights,
        "weight_bits": bits,
    }


# ---- for readers ------------------------------------------------------------


def show(description: dict[str, Any]) -> None:
    """Prints a description at 80 columns."""
    source, one_shot = description["source"], description["ram_one_shot"]
    print_fields(
        [
            ("file", f"{description['file']}: {byte_count(description['size'])}"),
            ("made by", f"{description['producer']} from {source.get('file')} ({source.get('format')})"),
            ("source sha256", source["sha256"]),
            ("RAM streaming", byte_count(description["ram_streaming"])),
            ("RAM one-shot", byte_count(one_shot) if one_shot else "needs the streaming plan"),
            *_input_fields(description["input"]),
            *_output_fields(description),
            ("self-test", _self_test_text(description["self_test"])),
            *_certificate_fields(description["certificate"]),
        ]
    )
    print()
    print_table(
        ["population", "kind", "shape", "levels", "bits", "bound", "state bytes"],
        [
            (
                f"{row['number']} {short_name(row['name'])}",
                row["kind"],
                "x".join(map(str, row["shape"])),
                "{}..{}".format(*row["levels"]) if row["levels"] else "-",
                row["accumulator_bits"] or "-",
                "-" if row["bound"] is None else f"{row['bound']:,}",
                f"{row['state_bytes']:,}",
            )
            for row in description["populations"]
        ],
        names=2,
    )
    print()
    print_table(
        ["projection", "kind", "kernel", "stride", "groups", "delay", "shift", "bits", "weights"],
        [
            (
                f"{row['source']} -> {row['target']}",
                row["kind"],
                "x".join(map(str, row["kernel"])) if row["kernel"] else "-",
                "x".join(map(str, row["stride"])) if row["stride"] else "-",
                row["groups"],
                row["delay"],
                row["shift"],
                row["weight_bits"] or "-",
                f"{row['weights']:,}",
            )
            for row in description["projections"]
        ],
        names=2,
    )


def _input_fields(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    shape = "x".join(map(str, given["shape"] or ()))
    yield "input", f"{given['name']} ({shape}), {given['kind']}"
    counts = given["event_counts"]
    if counts:
        yield "sensor", f"{counts['width']}x{counts['height']}, polarities {counts['polarities']}"
        yield (
            "counts",
            f"{counts['slices']} slices of {counts['slice_us'] / 1000:g} ms, up to {counts['saturation']}",
        )
    window = f"window {given['window_us'] / 1000:g} ms" if given["window_us"] else "samples end from outside"
    yield "time", f"tick {given['tick_us']:,} us, {window}"
    rule = given["early_exit"]
    if rule:
        yield (
            "early exit",
            f"margin {rule['margin']:,}, looks every {rule['every']} ticks from {rule['first']} on",
        )


def _output_fields(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    output = description["output"] or {}
    shape = "x".join(map(str, output.get("shape", ())))
    yield "output", f"{output.get('name')} ({shape}), {output.get('transform')}"
    if description["classes"]:
        yield "classes", " ".join(description["classes"])
    if description["profile"]:
        choices = {key: value for key, value in description["profile"].items() if not isinstance(value, dict)}
        yield "profile", ", ".join(f"{key} {value}" for key, value in choices.items())


def _certificate_fields(certificate: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if certificate:
        yield "certificate", f"equals its dense twin on {certificate['samples']:,} samples, in every state"
        limit = f"{certificate['event_events']:,} events, {certificate['event_synops']:,} synops"
        yield "one input event", f"causes at most {limit}"
        yield "calibration", f"sha256 {certificate['calibration_sha256']}"


def _self_test_text(test: dict[str, Any] | None) -> str:
    return f"passed, {test['events']:,} events" if test else "none in this file"
