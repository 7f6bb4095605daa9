"""``edgespike eval``: accuracy, agreement with the original, and cost on labelled data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgespike.cli.options import INPUT_FILE, INPUT_PATH, Runner, json_option, runner_options
from edgespike.cli.output import percent, percentiles_ms, print_fields, print_json, print_table, progress
from edgespike.cli.samples import Sample, classify, find_samples
from edgespike.errors import DataError, UsageError
from edgespike.events import count_events
from edgespike.session import InferenceSession, Result

BATCH = 64  # samples that the original runs at once


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.argument("data", type=INPUT_PATH)
@click.option("--original", type=INPUT_FILE, help="The .onnx file it came from, to compare with.")
@click.option("--limit", type=click.IntRange(1), help="Use the first so many samples.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, metavar="N", help="Classify in N threads.")
@runner_options
@json_option
def command(
    model: Path,
    data: Path,
    original: Path | None,
    limit: int | None,
    jobs: int,
    runner: Runner,
    as_json: bool,
) -> None:
    """Measure MODEL, an .esg file, on DATA.

    DATA is an .npz with samples x and labels y, or a folder or .zip of event
    recordings in one folder per class.

    \b
    Example:
      edgespike eval digits.esg test.npz --original digits.onnx
    """
    if jobs > 1 and runner.port:
        raise UsageError("a board runs one sample at a time", "leave out --jobs")
    with runner.open(model) as session:
        samples = find_samples([data], session)[:limit]
        if original is None and all(sample.label is None for sample in samples):
            raise DataError(
                f"{data}: no labels, so there is no accuracy to measure",
                "add y to the .npz, put recordings into one folder per class, or give --original",
                "label-missing",
            )
        evaluation = evaluate(session, samples, original, jobs)
    evaluation = {"model": str(model), "data": str(data), "backend": str(runner), **evaluation}
    if as_json:
        print_json(evaluation)
    else:
        show(evaluation)


def evaluate(
    session: InferenceSession, samples: list[Sample], original: Path | None, jobs: int
) -> dict[str, Any]:
    """Classifies all samples and adds up."""
    results, seconds, stats = classify_all(session, samples, jobs, "classifying")
    said = [result.label for result in results]
    count = len(samples)
    return {
        "samples": count,
        "jobs": jobs,
        "accuracy": accuracy(said, [sample.label for sample in samples]),
        "original": compare(session, samples, said, original) if original else None,
        "input_events_per_sample": stats["input_events"] / count,
        "ticks_per_sample": float(np.mean([result.ticks for result in results])),
        "early_exit": without_early_exit(session, samples, jobs) if session.graph.input.early_exit else None,
        "events_per_sample": stats["events"] / count,
        "synops_per_sample": stats["synops"] / count,
        "ms_per_sample": {"mean": 1e3 * float(np.mean(seconds)), **percentiles_ms(seconds)},
        "populations": [
            {"name": row["name"], "events": row["events"] / count, "synops": row["synops"] / count}
            for row in stats["populations"]
        ],
    }


def classify_all(
    session: InferenceSession, samples: list[Sample], jobs: int, doing: str
) -> tuple[list[Result], list[float], dict[str, Any]]:
    """Results and seconds in the order of the samples, and the sessions' statistics added up.

    Each thread has a session of its own; all of them run the same model in memory.
    """
    sessions = [session, *(session.another() for _ in range(jobs - 1))]
    free: SimpleQueue[InferenceSession] = SimpleQueue()
    for idle in sessions:
        free.put(idle)

    def timed(sample: Sample) -> tuple[Result, float]:
        mine = free.get()
        try:
            content = sample.load()
            begin = time.perf_counter()
            result = classify(mine, sample, content)
            return result, time.perf_counter() - begin
        finally:
            free.put(mine)

    with progress(doing, len(samples)) as done, threads(jobs) as pool:
        waiting = [pool.submit(timed, sample) for sample in samples]
        answers = []
        for future in waiting:  # in order, so that of several errors the first sample's is told
            answers.append(future.result())
            done(len(answers))
    results, seconds = zip(*answers, strict=True)
    return list(results), list(seconds), added([each.stats() for each in sessions])


@contextmanager
def threads(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that take on nothing new once something went wrong, or the user interrupts."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of several sessions as those of one."""
    rows = zip(*(part["populations"] for part in parts), strict=True)
    return {
        **{key: sum(part[key] for part in parts) for key in ("input_events", "events", "synops")},
        "populations": [
            {"name": same[0]["name"], **{key: sum(row[key] for row in same) for key in ("events", "synops")}}
            for same in rows
        ],
    }


