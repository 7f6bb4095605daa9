"""What fit says of flash, RAM and stack, against the linker and a painted stack."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgespike._link import EmulatedBoard
from edgespike.arena import one_shot_bytes, streaming_bytes
from edgespike.boards import BOARDS, find_board
from edgespike.errors import BudgetError
from edgespike.fit import memory_of, require_fit
from edgespike.link import DeviceClient
from edgespike.link.transports import EmulatedTransport
from edgespike.modelfile import decode_model

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.esg"))
RECORD = "run `PYTHONPATH=. python tools/measure_firmware.py --record`: the firmware has changed"


@pytest.fixture(scope="module")
def tool() -> Any:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("measure_firmware", ROOT / "tools" / "measure_firmware.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["stm32vldiscovery", "microbit"])
def test_flash_ram_and_stack_are_as_the_linker_and_the_stack_say(
    tool: Any, name: str, tmp_path: Path, qemu: str, arm_gcc: str
) -> None:
    board = find_board(name)
    elf = tool.build(name, tmp_path)
    recorded = json.loads(tool.RECORD.read_text())
    if recorded["compiler"] == tool.compiler():
        assert tool.measure(elf) == recorded["boards"][name], RECORD
    data = GOLDEN[0].read_bytes()
    memory = memory_of(decode_model(data), len(data), board)
    sections = tool.section_sizes(elf)
    assert sections[".model"] == board.model_bytes and sections[".arena"] == board.arena_bytes
    used = tool.probe(board, elf, tool.golden_models(board))
    assert memory.stack / 2 < used <= memory.stack <= board.stack_bytes


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("kind", ["model", "arena"])
def test_what_fits_is_what_a_board_takes(kind: str, missing: int) -> None:
    """To the byte: the device loop with as much memory as fit says, and with one byte less."""
    for path in GOLDEN:
        data = path.read_bytes()
        graph = decode_model(data)
        if one_shot_bytes(graph):
            continue
        need = {"model": len(data), "arena": streaming_bytes(graph) + memory_of(graph, 0, BOARDS[0]).result}
        need[kind] -= missing
        board = replace(BOARDS[0], model_bytes=need["model"], arena_bytes=need["arena"])
        memory = memory_of(graph, len(data), board)
        assert (memory.model_missing + memory.arena_missing, memory.fits) == (missing, not missing)
        emulated = EmulatedBoard(model_capacity=need["model"], arena_capacity=need["arena"])
        client = DeviceClient(EmulatedTransport(emulated))
        if missing:
            with pytest.raises(BudgetError) as told:
                require_fit(graph, memory)
            assert "1 bytes" in told.value.message and "mps2-an385" in told.value.hint
            with pytest.raises(BudgetError) as refused:
                client.upload(data)
            assert refused.value.code == told.value.code
        else:
            client.upload(data)
        client.close()


def test_a_board_too_small_for_the_streaming_plan_takes_the_one_shot_plan() -> None:
    for path in GOLDEN:
        graph = decode_model(path.read_bytes())
        if 0 < one_shot_bytes(graph) < streaming_bytes(graph):
            result = memory_of(graph, 0, BOARDS[0]).result
            board = replace(BOARDS[0], arena_bytes=one_shot_bytes(graph) + result)
            memory = memory_of(graph, 0, board)
            assert (memory.plan, memory.arena, memory.fits) == ("one-shot", one_shot_bytes(graph), True)
            return
    pytest.fail("no golden model has a smaller one-shot plan")
