"""A short soak: every event is accounted for, and the memory does not grow; tools/soak.py runs a long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import edgespike

TOOL = Path(__file__).resolve().parents[2] / "tools" / "soak.py"


def test_every_event_is_accounted_for(tmp_path: Path) -> None:
    tested = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}
    command = [sys.executable, str(TOOL), "--events", "800000", "--seed", "3"]
    done = subprocess.run(command, cwd=tmp_path, env=tested, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("not accounted for", "dropped here, too late", "on their way: vanished", "lost on the link"):
        assert part in done.stdout
