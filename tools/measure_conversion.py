"""Measures how long a conversion takes and how much memory, step by step.

    pip install ".[convert]"
    python tools/measure_conversion.py tests/data/fashion_average.onnx
    python tools/measure_conversion.py tests/data/fashion_average.onnx --samples 500 --levels 15 --weights 4

The network runs on random samples; neither the time nor the memory depends on what they are.
Seconds are those of the processor and of the clock; on a busy machine they differ.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from edgespike.convert import Calibration, convert_onnx
from edgespike.importers.onnx import read_onnx


def main() -> None:
    """Prints a line for each step, and the sum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--levels", type=int, default=255)
    parser.add_argument("--weights", type=int, default=8)
    options = parser.parse_args()
    shape = read_onnx(options.network).input.shape
    x = np.random.default_rng(0).random((options.samples, *shape), np.float32)
    steps: dict[str, list[float]] = {}
    last = "", 0.0, 0.0

    def tell(step: str, share: float) -> None:
        nonlocal last
        name, clock, processor = last
        last = step, time.perf_counter(), time.process_time()
        if name:
            spent = steps.setdefault(name, [0.0, 0.0])
            spent[0] += last[1] - clock
            spent[1] += last[2] - processor

    choices = {"levels": options.levels, "weights": options.weights}
    _, report = convert_onnx(options.network, Calibration(x), progress=tell, **choices)
    print(f"{report.macs:,} multiplications, {options.samples} samples")
    for name, (clock, processor) in steps.items():
        print(f"{name:26}{processor:8.1f} s{clock:8.1f} s on the clock")
    print(f"{'all':26}{sum(s[1] for s in steps.values()):8.1f} s{sum(s[0] for s in steps.values()):8.1f} s")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
