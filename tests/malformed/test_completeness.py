"""Every line of the loader, and every check of the link, is reached by the bad files and frames here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bad_frames import ARENA, GOOD, MODEL, PAYLOAD, RING
from bad_frames import CASES as FRAMES
from patching import MODELS, SECTIONS, ModelFile
from test_malformed import BROKEN, CASES, Patch, ninth_section, valid

CORE = Path(__file__).resolve().parents[2] / "edgespike" / "core"

# Opens every file that it is given, in memory that is aligned.
OPENER = """
#include <stdio.h>
#include "edgespike.h"
static uint8_t bytes[1 << 16] __attribute__((aligned(ES_ALIGNMENT)));
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        es_model model;
        printf("%d\\n", es_model_open(&model, bytes, fread(bytes, 1, sizeof bytes, file)));
        fclose(file);
    }
    return 0;
}
"""

# What no file can reach: the caller's arguments (core/api.c), another machine, another build
# (export/test_export.py), and what only running calls.
ELSEWHERE = re.compile(r"ES_ERR_(ENDIAN|ARGUMENT|ALIGN|LEFT_OUT)\b")
RUNNING = {
    "es_tick_us",
    "es_input_shape",
    "es_window_ticks",
    "es_model_source_hash",
    "needs_what_is_left_out",
}


def patched(model: str, patch: Patch) -> bytes:
    file = ModelFile(valid(model))
    patch(file)
    file.repair()
    return bytes(file.data)


def damaged(section: str) -> bytes:
    """A section that is not what its checksum says."""
    file = ModelFile(valid("level"))
    file.data[file.start(section)] ^= 0x40
    return bytes(file.data)


def not_reached(report: str) -> list[str]:
    """Lines of gcov's report that never ran, outside of the functions that only running calls."""
    missed, function = [], ""
    for line in report.splitlines():
        count, number, code = line.split(":", 2)
        if named := re.match(r"\w.*?\b(\w+)\(", code):
            function = named[1]
        if count.strip() == "#####" and function not in RUNNING and not ELSEWHERE.search(code):
            missed.append(f"{number.strip()}: {code.strip()}")
    return missed


def test_every_line_of_the_loader_is_reached(tmp_path: Path, need: Callable[[object, str], None]) -> None:
    need(shutil.which("gcc") and shutil.which("gcov"), "gcc is not installed (apt install gcc)")
    good = [valid(name) for name in MODELS] + [patched("level", ninth_section(minor=1))]
    bad = [change(valid("level")) for change, _ in BROKEN.values()]
    bad += [damaged(section) for section in SECTIONS]
    bad += [patched(model, patch) for _, model, patch in CASES.values()]
    files = good + bad
    for number, data in enumerate(files):
        (tmp_path / f"{number}.esg").write_bytes(data)
    (tmp_path / "opener.c").write_text(OPENER)
    sources = [tmp_path / "opener.c", *sorted(CORE.glob("*.c"))]
    build = ["gcc", "-std=c99", "-O0", "--coverage", f"-I{CORE}", "-o", "opener", *map(str, sources)]
    subprocess.run(build, check=True, cwd=tmp_path)
    names = [f"{number}.esg" for number in range(len(files))]
    opened = subprocess.run(["./opener", *names], check=True, cwd=tmp_path, capture_output=True, text=True)
    accepted = [status == "0" for status in opened.stdout.split()]
    assert accepted == [True] * len(good) + [False] * len(bad)
    (notes,) = tmp_path.glob("*es_model.gcno")
    subprocess.run(["gcov", str(notes)], check=True, cwd=tmp_path, capture_output=True)
    assert not_reached((tmp_path / "es_model.c.gcov").read_text()) == []


# ---- the link ------------------------------------------------------------------

