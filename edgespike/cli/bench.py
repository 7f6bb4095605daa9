"""``edgespike bench``: how fast a model runs on this machine, and where the time goes."""

from __future__ import annotations

import platform
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from edgespike import _core
from edgespike.benchmark import (
    Stimulus,
    classify,
    cpu_name,
    population_seconds,
    prepare,
    random_stimuli,
    run_in_turns,
)
from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, INPUT_PATH, json_option
from edgespike.cli.output import percent, print_fields, print_json, print_table, progress
from edgespike.cli.samples import find_samples
from edgespike.errors import ModelError
from edgespike.session import InferenceSession

PERCENTILES = (50, 90, 99)


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.argument("samples", type=INPUT_PATH, required=False)
@click.option(
    "--limit", type=click.IntRange(1), default=64, show_default=True, help="Use the first so many samples."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.0, 600.0),
    default=2.0,
    show_default=True,
    help="How long to measure; twice, the second time by population.",
)
@json_option
def command(model: Path, samples: Path | None, limit: int, seconds: float, as_json: bool) -> None:
    """Time MODEL, an .esg file, on this machine.

    SAMPLES are tensors or event recordings, as for `edgespike eval`; without, random
    input as dense as can be. They are run in rotation, one at a time, in one thread.

    \b
    Example:
      edgespike bench digits.esg recordings.zip
    """
    with about(model, ModelError):
        session = InferenceSession(model)
    stimuli = read(session, samples, limit) if samples else random_stimuli(session.graph)
    value = {
        "model": str(model),
        "samples_from": str(samples) if samples else "random",
        "samples": len(stimuli),
        "cpu": cpu_name(),
        "kernels": _core.chosen_path(),
        **measure(session, stimuli, seconds),
    }
    if as_json:
        print_json(value)
    else:
        show(value)


def read(session: InferenceSession, path: Path, limit: int) -> list[Stimulus]:
    """The samples as the core takes them."""
    found = find_samples([path], session)[:limit]
    stimuli = []
    with progress("reading", len(found)) as done:
        for sample in found:
            with about(sample.name, ModelError):
                stimuli.append(prepare(session, sample.load()))
            done(len(stimuli))
    return stimuli


def measure(session: InferenceSession, stimuli: list[Stimulus], seconds: float) -> dict[str, Any]:
    """Runs the samples and works out rates."""
    network = session.backend
    assert isinstance(network, _core.Network)
    network.clear_stats()
    for stimulus in stimuli:
        classify(network, stimulus)
    stats, passes = session.stats(), network.dense_passes
    (taken,) = run_in_turns([partial(classify, network)], stimuli, seconds)
    by_population = population_seconds(session.graph, stimuli, seconds)
    count = len(stimuli)
    mean = float(np.median(taken.reshape(-1, count), axis=0).mean())  # what else the machine did left out
    return {
        "dense_passes_per_sample": passes / count,
        "runs": len(taken),
        "us_per_sample": {
            "mean": 1e6 * mean,
            **{f"p{p}": 1e6 * float(np.percentile(taken, p)) for p in PERCENTILES},
        },
        "input_events_per_sample": stats["input_events"] / count,
        "synops_per_sample": stats["synops"] / count,
        "input_events_per_second": stats["input_events"] / count / mean,
        "synops_per_second": stats["synops"] / count / mean,
        "ns_per_synop": 1e9 * mean * count / stats["synops"] if stats["synops"] else None,
        "populations": [
            {
                "name": row["name"],
                "events": row["events"] / count,
                "synops": row["synops"] / count,
                "share": row["synops"] / stats["synops"] if stats["synops"] else 0.0,
                "us": 1e6 * by_population[number - 1] if by_population and number else None,
            }
            for number, row in enumerate(stats["populations"])
        ],
    }


def kernels_note(path: str) -> str:
    """What to say where the processor could do more, or could not."""
    paths = _core.kernel_paths()
    if path != paths[0]:
        return f", as EDGESPIKE_KERNELS says; this processor has {paths[0]}"
    wide = {"x86_64": "avx2", "aarch64": "dotprod"}.get(platform.machine())
    return "" if wide in paths else "; this processor has no wider instructions that are made use of"


def show(value: dict[str, Any]) -> None:
    """Prints the measurement at 80 columns."""
    times, per_synop = value["us_per_sample"], value["ns_per_synop"]
    dense = ", as dense as can be" if value["samples_from"] == "random" else ""
    print_fields(
        [
            ("samples", f"{value['samples']:,} from {value['samples_from']}{dense}; {value['runs']:,} runs"),
            ("processor", value["cpu"]),
            ("kernels", f"{value['kernels']}{kernels_note(value['kernels'])}"),
            ("dense passes", f"{value['dense_passes_per_sample']:,.1f} a sample, in place of single events"),
            ("time a sample", ", ".join(f"{name} {us:,.1f} us" for name, us in times.items())),
            ("input events", f"{value['input_events_per_second'] / 1e6:,.2f} million a second"),
            ("synops", f"{value['synops_per_second'] / 1e6:,.1f} million a second"),
            ("one synop", f"{per_synop:.3f} ns" if per_synop is not None else "-"),
        ]
    )
    print()
    total = sum(row["us"] or 0.0 for row in value["populations"])
    print_table(
        ["population", "events", "synops", "share", "time", "share"],
        [
            (
                row["name"],
                f"{row['events']:,.1f}",
                f"{row['synops']:,.1f}",
                percent(row["share"], 1),
                "-" if row["us"] is None else f"{row['us']:,.1f} us",
                percent(None if row["us"] is None or total <= 0 else row["us"] / total, 1),
            )
            for row in value["populations"]
        ],
    )
    print("\nEvents are those that a population sends, synops what these cause.")
    print("Time is what leads into a population, and its evaluation.")
