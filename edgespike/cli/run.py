"""``edgespike run``: classify images or event recordings."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import click

from edgespike.cli.options import INPUT_FILE, INPUT_PATH, Runner, json_option, runner_options
from edgespike.cli.output import print_json, progress
from edgespike.cli.samples import class_name, classify, find_samples


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.argument("inputs", type=INPUT_PATH, nargs=-1, required=True, metavar="INPUT...")
@runner_options
@json_option
def command(model: Path, inputs: tuple[Path, ...], runner: Runner, as_json: bool) -> None:
    """Classify each INPUT with MODEL, an .esg file.

    An INPUT is a tensor or a batch of tensors (.npy, or .npz with x), an event
    recording (.npy, .npz, .csv, N-MNIST .bin), or a folder or .zip of recordings.

    \b
    Example:
      edgespike run digits.esg image.npy
      edgespike run gestures.esg recording.csv --port /dev/ttyACM0
    """
    results: list[dict[str, Any]] = []
    with runner.open(model) as session:
        samples = find_samples(inputs, session)
        with progress("classifying", len(samples)) as done:
            for sample in samples:
                result = classify(session, sample, sample.load())
                results.append(
                    {
                        "input": sample.name,
                        "label": result.label,
                        "class": class_name(session, result.label),
                        "margin": result.margin,
                        "scores": result.scores.tolist(),
                        "events": result.events,
                        "windows": result.windows,
                        "lost": result.lost,
                        "ticks": result.ticks,
                        "early": result.early,
                    }
                )
                done(len(results))
    if as_json:
        print_json({"model": str(model), "backend": str(runner), "results": results})
        return
    for row in results:
        print(f"{row['input']}: class {row['class']}, margin {row['margin']:,}, {row['events']:,} events")
        scores = "scores " + " ".join(map(str, row["scores"]))
        print(fill(scores, 80, initial_indent="  ", subsequent_indent="         "))