# A board that receives each file; its first four bytes are the size of the arena.
RECEIVER = f"""
#include <stdio.h>
#include "es_device.h"
static uint8_t model[{MODEL}] __attribute__((aligned(ES_ALIGNMENT)));
static uint8_t arena[{ARENA}] __attribute__((aligned(ES_ALIGNMENT)));
static uint8_t ring[{RING}], frames[ES_DEVICE_FRAME_BYTES({PAYLOAD})], bytes[1 << 16];
static void write_bytes(void *context, const uint8_t *data, size_t count) {{ }}
static uint32_t clock_us(void *context) {{ return 0; }}
static bool set_baud(void *context, uint32_t baud, bool now) {{ return baud <= 4000000; }}
int main(int argc, char **argv)
{{
    for (int i = 1; i < argc; i++) {{
        es_device device;
        FILE *file = fopen(argv[i], "rb");
        size_t count = fread(bytes, 1, sizeof bytes, file), at = 4;
        es_device_config config = {{model, sizeof model, arena, bytes[0] | bytes[1] << 8, ring, sizeof ring,
            frames, {PAYLOAD}, "board", 1, write_bytes, clock_us, set_baud, 921600, NULL}};
        fclose(file);
        if (es_device_init(&device, &config) != ES_OK)
            return 1;
        do {{
            size_t some = count - at < sizeof ring ? count - at : sizeof ring;
            es_device_receive(&device, bytes + at, some);
            at += some;
            while (es_device_poll(&device))
                continue;
        }} while (at < count);
    }}
    return 0;
}}
"""

# Functions that judge what a frame says, by file.
JUDGES = {
    "es_frame": {"store", "finish", "es_frame_read"},
    "es_words": {"is_possible", "es_words_open"},
    "es_device": {
        *("stream_of", "answer_stats", "model_begin", "model_data", "lay_out", "use_model", "model_end"),
        *("test_model", "self_test", "change_baud", "acknowledge", "answer_ping", "start_stream"),
        *("admit_lossless", "admit_live", "admit", "stream_frame", "event_refused", "control_done"),
        *("work_on_advance", "work", "command", "handle"),
    },
}

# Checks there that no bytes can fail, by a part of their line.
NOT_BY_BYTES = {
    "address_bits < 32": "an input of 2^32 neurons",
    "if (status == ES_OK && (size > capacity": "every model has a streaming plan",
    "if (status == ES_OK)": "the same",
    "status == ES_ERR_DIGEST": "memory that changed after its model was checked: link/test_device.py",
    "can_change_baud(config)": "firmware without it: link/test_device.py",
    "ES_STREAM_LOSSLESS && !device->gap_told": "live, only after a second of work: firmware/test_qemu.py",
    "cause > 3": "a network in use refuses events for four causes",
}


def one_sided(report: str, judges: set[str]) -> list[str]:
    """Lines of gcov's report, in these functions, that never ran or have a branch that was never taken."""
    found, function, line, left_out = [], "", "", False
    for row in report.splitlines():
        if re.match(r"\s*(call|function) ", row):
            continue
        if row.startswith("branch"):
            missed = row.endswith("never executed") or " taken 0" in row
        else:
            count, number, code = row.split(":", 2)
            if named := re.match(r"\w.*?\b(\w+)\(", code):
                function = named[1]
            line = f"{number.strip()}: {code.strip()}"
            left_out = any(part in code for part in NOT_BY_BYTES)
            missed = count.strip() == "#####"
        if missed and function in judges and not left_out and line not in found:
            found.append(line)
    return found


def test_every_check_of_the_link_is_passed_and_failed(
    tmp_path: Path, need: Callable[[object, str], None]
) -> None:
    need(shutil.which("gcc") and shutil.which("gcov"), "gcc is not installed (apt install gcc)")
    sessions = [case.arena.to_bytes(4, "little") + case.before + case.bad for case in FRAMES.values()]
    sessions += [ARENA.to_bytes(4, "little") + data for data in GOOD.values()]
    names = [f"{number}.bin" for number in range(len(sessions))]
    for name, data in zip(names, sessions, strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "receiver.c").write_text(RECEIVER)
    sources = ["receiver.c", *map(str, sorted(CORE.glob("*.c")))]
    build = ["gcc", "-std=c99", "-O0", "--coverage", f"-I{CORE}", "-o", "receiver", *sources]
    subprocess.run(build, check=True, cwd=tmp_path)
    subprocess.run(["./receiver", *names], check=True, cwd=tmp_path)
    for file, judges in JUDGES.items():
        (notes,) = tmp_path.glob(f"*{file}.gcno")
        subprocess.run(["gcov", "-b", "-c", str(notes)], check=True, cwd=tmp_path, capture_output=True)
        report = (tmp_path / f"{file}.c.gcov").read_text()
        assert all(re.search(rf"\b{name}\(", report) for name in judges)
        assert one_sided(report, judges) == []
