"""Counts instructions of the core in QEMU and fits what each kind of operation costs.

    PYTHONPATH=.:tests python tools/measure_instructions.py            a table of errors
    PYTHONPATH=.:tests python tools/measure_instructions.py --record   keep costs and table

Random networks of every kind run as programs of each Cortex-M core (tools/instruction_probe.c, with
the flags of the firmware) in QEMU with -icount, where an instruction takes 256 ns of the board's clock.
What they do is counted by edgespike/activity.py; non-negative least squares of the relative errors give
the costs (edgespike/data/instructions.json). Random networks from other
seeds, and all that have names (golden models, the demo, networks from the folder EDGESPIKE_TEST_DATA),
take no part in the fit and are only predicted.
--record also writes the table of errors in docs/fit.md.

Needs qemu-system-arm, arm-none-eabi-gcc and SciPy. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from calibration_graphs import calibration_graph
from numpy.typing import NDArray
from qemu_instructions import CORES, job_of, measure, run
from random_graphs import choose, number, random_events, random_graph

import edgespike
from edgespike import _link
from edgespike.activity import count_operations
from edgespike.arena import streaming_bytes
from edgespike.graph import Graph
from edgespike.link.messages import FrameType, Mode
from edgespike.modelfile import decode_model, encode_model
from edgespike.operations import Operations
from edgespike.session import InferenceSession

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(edgespike.__file__).parent / "data" / "instructions.json"
DOCS = ROOT / "docs" / "fit.md"
TABLE = re.compile(r"(<!-- made by tools/measure_instructions.py -->\n\n).*?(\n\n)", re.DOTALL)
FITTED = (1_000_000, 1000)  # the first seed, and how many networks
FRESH = (9_000_000, 300)
STREAM = 1  # its number
MOST_SCORES = 4096  # that the probe has room for
MOST_OPERATIONS = 5_000_000  # of a random network: no board's clock of 32 bits may pass all its range


@dataclass(frozen=True)
class Job:
    """A sample for a network: events (dtype CORE_EVENT), and how many ticks it has at least."""

    name: str
    graph: Graph
    events: NDArray[Any]

    def to_bytes(self) -> bytes:
        """For the probe: the network by itself."""
        return job_of(encode_model(self.graph), self.events.tobytes(), 0)

    def over_link(self) -> tuple[bytes, Operations]:
        """For the probe: the sample as a host sends it, and what that means for the link."""
        shape = self.graph.populations[0].shape
        channels = 2 if self.graph.input.event_counts else shape[2]
        frames = _link.pack_events(self.events, (*shape[:2], channels), 1024, 0, 0, 0, STREAM)
        sent = b"".join(frame for frame, _ in frames)
        end = struct.pack("<IHHI", len(self.events), 0, 0, STREAM)
        sent += _link.encode_frame(FrameType.END_SAMPLE, 0, len(frames), 0, end)
        upload = uploading(encode_model(self.graph))
        operations: Operations = Counter({"link byte": len(sent), "link event": len(self.events)})
        operations.update({"link frame": len(frames), "link sample": 1})
        return job_of(b"", struct.pack("<I", len(upload)) + upload + sent, 1), operations


def uploading(model: bytes) -> bytes:
    """What a host sends before the first event."""
    whole = struct.pack("<II", len(model), zlib.crc32(model))
    frames = [_link.encode_frame(FrameType.MODEL_BEGIN, 0, 0, 1, whole)]
    for offset in range(0, len(model), 1024):
        frames.append(_link.encode_frame(FrameType.MODEL_DATA, 0, 0, offset, model[offset : offset + 1024]))
    frames.append(_link.encode_frame(FrameType.MODEL_END, 0, 0, 2, whole))
    start = struct.pack("<BBHIII", Mode.LOSSLESS, 0, 0, STREAM, 0, zlib.crc32(model))
    frames.append(_link.encode_frame(FrameType.START, 0, 0, 3, start))
    return b"".join(frames)


# ---- networks ------------------------------------------------------------------


def random_jobs(first: int, count: int) -> Iterator[Job]:
    """So many random networks that a board has room for, with seeds from ``first`` on."""
    found = 0
    for seed in range(first, first + 1_000_000):
        rng = np.random.default_rng([seed, 1])
        graph = calibration_graph(seed)
        if len(encode_model(graph)) > 150_000 or streaming_bytes(graph) > 500_000:
            continue
        if graph.populations[-1].size > MOST_SCORES:
            continue
        events = random_events(rng, graph, choose(rng, 5, 30, 100, 300), longest=choose(rng, 2, 40))
        if len(events) < 3 or int(events["tick"][-1]) > 600:
            continue
        yield Job(f"random {seed}", graph, events)
        found += 1
        if found == count:
            return


def links() -> Iterator[Job]:
    """Streams whose events are of every length, into the smallest network."""
    rng = np.random.default_rng(1)
    while True:
        graph = random_graph(rng, new_shape=lambda rng: (number(rng, 1, 30), number(rng, 1, 30), 2))
        if len(encode_model(graph)) < 60_000 and graph.input.window_ticks == 0:
            break
    for longest in (0, 1, 3, 100, 3000):
        for count in (50, 1000):
            events = random_events(rng, graph, count, longest)
            yield Job(f"link {longest} {count}", graph, events)


def held_out() -> Iterator[Job]:
    """Networks that took no part in the fit: the golden models, the demo, and those of the data folder."""
    for path in sorted((ROOT / "tests" / "golden").glob("*.esg")):
        graph = decode_model(path.read_bytes())
        if graph.self_test:
            yield Job(f"golden {path.stem}", graph, graph.self_test.events)
    yield from demo()
    folder = Path(os.environ.get("EDGESPIKE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        yield from onnx_networks(folder)
        yield from spiking_networks(folder)


def demo() -> Iterator[Job]:
    from edgespike.convert import convert_onnx, load_calibration
    from edgespike.data import DEMO_EVENTS, demo_calibration, demo_network, demo_recordings
    from edgespike.events import rebase

    graph, _ = convert_onnx(demo_network(), load_calibration(demo_calibration()), events=DEMO_EVENTS)
    session = InferenceSession(graph)
    for recording in demo_recordings()[:30:10]:
        yield Job(f"demo {recording.name}", graph, session.core_events(rebase(recording.read())))


def onnx_networks(folder: Path) -> Iterator[Job]:
    from edgespike.convert import Calibration, convert_onnx

    with np.load(folder / "mnist.npz") as data:
        images = data["x_train"][:100].astype(np.float32)
    for name, scale in (("lenet5", 255), ("netkit_mnist_mlp", 255), ("netkit_mnist_cnn", 255)):
        graph, _ = convert_onnx(folder / "onnx" / f"{name}.onnx", Calibration(images / scale))
        session = InferenceSession(graph)
        shape = graph.metadata["input"]["shape"]
        for place, sample in enumerate(images[:2]):
            yield Job(f"{name} {place}", graph, session.sample_events(sample.reshape(shape) / scale))


def spiking_networks(folder: Path) -> Iterator[Job]:
    from edgespike.convert.spiking import convert_nir

    graph, _ = convert_nir(folder / "nir" / "braille_noDelay_bias_zero.nir", dt=1e-4, framework="snntorch")
    session = InferenceSession(graph)
    rng = np.random.default_rng(2)
    for density in (0.02, 0.2):
        sample = (rng.random((100, *graph.metadata["input"]["shape"])) < density).astype(np.float32)
        yield Job(f"braille {density}", graph, session.sample_events(sample))


# ---- the fit --------------------------------------------------------------------


def fit(rows: list[Operations], counts: list[int]) -> dict[str, float]:
    """Costs that make the squared relative errors least; none is negative."""
    from scipy.optimize import nnls

    names = sorted(name for name, count in sum(rows, start=Counter()).items() if count)
    matrix = np.array([[row[name] for name in names] for row in rows], float)
    matrix /= np.array(counts, float)[:, None]
    scale = matrix.max(axis=0)
    solution, _ = nnls(matrix / scale, np.ones(len(counts)), maxiter=100 * len(names))
    return dict(zip(names, (solution / scale).tolist(), strict=True))


def predicted(costs: dict[str, float], row: Operations) -> float:
    return sum(costs[name] * count for name, count in row.items())


def errors(costs: dict[str, float], rows: list[Operations], counts: list[int]) -> NDArray[np.float64]:
    """Relative errors of the prediction."""
    return np.array([predicted(costs, row) / count - 1 for row, count in zip(rows, counts, strict=True)])


def calibrate(core: str, fitted: list[Job], others: list[Job], operations: dict[str, Operations]) -> Any:
    """Costs of all operations on a core, and how well they predict what they were not made from."""
    streams = list(links())
    over_link = [job.over_link() for job in streams]
    jobs = [job.to_bytes() for job in (*fitted, *others, *streams)]
    counts = measure(core, [*jobs, *(data for data, _ in over_link)])
    known = [operations[job.name] for job in fitted]
    costs = fit(known, counts[: len(fitted)])
    link_counts = np.array(counts[len(jobs) :]) - counts[len(fitted) + len(others) : len(jobs)]
    costs |= fit([row for _, row in over_link], link_counts.tolist())
    of_others = errors(
        costs, [operations[job.name] for job in others], counts[len(fitted) : len(fitted) + len(others)]
    )
    return {
        "fitted": summary(errors(costs, known, counts[: len(fitted)])),
        "random": summary(of_others[[job.name.startswith("random") for job in others]]),
        "others": {
            job.name: round(float(error), 3)
            for job, error in zip(others, of_others, strict=True)
            if not job.name.startswith("random")
        },
        "costs": {name: round(cost, 3) for name, cost in costs.items()},
    }


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "networks": len(values),
        "rms": round(float(np.sqrt(np.mean(values**2))), 4),
        "greatest": round(float(np.abs(values).max()), 4),
    }


def table(cores: dict[str, Any]) -> str:
    """Relative errors on networks that took no part in the fit: a row for each core."""
    networks = next(iter(cores.values()))
    rows = [
        f"| Core | {networks['random']['networks']} random networks: RMS | greatest "
        f"| {len(networks['others'])} others: RMS | greatest |",
        "|---|---:|---:|---:|---:|",
    ]
    for core, found in cores.items():
        named = summary(np.array(list(found["others"].values())))
        errors = [of[kind] for of in (found["random"], named) for kind in ("rms", "greatest")]
        rows.append(f"| {core} | " + " | ".join(f"{error:.1%}" for error in errors) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    fitted = list(random_jobs(*FITTED))
    others = [*random_jobs(*FRESH), *held_out()]
    operations = {job.name: count_operations(job.graph, job.events) for job in (*fitted, *others)}
    fitted, others = (
        [job for job in jobs if sum(operations[job.name].values()) < MOST_OPERATIONS]
        for jobs in (fitted, others)
    )
    cores = {core: calibrate(core, fitted, others, operations) for core in CORES}
    print(table(cores))
    for name in next(iter(cores.values()))["others"]:
        print(f"{name:24}" + "".join(f"{found['others'][name]:9.1%}" for found in cores.values()))
    if options.record:
        tools = [run("arm-none-eabi-gcc", "--version"), run("qemu-system-arm", "--version")]
        record = {"made with": [text.splitlines()[0] for text in tools], "cores": cores}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        DOCS.write_text(TABLE.sub(lambda old: old[1] + table(cores) + old[2], DOCS.read_text()))


if __name__ == "__main__":
    main()
