"""``edgespike demo``: the whole job on what the package brings along."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgespike.cli import conversion, stream
from edgespike.cli.monitor import Monitor
from edgespike.cli.options import json_option
from edgespike.cli.output import byte_count, percent, print_fields, print_json, progress
from edgespike.cli.player import Player
from edgespike.cli.samples import Sample, find_streams
from edgespike.convert import Report, load_calibration
from edgespike.data import DEMO_EVENTS, demo_archive, demo_calibration, demo_network
from edgespike.errors import MismatchError
from edgespike.graph import Graph
from edgespike.modelfile import write_model
from edgespike.session import InferenceSession

DRAWN = 4  # recordings that are drawn: as many as 80 columns hold
DRAWN_US = (40_000, 60_000)  # the part of them that is drawn, while the digit moves


@click.command()
@click.option("--port", metavar="PORT", default="emulated", show_default=True, help="The board to use.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Leave the model and the data there, to try the other verbs on.",
)
@json_option
def command(port: str, keep: Path | None, as_json: bool) -> None:
    """Do the whole job on what the package brings along.

    Converts a small network trained on handwritten digits, checks that all backends
    give the same bits, and streams recordings to an emulated board. The recordings are
    simulated: no event camera was involved.

    \b
    Example:
      edgespike demo
      edgespike demo --port /dev/ttyACM0 --keep digits
    """
    with redirect_stdout(sys.stderr if as_json else sys.stdout):
        graph, summary = tell(port)
        if keep:
            keep_files(graph, keep)
            print(f"\nKept the model and its data in {keep}. Try:\n  edgespike inspect {keep}/digits.esg")
    if as_json:
        print_json(summary)


def tell(port: str) -> tuple[Graph, dict[str, Any]]:
    """Does the job and tells it as it goes; returns the network, and the job as JSON values."""
    begin = time.perf_counter()
    print("Handwritten digits before an event camera. The events are simulated: images of")
    print("digits were moved before a model of a camera with 34 x 34 pixels, and noise.")
    print("\n1. Convert the network (ONNX) to integer neurons that speak in events\n")
    graph, report = convert_digits()
    show_conversion(report)
    print(f"\n2. Run it here and on the board ({port}): the same bits everywhere?\n")
    with InferenceSession(graph, "device", port=port) as board:
        recordings = find_streams(demo_archive(), board)
        ten = one_of_each(recordings)
        checked = check(graph, board, port, ten)
        show_check(checked)
        print(f"\n3. Stream ten recordings to the board in real time; the first {DRAWN} look like this:\n")
        draw([recording.load() for recording in ten[:DRAWN]])
        real_time = stream_slowly(board, ten)
        print("\n4. Stream all recordings as fast as the board takes them\n")
        board.backend.clear_stats()
        fast = stream_fast(board, recordings)
        synops = board.stats()["synops"] / len(recordings)
    show_speed(fast, synops, report)
    seconds = time.perf_counter() - begin
    print(f"\nAll of this took {seconds:.1f} s.")
    return graph, {
        "simulated": True,
        "port": port,
        "conversion": conversion.describe(report),
        "check": checked,
        "real_time": real_time,
        "fast": fast,
        "synops_per_recording": synops,
        "seconds": seconds,
    }


# ---- the job ----------------------------------------------------------------


def convert_digits() -> tuple[Graph, Report]:
    """The network that comes with the package, made to take events."""
    from edgespike.convert import convert_onnx  # needs the onnx extra

    with progress("converting", 1.0) as tell:
        return convert_onnx(
            demo_network(),
            load_calibration(demo_calibration()),
            events=DEMO_EVENTS,
            classes=[str(digit) for digit in range(10)],
            progress=lambda step, share: tell(share, step),
        )


def one_of_each(recordings: Sequence[Sample]) -> list[Sample]:
    """The first recording of each digit, in the order of the digits."""
    first = {recording.label: recording for recording in reversed(recordings)}
    return [first[digit] for digit in range(10)]


def check(graph: Graph, board: InferenceSession, port: str, recordings: Sequence[Sample]) -> dict[str, Any]:
    """Classifies recordings with every backend and compares scores, events and operations.

    Raises:
        MismatchError: a bit differs.
    """
    backends = {
        "reference": InferenceSession(graph, "reference"),
        "cpu": InferenceSession(graph, "cpu"),
        port: board,
    }
    board.backend.clear_stats()
    with progress("checking", len(recordings)) as done:
        for number, recording in enumerate(recordings):
            events = recording.load()
            said = {name: outcome(session, events) for name, session in backends.items()}
            for name, answer in said.items():
                if answer != said["reference"]:
                    raise MismatchError(
                        f"{recording.name}: {name} differs from the reference",
                        "please report this: no two backends may ever differ",
                    )
            done(number + 1)
    return {"recordings": len(recordings), "backends": list(backends), "equal": True}


def outcome(session: InferenceSession, events: NDArray[Any]) -> tuple[list[int], list[tuple[int, int]]]:
    """Scores, and the events and operations of each population so far."""
    scores = session.classify(events).scores.tolist()
    return scores, [(row["events"], row["synops"]) for row in session.stats()["populations"]]


def stream_fast(board: InferenceSession, recordings: Sequence[Sample]) -> dict[str, Any]:
    """All recordings, as fast as the board takes them."""
    player = Player(board, math.inf)
    monitor = Monitor(board, player)
    with progress("streaming", len(recordings)) as done:
        for answer in player.play(recordings):
            monitor.add(answer)
            done(monitor.results)
    return monitor.summary()


def stream_slowly(board: InferenceSession, recordings: Sequence[Sample]) -> dict[str, Any]:
    """In real time, with a line for each answer."""
    player = Player(board, speed=1)
    monitor = Monitor(board, player)
    stream.print_header()
    for answer in player.play(recordings):
        stream.print_line(monitor.add(answer))
    return monitor.summary()


def keep_files(graph: Graph, folder: Path) -> None:
    """The model, and the data that the other verbs can be tried on."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(graph, folder / "digits.esg")
    for path in (demo_network(), demo_calibration(), demo_archive()):
        shutil.copyfile(path, folder / path.name)


