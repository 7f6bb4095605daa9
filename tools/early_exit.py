"""What early exit saves on N-MNIST at 1 ms ticks, on recordings that no rule was chosen on.

    PYTHONPATH=. python tools/early_exit.py tests/data/nmnist_if.nir ../shared/data/nmnist_train_1000.zip

The held-out recordings are split in two at random; the rule is chosen on one half, as `edgespike convert
--early-exit` does it, and measured on the other, and the other way round. One half of 100 recordings cannot
tell 0.2 points of accuracy; many splits can: every recording is then tested as often as it is chosen on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert import Calibration, with_early_exit
from edgespike.convert.early_exit import Paths, choose
from edgespike.convert.spiking import convert_nir
from edgespike.events import find_recordings
from edgespike.graph import EarlyExit, Graph

HELD_OUT = Path(__file__).resolve().parents[1] / "tests" / "data" / "nmnist_test.txt"
SENSOR = (2, 34, 34)


@dataclass(frozen=True)
class Measured:
    """One split: percentage points of accuracy that were lost, and the share of ticks that was left."""

    lost: float
    ticks: float


def frames(recordings: list[NDArray[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Event counts (recordings, ticks, 2, 34, 34) of 1 ms each, and the ticks of each recording."""
    times = [(events["t"] - events["t"][0]) // 1000 for events in recordings]
    lengths = np.array([int(time[-1]) + 1 for time in times])
    counts = np.zeros((len(recordings), lengths.max(), *SENSOR), np.uint8)
    for target, time, events in zip(counts, times, recordings, strict=True):
        np.add.at(target, (time, events["p"], events["y"], events["x"]), 1)
    return counts, lengths


def part(paths: Paths, rows: NDArray[np.int64]) -> Paths:
    """The paths of some samples."""
    return Paths(paths.label[rows], paths.margin[rows])


def exits(paths: Paths, rule: EarlyExit) -> NDArray[np.int64]:
    """By sample, the look that decides it, from 0."""
    last = paths.margin.shape[1] - 1
    ahead = paths.margin[:, rule.first - 1 : last] >= rule.margin
    return np.where(ahead.any(axis=1), rule.first - 1 + ahead.argmax(axis=1), last)


def measure(paths: Paths, y: NDArray[Any], lengths: NDArray[np.int64], rule: EarlyExit | None) -> Measured:
    """What a rule does to samples."""
    if rule is None:
        return Measured(0.0, 1.0)
    at = exits(paths, rule)
    early = paths.label[np.arange(len(y)), at] == y
    full = paths.label[:, -1] == y
    lost = 100 * float(full.mean() - early.mean())
    return Measured(lost, float(np.minimum(at + 1, lengths).mean() / lengths.mean()))


def cross_validated(
    paths: Paths, y: NDArray[Any], lengths: NDArray[np.int64], points: float, splits: int
) -> list[Measured]:
    """Both halves of ``splits`` random splits, each measured with the rule that the other half chose."""
    found = []
    rng = np.random.default_rng(0)
    for _ in range(splits):
        halves = np.array_split(rng.permutation(len(y)), 2)
        for chosen, tested in (halves, halves[::-1]):
            rule = choose(part(paths, chosen), y[chosen], points, 1)
            found.append(measure(part(paths, tested), y[tested], lengths[tested], rule))
    return found


def follow(graph: Graph, recordings: list[Any]) -> tuple[Paths, NDArray[Any], NDArray[np.int64], Calibration]:
    """The answers of every recording at each tick, labels, lengths and the samples themselves."""
    x, lengths = frames([recording.read() for recording in recordings])
    y = np.array([recording.label for recording in recordings])
    return Paths.follow(graph, x, 1, lambda share: None), y, lengths, Calibration(x, y)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path, help="the NIR file")
    parser.add_argument("recordings", type=Path, help="zip archive or folder")
    parser.add_argument("--points", type=float, default=0.2, help="of accuracy that may be lost")
    parser.add_argument("--splits", type=int, default=50)
    options = parser.parse_args()
    names = set(HELD_OUT.read_text().split())
    held_out = [r for r in find_recordings(options.recordings) if Path(r.name).as_posix() in names]
    graph, _ = convert_nir(options.network, dt=1e-3, framework="sinabs")
    paths, y, lengths, samples = follow(graph, held_out)
    found = cross_validated(paths, y, lengths, options.points, options.splits)
    lost = np.array([one.lost for one in found])
    ticks = 100 * float(np.mean([one.ticks for one in found]))
    right = 100 * float((paths.label[:, -1] == y).mean())
    print(f"{len(y)} held-out recordings of {lengths.mean():.0f} ticks: {right:.2f} % right at the end")
    print(
        f"{len(found)} halves, each with the rule of the other: {lost.mean():.2f} points lost on average "
        f"({lost.min():.0f} to {lost.max():.0f}), {ticks:.1f} % of the ticks"
    )
    _, report = with_early_exit(graph, samples, options.points)
    print(
        f"convert --early-exit {options.points:g}: chosen on {report.chosen_on}, on {report.samples} others "
        f"{100 * report.accuracy_full:.2f} -> {100 * report.accuracy:.2f} %, {report.ticks:.1f} of "
        f"{report.ticks_full:.1f} ticks, {100 * report.work:.0f} % of the synaptic operations"
    )


if __name__ == "__main__":
    main()