def without_early_exit(session: InferenceSession, samples: list[Sample], jobs: int) -> dict[str, Any]:
    """The same samples, on this machine, each to its end."""
    graph = session.graph
    whole = InferenceSession(replace(graph, input=replace(graph.input, early_exit=None)))
    results, _, stats = classify_all(whole, samples, jobs, "without early exit")
    return {
        "accuracy": accuracy([result.label for result in results], [sample.label for sample in samples]),
        "ticks_per_sample": float(np.mean([result.ticks for result in results])),
        "synops_per_sample": stats["synops"] / len(samples),
    }


def compare(session: InferenceSession, samples: list[Sample], said: list[int], path: Path) -> dict[str, Any]:
    """Runs the original network in onnxruntime on the same samples."""
    from edgespike.convert.float_network import FloatNetwork
    from edgespike.importers.onnx import read_onnx

    counts = session.graph.input.event_counts
    grid = session.graph.metadata["input"]["grid"]
    shape = (1, *session.graph.metadata["input"]["shape"])
    output = session.graph.metadata["output"]["name"]
    fixed = session.graph.metadata.get("fixed_inputs")
    original = FloatNetwork(read_onnx(path, tuple(grid) if counts else None, shape, output, fixed))
    answers: list[int] = []
    with progress("running the original", len(samples)) as done:
        for start in range(0, len(samples), BATCH):
            batch = [as_tensor(session, sample.load()) for sample in samples[start : start + BATCH]]
            answers.extend(original.scores(np.stack(batch)).argmax(axis=1).tolist())
            done(len(answers))
    return {
        "file": str(path),
        "accuracy": accuracy(answers, [sample.label for sample in samples]),
        "agreement": float(np.mean(np.array(answers) == np.array(said))),
    }


def as_tensor(session: InferenceSession, content: NDArray[Any]) -> NDArray[Any]:
    """What the original network is given: a recording's event counts, or the sample as it is."""
    if not content.dtype.names:
        return content
    info, counts = session.graph.metadata["input"], session.graph.input.event_counts
    assert counts is not None
    height, width, _ = session.graph.populations[0].shape
    numbers = count_events(
        content,
        height,
        width,
        polarities=counts.polarities,
        slices=counts.slices,
        slice_us=counts.slice_ticks * session.tick_us,
        saturation=counts.saturation,
    )
    grid = numbers.transpose(1, 2, 0).transpose(np.argsort(info["axes"]))
    return np.asarray(grid * info["event_scale"], np.float32).reshape(info["shape"])


def accuracy(said: list[int], labels: list[int | None]) -> float | None:
    """Share of the labelled samples that were classified right; None without labels."""
    right = [a == b for a, b in zip(said, labels, strict=True) if b is not None]
    return float(np.mean(right)) if right else None


def show(evaluation: dict[str, Any]) -> None:
    """Prints an evaluation at 80 columns."""
    times, original = evaluation["ms_per_sample"], evaluation["original"]
    print_fields(
        [
            ("samples", f"{evaluation['samples']:,} on {evaluation['backend']}{in_threads(evaluation)}"),
            ("accuracy", percent(evaluation["accuracy"])),
            *(
                [
                    ("original", f"{percent(original['accuracy'])} in onnxruntime"),
                    ("agreement", percent(original["agreement"])),
                ]
                if original
                else []
            ),
            ("time a sample", ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items())),
            *(_exit_fields(evaluation) if evaluation["early_exit"] else []),
            ("input a sample", f"{evaluation['input_events_per_sample']:,.0f} events"),
        ]
    )
    print()
    total = evaluation["synops_per_sample"]
    rows = [(row["name"], row["events"], row["synops"]) for row in evaluation["populations"]]
    print_table(
        ["population", "events a sample", "synops a sample", "share"],
        [
            (name, f"{events:,.1f}", f"{synops:,.1f}", percent(synops / total if total else None))
            for name, events, synops in [*rows, ("all", evaluation["events_per_sample"], total)]
        ],
    )


def in_threads(evaluation: dict[str, Any]) -> str:
    """How many threads there were, if several."""
    return f", {evaluation['jobs']} threads" if evaluation["jobs"] > 1 else ""


def _exit_fields(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    full = evaluation["early_exit"]
    rows = []
    for name, key in (("ticks a sample", "ticks_per_sample"), ("synops a sample", "synops_per_sample")):
        share = percent(evaluation[key] / full[key] if full[key] else None)
        rows.append((name, f"{evaluation[key]:,.1f}, {share} of {full[key]:,.1f} without early exit"))
    return [("without exit", f"accuracy {percent(full['accuracy'])}"), *rows]
