"""Everything that can go wrong between a host and a board, by seed; tools/fault_matrix.py runs more of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fault_cases import CASES, EmulatedBench, PtyBench, QemuBench, run


@pytest.mark.parametrize("case", CASES)
def test_emulated(case: str) -> None:
    for seed in range(20):
        bench = EmulatedBench(np.random.default_rng(seed))
        assert run(case, seed, bench).reported is None or case != "nothing"


@pytest.mark.parametrize("case", ["flip", "board resets", "cable gone", "two hosts"])
def test_pty(case: str) -> None:
    bench = PtyBench(np.random.default_rng(1))
    try:
        run(case, 1, bench)
    finally:
        bench.close()


def test_qemu(firmware: Path) -> None:
    bench = QemuBench(f"qemu:{firmware}")
    try:
        for seed, case in enumerate(CASES):
            run(case, seed, bench)
    finally:
        bench.close()


def test_a_run_is_the_same_every_time() -> None:
    runs = [run("everything", 4, EmulatedBench(np.random.default_rng(4))) for _ in range(2)]
    assert runs[0] == runs[1]


def test_losses_do_happen() -> None:
    """The matrix is no use if nothing goes wrong in it."""
    lost = sum(run("drop", seed, EmulatedBench(np.random.default_rng(seed))).lost for seed in range(1, 20, 3))
    assert lost > 0
    benches = (EmulatedBench(np.random.default_rng(seed)) for seed in range(9))
    assert "restarted" in {run("board resets", seed, bench).reported for seed, bench in enumerate(benches)}
