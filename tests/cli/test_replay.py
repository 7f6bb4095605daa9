"""``edgespike stream --record`` and ``edgespike replay``: the same results, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import edgespike
from edgespike.events import find_recordings
from edgespike.journal import SEND, Journal

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}


@pytest.fixture
def journal(cli: Any, event_model: Path, recordings: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.journal"
    outcome = cli(
        "stream", event_model, recordings, "--speed", "max", "--loop", "3", "--record", path, "--json"
    )
    assert outcome.code == 0, outcome.err
    return path


@pytest.mark.parametrize("runner", [[], ["--backend", "reference"], ["--port", "emulated"]])
def test_replay_gives_the_same_results(cli: Any, journal: Path, runner: list[str]) -> None:
    outcome = cli("replay", journal, "--json", *runner)
    assert outcome.code == 0, outcome.err
    value = json.loads(outcome.out)
    assert value["results"] == value["equal"] == 12 and value["different"] == value["with_losses"] == 0


def test_a_board_s_stream_replays_here(cli: Any, event_model: Path, recordings: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    for live in ([], ["--live"]):
        command = ["stream", event_model, recordings, "--speed", "20", "--port", "emulated", "--record", path]
        assert cli(*command, *live).code == 0
        value = json.loads(cli("replay", path, "--json").out)
        assert value["results"] == 4 == value["equal"] + value["with_losses"]
        assert value["about"]["link"]["bytes_sent"] > 0


def test_a_journal_keeps_what_was_sent(journal: Path, event_model: Path, recordings: Path) -> None:
    with Journal(journal) as recorded:
        assert recorded.model == event_model.read_bytes()
        sent = sum(len(call.events) for call in recorded.calls() if call.kind == SEND)
        assert sent == 3 * sum(len(recording.read()) for recording in find_recordings(recordings))
        assert recorded.about["events"] == sent


def test_live_text_replays(cli: Any, event_model: Path, recordings: Path, tmp_path: Path) -> None:
    events = find_recordings(recordings / "left")[0].read()
    path = tmp_path / "a.journal"
    subprocess.run(
        [sys.executable, "-P", "-m", "edgespike", "stream", str(event_model), "-", "--record", str(path)],
        input="".join(f"{t},{x},{y},{p}\n" for t, x, y, p in events.tolist()).encode(),
        check=True,
        capture_output=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert json.loads(cli("replay", path, "--json").out)["equal"] == 2


def test_a_difference_is_an_error(cli: Any, journal: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.journal"
    with zipfile.ZipFile(journal) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "results.jsonl":
                row, _, rest = content.partition(b"\n")
                result = json.loads(row)
                result["scores"][0] += 1
                content = json.dumps(result).encode() + b"\n" + rest
            new.writestr(name, content)
    outcome = cli("replay", changed)
    assert outcome.code == 1 and "1 results are not what the journal says" in outcome.err


def test_journals_that_cannot_be_read(cli: Any, journal: Path, tmp_path: Path) -> None:
    data, bad = journal.read_bytes(), tmp_path / "bad.journal"
    for size in (0, 10, len(data) // 2, len(data) - 1):
        bad.write_bytes(data[:size])
        outcome = cli("replay", bad)
        assert outcome.code == 3 and "no journal, or cut short" in outcome.err


def test_nothing_is_left_when_it_fails(cli: Any, event_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.journal"
    path.parent.mkdir()
    assert cli("stream", event_model, tmp_path / "folder", "--record", path).code == 3
    assert not list(path.parent.iterdir())
    outcome = cli(
        "stream", event_model, "spif://:0", "--record", tmp_path / "no" / "a.journal", "--for", "1s"
    )
    assert outcome.code == 3 and "cannot be written" in outcome.err