# ---- what is told -----------------------------------------------------------


def show_conversion(report: Report) -> None:
    """The size and the worth of the converted network."""
    neurons = sum(math.prod(layer.shape) for layer in report.layers)
    weights = sum(layer.weights for layer in report.layers)
    print_fields(
        [
            ("network", f"{len(report.layers)} populations, {neurons:,} neurons, {weights:,} int8 weights"),
            ("memory", f"{byte_count(report.flash)} flash, {byte_count(report.ram_streaming)} RAM"),
            (
                "accuracy",
                f"{percent(report.accuracy)} of {report.samples} calibration samples, "
                f"onnxruntime {percent(report.accuracy_float)}",
            ),
        ]
    )


def show_check(checked: dict[str, Any]) -> None:
    """That nothing differs."""
    print(f"{' = '.join(checked['backends'])}: yes, bit for bit")
    print(f"in scores, events and synaptic operations of {checked['recordings']} recordings")


def show_speed(fast: dict[str, Any], synops: float, report: Report) -> None:
    """How right, how fast, and at what cost."""
    recorded_s = fast["results"] * DEMO_EVENTS.window_us / 1e6
    link = fast["link"]
    print_fields(
        [
            (
                "accuracy",
                f"{percent(fast['accuracy'])} of {fast['results']} recordings, none of them seen in training",
            ),
            ("speed", f"{recorded_s / fast['seconds']:.0f} times real time"),
            ("events", f"{fast['events_per_second']:,.0f} a second"),
            ("cost", f"{synops:,.0f} synaptic operations a recording"),
            ("dense", f"{report.macs:,} multiplications for the network computed once, densely"),
            ("lost", f"{link['lost_on_link'] + link['lost_at_sender'] + link['rejected']} events"),
        ]
    )


def draw(recordings: Sequence[NDArray[Any]]) -> None:
    """Where events were in a short part of each recording, side by side; dots of Braille letters."""
    height, width = DEMO_EVENTS.height, DEMO_EVENTS.width
    pictures = []
    for events in recordings:
        seen = events[(events["t"] >= DRAWN_US[0]) & (events["t"] < DRAWN_US[1])]
        dots = np.zeros(((height + 3) // 4 * 4, (width + 1) // 2 * 2), bool)
        dots[seen["y"], seen["x"]] = True
        pictures.append(braille(dots))
    for rows in zip(*pictures, strict=True):
        print("  ".join(rows))
    print()


def braille(dots: NDArray[np.bool_]) -> list[str]:
    """A picture (height a multiple of 4, width of 2) as lines of Braille letters, 4 x 2 dots each."""
    bits = np.array([[1, 8], [2, 16], [4, 32], [64, 128]])
    cells = dots.reshape(dots.shape[0] // 4, 4, dots.shape[1] // 2, 2)
    letters = np.einsum("ydxc,dc->yx", cells, bits)
    return ["".join(chr(0x2800 + letter) for letter in row) for row in letters]
