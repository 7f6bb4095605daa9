"""Measures the beat classifier: float and converted, beats found, samples one by one over a link, work.

    pip install ".[convert]"
    python tools/measure_ecg.py ../shared/data/ecg_mitbih_100.npz
    python tools/measure_ecg.py ../shared/data/ecg_mitbih_100.npz --port qemu --seconds 20

The record, and what is for training and for test: `ecg_record.py`. `windows right`: of those with one
right answer, one each 50 ms. A beat is found where windows on end name one, at the surest of them,
within 150 ms of an annotated one (as ANSI/AAMI EC57 counts). `wrongly so`: normal beats called premature.

In 30 s of the test part: `hop`, samples from result to result. `changed`: input levels between
two. Synaptic operations a result: `incremental`, the samples
one by one to a network that is told what changed; `from scratch`, each window to a network just reset.
`dense`: the multiplications of the usual computation. `bytes/s` to the board, at the sensor's pace.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ecg_record import HOP, PLACE, RATE, TRAINED_S, WINDOW, Record, some_windows
from numpy.typing import NDArray

from edgespike import InferenceSession
from edgespike.cli.output import print_table
from edgespike.convert import Calibration, convert_onnx
from edgespike.encoders import Window, WindowEncoder
from edgespike.reference_encoders import hold

NETWORK = Path(__file__).resolve().parents[1] / "tests" / "data" / "ecg_beats.onnx"
WITHIN = 54  # samples, 150 ms
DEADBAND = 12  # 60 microvolts
WORK_S = 30  # of the test part, for what work is done


@dataclass(frozen=True)
class Streamed:
    """Scores of each window; input events and synaptic operations a window; bytes a second to a board."""

    scores: NDArray[np.int64]
    events: float
    synops: float
    bytes_per_second: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("record", type=Path, help="ecg_mitbih_100.npz")
    parser.add_argument("--network", type=Path, default=NETWORK)
    parser.add_argument("--port", default="emulated", help="the board that is streamed to")
    parser.add_argument("--seconds", type=int, default=WORK_S, help="for that")
    arguments = parser.parse_args()
    record = Record.read(arguments.record)
    begin = TRAINED_S * RATE
    signal = record.signal[begin:]
    ends = np.arange(WINDOW, len(signal) + 1, HOP)
    windows = signal[ends[:, None] + np.arange(-WINDOW, 0)][:, None]
    labels = record.labels(begin + ends)

    runner = onnxruntime.InferenceSession(str(arguments.network), providers=["CPUExecutionProvider"])
    exact = runner.run(None, {"samples": windows.astype(np.float32)})[0]
    rows, work = [["float", "", *judge(record, begin + ends, labels, exact)]], []
    calibration = Calibration(*some_windows(record))
    for levels, deadband in ((255, 0), (15, 0), (15, DEADBAND)):
        graph, report = convert_onnx(arguments.network, calibration, levels=levels)
        scores = stream(InferenceSession(graph), signal, HOP, deadband).scores
        rows.append([f"{levels}", f"{deadband}", *judge(record, begin + ends, labels, scores)])
        for hop in (HOP, 1):
            ours, some = InferenceSession(graph), signal[: WORK_S * RATE]
            slid = stream(ours, some, hop, deadband)
            held = hold(some[:, None], deadband)[:, 0]
            places = np.arange(WINDOW, len(some) + 1, hop)[:, None] + np.arange(-WINDOW, 0)
            ours = InferenceSession(graph)
            assert np.array_equal(slid.scores, ours.scores(held[places][:, None])), (
                "other scores from scratch"
            )
            with InferenceSession(graph, "device", port=arguments.port) as board:
                linked = stream(board, some[: arguments.seconds * RATE], hop, deadband)
            assert np.array_equal(linked.scores, slid.scores[: len(linked.scores)]), (
                "other scores on the board"
            )
            from_scratch = ours.stats()["synops"] / len(slid.scores)
            work.append(
                [
                    f"{levels}",
                    f"{deadband}",
                    f"{hop}",
                    f"{slid.events:.0f} of {WINDOW}",
                    f"{slid.synops:,.0f}",
                    f"{from_scratch:,.0f}",
                    f"{report.macs:,}",
                    f"{linked.bytes_per_second:,.0f}",
                ]
            )
    print(
        f"test: {len(signal) / RATE / 60:.1f} minutes, {len(ends):,} windows, {np.sum(labels >= 0):,} clear\n"
    )
    print_table(
        ("levels", "deadband", "windows right", "normal found", "premature", "wrongly so", "no beat"), rows
    )
    print(f"\nthe same scores from scratch and on {arguments.port}, bit for bit\n")
    columns = ("levels", "deadband", "hop", "changed", "incremental", "from scratch", "dense", "bytes/s")
    print_table(columns, work)


def stream(session: InferenceSession, signal: NDArray[np.int64], hop: int, deadband: int) -> Streamed:
    """The samples one by one to a network that goes on."""
    session.reset()
    before = session.stats()
    sent = session.backend.statistics().bytes_sent if hasattr(session.backend, "statistics") else None
    encoder = WindowEncoder(session, Window(hop, deadband))
    scores = []
    for number, sample in enumerate(signal):
        for time_us, changes in encoder(sample.reshape(1, 1), np.array([number * 1_000_000 // RATE])):
            session.push(changes)
            session.advance(time_us + 1)
            scores.append(session.read().scores)
    stats: dict[str, Any] = session.stats()
    events, synops = (stats[name] - before[name] for name in ("input_events", "synops"))
    if sent is not None:
        sent = session.backend.statistics().bytes_sent - sent  # type: ignore[attr-defined]
    rate = None if sent is None else sent / (len(signal) / RATE)
    return Streamed(np.array(scores), events / len(scores), synops / len(scores), rate)


def judge(
    record: Record, ends: NDArray[np.int64], labels: NDArray[np.int64], scores: NDArray[Any]
) -> list[str]:
    """Right windows; beats found, by class; beats that there are not."""
    said = scores.argmax(axis=1)
    clear = labels >= 0
    found = beats_in(ends, scores)
    places = np.array([place for place, _ in found])
    names = np.array([label for _, label in found])
    inside = (record.beats >= ends[0] - WINDOW + PLACE) & (record.beats <= ends[-1] - WINDOW + PLACE)
    beats, premature = record.beats[inside], record.premature[inside]
    nearest = np.abs(places[:, None] - beats).argmin(axis=0)
    near = np.abs(places[nearest] - beats) <= WITHIN
    as_premature = near & (names[nearest] == 2)
    none = np.abs(places[:, None] - record.beats).min(axis=1) > WITHIN
    return [
        f"{(said == labels)[clear].mean():.2%}",
        f"{(near & ~premature).sum():,} of {(~premature).sum():,}",
        f"{(as_premature & premature).sum()} of {premature.sum()}",
        f"{(as_premature & ~premature).sum()}",
        f"{none.sum()}",
    ]


def beats_in(ends: NDArray[np.int64], scores: NDArray[Any]) -> list[tuple[int, int]]:
    """Sample and class of each beat that results name: one for those on end, at the surest."""
    said = scores.argmax(axis=1)
    is_beat = np.flatnonzero(said > 0)
    groups = np.split(is_beat, np.flatnonzero(np.diff(is_beat) > 1) + 1)
    surest = [
        group[(scores[group].max(axis=1) - scores[group, 0]).argmax()] for group in groups if len(group)
    ]
    return [(int(ends[number]) - WINDOW + PLACE, int(said[number])) for number in surest]


if __name__ == "__main__":
    main()
