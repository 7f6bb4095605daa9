"""A process that only runs a model: seconds from import to the answer, and the memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from networks import sources
from tables import ROOT, Table

NETWORK = "fashion_average"
RUNS = 9
BODY = """
import time; begin = time.perf_counter()
import numpy
{load}
{run}
seconds = time.perf_counter() - begin
status = open("/proc/self/status").read()
print(seconds, int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def measure(data: Path, seconds: float) -> Table:
    """Medians over processes, in turns."""
    (network,) = (each for each in sources(data) if each.name == NETWORK)
    with tempfile.TemporaryDirectory() as folder:
        model, image = Path(folder) / "model.esg", Path(folder) / "image.npy"
        session, _ = network.session(15)
        model.write_bytes(session.model)
        np.save(image, network.test[:1])
        name = session.get_inputs()[0].name
        feed = f"session.run(None, {{{name!r}: numpy.load({str(image)!r})}})"
        bodies = {
            "edgespike": BODY.format(
                load=f"from edgespike import InferenceSession; session = InferenceSession({str(model)!r})",
                run=feed,
            ),
            "onnxruntime": BODY.format(
                load=f"import onnxruntime; session = onnxruntime.InferenceSession({str(network.path)!r}, "
                "providers=['CPUExecutionProvider'])",
                run=feed,
            ),
        }
        measured: dict[str, list[list[float]]] = {tool: [] for tool in bodies}
        for _ in range(RUNS):
            for tool, body in bodies.items():
                measured[tool].append(run(body))
    rows: list[tuple[Any, ...]] = []
    for tool, values in measured.items():
        spent, memory = np.median(np.array(values), axis=0)
        rows.append((tool, float(spent), float(memory) / 1e6))
    return Table(
        "process",
        f"A Python process that imports, loads {NETWORK} and classifies one image: medians of {RUNS}. "
        "NumPy is part of both.",
        ("process", "seconds", "peak MB"),
        rows,
    )


def run(body: str) -> list[float]:
    """Seconds, and bytes of resident memory at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", body],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    return [float(word) for word in done.stdout.split()]
