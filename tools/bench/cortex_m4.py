"""Instructions on an emulated Cortex-M4 (QEMU mps2-an386), and memory, of whole networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from networks import Source, sources
from numpy.typing import NDArray
from tables import ROOT, Table
from video import FRAMES, STEP, changes, moved

from edgespike import InferenceSession
from edgespike.arena import one_shot_bytes, streaming_bytes
from edgespike.convert import Calibration, convert_onnx
from edgespike.graph import Graph
from edgespike.modelfile import encode_model

sys.path.append(str(ROOT / "tools"))
from qemu_instructions import job_of, measure as count_instructions  # noqa: I001

CORE = "cortex-m4"
NETWORKS = ("fashion_average", "fashion_average_sparse", "fashion_max", "netkit_mnist_cnn", "lenet5")
CMSIS_NN = 3_503_000  # published for the Fashion networks' layers, whatever their weights
SAME_LAYERS = ("fashion_average", "fashion_average_sparse", "fashion_max")
LEVELS = 15
SAMPLES = 16
VIDEOS = 4


def job(graph: Graph, events: NDArray[Any]) -> bytes:
    return job_of(encode_model(graph), events.tobytes(), 0)


def of_images(graph: Graph, source: Source) -> list[bytes]:
    session = InferenceSession(graph)
    return [job(graph, session.sample_events(image)) for image in source.test[:SAMPLES]]


def of_videos(graph: Graph, source: Source) -> list[bytes]:
    """By video its first frame alone, and then all of it."""
    session = InferenceSession(graph)
    jobs = []
    for image in source.test[:VIDEOS]:
        parts = changes(session, [moved(image, STEP * frame) for frame in range(FRAMES)])
        jobs += [job(graph, parts[0]), job(graph, np.concatenate(parts))]
    return jobs


def row(source: Source, weights: int) -> tuple[Any, ...]:
    """A network with weights of so many bits in the file."""
    graph, report = convert_onnx(
        source.path, Calibration(source.train, source.labels), levels=LEVELS, weights=weights
    )
    session = InferenceSession(graph)
    session.run(None, {session.get_inputs()[0].name: source.test[:SAMPLES]})
    synops = session.stats()["synops"] / SAMPLES
    counts = count_instructions(CORE, [*of_images(graph, source), *of_videos(graph, source)])
    image = float(np.mean(counts[:SAMPLES]))
    pairs = np.array(counts[SAMPLES:]).reshape(-1, 2)
    frame = float(np.mean(pairs[:, 1] - pairs[:, 0])) / (FRAMES - 1)
    same = source.name in SAME_LAYERS
    one_shot = one_shot_bytes(graph)
    return (
        source.name,
        f"{weights}",
        synops / report.macs,
        image,
        CMSIS_NN / image if same else "-",
        frame,
        CMSIS_NN / frame if same else "-",
        float(one_shot) if one_shot else "-",
        float(streaming_bytes(graph)),
    )


def measure(data: Path, seconds: float) -> Table:
    """Means over test images; ``seconds`` does not matter, since instructions are counted."""
    rows = [
        row(source, weights) for source in sources(data) if source.name in NETWORKS for weights in (8, 16)
    ]
    return Table(
        "cortex_m4",
        f"Instructions on an emulated Cortex-M4 (gcc -O3) at {LEVELS} levels: of an image from reset to "
        f"scores, and of a frame of a picture that moves by {STEP} pixels a frame. CMSIS-NN: {CMSIS_NN:,} "
        "instructions, published for layers of the Fashion networks' sizes. RAM: the arena in bytes.",
        (
            "network",
            "bits of a weight",
            "synops / MAC",
            "image",
            "CMSIS-NN / ours",
            "frame",
            "CMSIS-NN / ours",
            "RAM one-shot",
            "RAM streaming",
        ),
        rows,
    )
