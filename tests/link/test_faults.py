"""Everything that can go wrong between a host and a board, by seed; tools/fault_matrix.py runs more of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benches import EmulatedBench, PtyBench, QemuBench
from fault_cases import CASES, QUIET, run
from faults import ByteHarm, FrameHarm
from faulty_pipe import FROM_BOARD, TO_BOARD, Harm
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("case", CASES)
def test_emulated(case: str) -> None:
    for seed in range(20):
        bench = EmulatedBench(np.random.default_rng(seed))
        assert run(case, seed, bench).reported is None or case not in QUIET


def test_pty() -> None:
    for seed, case in enumerate(CASES):
        bench = PtyBench(np.random.default_rng(seed))
        try:
            run(case, seed, bench)
        finally:
            bench.close()


def test_qemu(firmware: Path) -> None:
    bench = QemuBench(f"qemu:{firmware}")
    try:
        for seed, case in enumerate(CASES):
            run(case, seed, bench)
    finally:
        bench.close()


HARMS: list[Callable[[np.random.Generator], Harm]] = [
    lambda rng: ByteHarm(rng, ["flip", "drop", "duplicate", "insert", "half"], 60),
    lambda rng: FrameHarm(rng, ["drop", "duplicate", "reorder"], 0.2),
]


@pytest.mark.parametrize("make", HARMS)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 3000)))
def test_harm_is_at_byte_positions_however_bytes_come(
    make: Callable[[np.random.Generator], Harm], seed: int, cuts: list[int]
) -> None:
    data = np.random.default_rng(seed).integers(0, 30, 3000, np.uint8).tobytes()
    other = np.random.default_rng(seed + 1).bytes(100)
    whole, pieces = make(np.random.default_rng(seed)), make(np.random.default_rng(seed))
    places = [0, *sorted(cuts), len(data)]
    changed = b""
    for begin, end in itertools.pairwise(places):
        changed += pieces.change(data[begin:end], TO_BOARD)
        pieces.change(other, FROM_BOARD)
    assert changed == whole.change(data, TO_BOARD) != data


def test_the_matrix_has_all_that_can_go_wrong() -> None:
    """By the names of docs/link.md, which lists what each does."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "link.md").read_text()
    assert re.findall(r"^\| `([\w ]+)` \|", page.split("## What is tried")[1], re.MULTILINE) == list(CASES)


def test_a_run_is_the_same_every_time() -> None:
    runs = [run("everything", 4, EmulatedBench(np.random.default_rng(4))) for _ in range(2)]
    assert runs[0] == runs[1]


def test_losses_do_happen() -> None:
    """The matrix is no use if nothing goes wrong in it."""
    lost = sum(run("drop", seed, EmulatedBench(np.random.default_rng(seed))).lost for seed in range(1, 20, 3))
    assert lost > 0
    benches = (EmulatedBench(np.random.default_rng(seed)) for seed in range(9))
    assert "restarted" in {run("board reset", seed, bench).reported for seed, bench in enumerate(benches)}
