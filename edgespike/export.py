"""Writes a model and the core as C sources that drop into any firmware.

A folder holds ``edgespike.c`` and ``edgespike.h`` (the core in one file, without the link and
what the model does not need), ``model.c`` and ``model.h`` (the model file as an array) and an
example. C99, and C++17 too.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from string import Template
from typing import Literal

import edgespike
from edgespike import _core, arena
from edgespike.encoders import Window
from edgespike.errors import EdgespikeError, UsageError
from edgespike.export_sensor import sensor_files
from edgespike.graph import Activation, Graph, IntegrateAndFire
from edgespike.modelfile import decode_model, read_model_bytes

__all__ = ["CORE_FILES", "Export", "Layout", "export_c"]

Layout = Literal["plain", "cmake", "arduino"]

CORE_FILES = (
    "es_error.c",
    "es_crc.c",
    "es_kernel.c",
    "es_level.c",
    "es_exit.c",
    "es_inbox.c",
    "es_initial.c",
    "es_arena.c",
    "es_input.c",
    "es_project.c",
    "es_neuron.c",
    "es_model.c",
    "es_net.c",
)
GROUP = 16  # channels: stack below 1 KB (docs/c-api.md)
SOURCES = ("edgespike.c", "edgespike.h", "model.c", "model.h")
SENSOR = ("sensor.c", "sensor.h")  # with a sliding window of samples
FILES = {
    *SOURCES,
    *SENSOR,
    "example.c",
    "CMakeLists.txt",
    *(f"src/{name}" for name in (*SOURCES, *SENSOR)),
    "examples/scores/scores.ino",
    "library.properties",
}
MADE_BY = "Made by edgespike export"  # in the first line of edgespike.h, by which an export is known
INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)


@dataclass(frozen=True)
class Export:
    """What was written.

    ``files`` are relative to ``folder``. ``model_bytes`` is the size of the array; the arenas
    are in bytes, ``one_shot_bytes`` 0 where the network needs the streaming plan. ``left_out``
    names what the core was built without.
    """

    folder: Path
    files: tuple[str, ...]
    model_bytes: int
    streaming_bytes: int
    one_shot_bytes: int
    left_out: tuple[str, ...]


def export_c(
    model: Path,
    folder: Path,
    layout: Layout = "plain",
    window: Window | None = None,
    scale: Fraction = Fraction(1),
) -> Export:
    """Write ``model``, an .esg file, and the core as C sources to ``folder``.

    The folder appears whole or not at all. It may exist if it is empty or an earlier export,
    which is replaced. ``layout``: ``cmake`` adds a ``CMakeLists.txt``; ``arduino`` makes an
    Arduino library, with the sources in ``src``. ``window``, ``scale``: how samples of a sensor
    become the network's input (:class:`edgespike.encoders.WindowEncoder`), also as C.

    Raises:
        DataError: ``window``, but the network takes no window of samples.
        ModelError: the file is missing, is no model, is corrupted, or fails its self-test.
        UsageError: the folder holds something else (code ``folder-not-empty``).
        EdgespikeError: the folder cannot be written (code ``file``).
    """
    data = read_model_bytes(model)
    graph = decode_model(data)
    if graph.self_test:
        _core.Network(_core.Model(data)).self_test()
    files = _files(data, graph, model.name, layout, window, scale)
    _check_replaceable(folder)
    try:
        _write_folder(files, folder)
    except OSError as error:
        hint = "choose a folder that you may write to, on a disk with space"
        raise EdgespikeError(f"cannot write {folder}: {error.strerror}", hint, "file") from error
    return Export(
        folder,
        tuple(sorted(files)),
        len(data),
        arena.streaming_bytes(graph),
        arena.one_shot_bytes(graph),
        left_out(graph),
    )


# ---- the core in one file ---------------------------------------------------


def _core_file(name: str) -> str:
    return (resources.files("edgespike") / "core" / name).read_text("utf-8")


def left_out(graph: Graph) -> tuple[str, ...]:
    """The features of docs/c-api.md that a build for this model alone does without.

    The model was checked when it was exported; on the board its checksums are enough.
    """
    neurons = [population.neuron for population in graph.populations]
    spiking = [neuron for neuron in neurons if isinstance(neuron, IntegrateAndFire)]
    unused = {
        "checks": True,
        "spiking": not spiking,
        "currents": not any(neuron.current is not None for neuron in spiking),
        "delays": not any(projection.delay for projection in graph.projections),
        "tables": all(not isinstance(neuron, Activation) or neuron.table is None for neuron in neurons),
        "int4": not any(getattr(p.connection, "weight_bits", 0) == 4 for p in graph.projections),
        "pairs": all(population.accumulator_bits != 16 for population in graph.populations),
        "early-exit": graph.input.early_exit is None,
        "one-shot": not arena.one_shot_bytes(graph),
    }
    return tuple(feature for feature, without in unused.items() if without)


def header(without: Sequence[str]) -> str:
    """``edgespike.h``, with what it includes, and the switches of what is left out set to 0."""
    text = INCLUDE.sub(lambda include: _core_file(include[1]), _core_file("edgespike.h"))
    for feature in without:
        name = "ES_WITH_" + feature.upper().replace("-", "_")
        text = text.replace(f"#define {name} 1", f"#define {name} 0")
    return f"/* {MADE_BY} {edgespike.__version__}: the interface. Do not edit. */\n" + text


def amalgamation() -> str:
    """``edgespike.c``: the core's network files, everything that is not in the header static."""
    parts = [
        f"/* {MADE_BY} {edgespike.__version__}: the network core in one file. Do not edit. */\n",
        SETTINGS,
    ]
    for name in ("es_internal.h", *CORE_FILES):
        parts.append(f"\n/* ==== {name} ==== */\n\n" + INCLUDE.sub("", _core_file(name)))
    return "".join(parts)


# A function that is inlined keeps its stack through all that its caller does afterwards.
SETTINGS = f"""\
#include "edgespike.h"

#ifdef __GNUC__
#define ES_PRIVATE static __attribute__((noinline))
#else
#define ES_PRIVATE static
#endif

#ifndef ES_GROUP
#define ES_GROUP {GROUP}
#endif
"""

# ---- the model --------------------------------------------------------------

MODEL_H = Template("""\
/* $made_by: the model $name. Do not edit. */
#ifndef ES_MODEL_H
#define ES_MODEL_H

#include "edgespike.h"

#define ES_MODEL_SIZE ${size}u
#define ES_MODEL_SCORES ${scores}u
#define ES_MODEL_ARENA ${streaming}u /* bytes for ES_PLAN_STREAMING */
#define ES_MODEL_ARENA_ONE_SHOT ${one_shot}u /* bytes for ES_PLAN_ONE_SHOT; 0: not for this network */

#ifdef __cplusplus
extern "C" {
#endif

extern const uint8_t es_model_data[ES_MODEL_SIZE];

#ifdef __cplusplus
}
#endif

#endif
""")

MODEL_C = Template("""\
/* $made_by: the bytes of $name. Do not edit. */
#include "model.h"

ES_ALIGNED const uint8_t es_model_data[ES_MODEL_SIZE] = {
$bytes
};
""")


def _rows(data: bytes) -> str:
    return "\n".join("    " + ", ".join(map(str, data[i : i + 20])) + "," for i in range(0, len(data), 20))


# ---- the example ------------------------------------------------------------

EXAMPLE = Template("""\
/* Runs $what and prints the scores. */
#include <stdio.h>

#include "edgespike.h"
#include "model.h"

static ES_ALIGNED uint8_t arena[ES_MODEL_ARENA];
static int32_t scores[ES_MODEL_SCORES];

int main(void)
{
    es_model model;
    es_net net;
    int status = es_model_open(&model, es_model_data, ES_MODEL_SIZE);

    if (status == ES_OK)
        status = es_net_init(&net, &model, ES_PLAN_STREAMING, arena, sizeof arena);
$run
    if (status != ES_OK) {
        printf("%s\\n", es_error_message(status));
        return 1;
    }
    for (uint32_t i = 0; i < ES_MODEL_SCORES; i++)
        printf("%ld\\n", (long)scores[i]);
    return 0;
}
""")

SKETCH = Template("""\
/* Runs $what and prints the scores. */
#include <edgespike.h>
#include <model.h>

static ES_ALIGNED uint8_t arena[ES_MODEL_ARENA];
static int32_t scores[ES_MODEL_SCORES];
static es_model model;
static es_net net;

void setup()
{
    Serial.begin(115200);
    int status = es_model_open(&model, es_model_data, ES_MODEL_SIZE);

    if (status == ES_OK)
        status = es_net_init(&net, &model, ES_PLAN_STREAMING, arena, sizeof arena);
$run
    if (status != ES_OK) {
        Serial.println(es_error_message(status));
        return;
    }
    for (uint32_t i = 0; i < ES_MODEL_SCORES; i++)
        Serial.println((long)scores[i]);
}

void loop()
{
}
""")

RUN_SELF_TEST = """\
    if (status == ES_OK)
        status = es_net_self_test(&net, scores, ES_MODEL_SCORES);"""
RUN_SILENCE = """\
    if (status == ES_OK) /* es_net_push gives it events */
        status = es_net_finish(&net);
    if (status == ES_OK)
        status = es_net_output(&net, scores, ES_MODEL_SCORES);"""

# ---- what build systems want ------------------------------------------------

CMAKE = Template("""\
cmake_minimum_required(VERSION 3.10)
project(edgespike_model C)

add_library(edgespike STATIC $parts)
target_include_directories(edgespike PUBLIC $${CMAKE_CURRENT_SOURCE_DIR})

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR) # not inside another project
  add_executable(example example.c)
  target_link_libraries(example PRIVATE edgespike)
endif()
""")

LIBRARY_PROPERTIES = Template("""\
name=edgespike
version=$version
author=edgespike
maintainer=edgespike
sentence=Event-driven integer inference, with the model $name.
paragraph=Needs a processor of 32 bits.
category=Data Processing
url=
architectures=*
includes=edgespike.h,model.h
""")


# ---- files ------------------------------------------------------------------


def _files(
    data: bytes, graph: Graph, name: str, layout: Layout, window: Window | None, scale: Fraction
) -> dict[str, str]:
    """Path inside the folder to text."""
    name = re.sub(r"[^\w .+-]", "_", name, flags=re.ASCII)  # it stands in comments
    values: Mapping[str, object] = {
        "made_by": f"{MADE_BY} {edgespike.__version__}",
        "name": name,
        "version": edgespike.__version__,
        "size": len(data),
        "scores": graph.populations[-1].size,
        "streaming": arena.streaming_bytes(graph),
        "one_shot": arena.one_shot_bytes(graph),
        "what": "the model's self-test" if graph.self_test else "a sample without events",
        "run": RUN_SELF_TEST if graph.self_test else RUN_SILENCE,
    }
    sources = {
        "edgespike.c": amalgamation(),
        "edgespike.h": header(left_out(graph)),
        "model.c": MODEL_C.substitute(values, bytes=_rows(data)),
        "model.h": MODEL_H.substitute(values),
    }
    if window:
        sources |= sensor_files(graph, str(values["made_by"]), name, window, scale)
    if layout == "arduino":
        return {
            **{f"src/{file}": text for file, text in sources.items()},
            "examples/scores/scores.ino": SKETCH.substitute(values),
            "library.properties": LIBRARY_PROPERTIES.substitute(values),
        }
    parts = " ".join(file for file in sources if file.endswith(".c"))
    build = {"CMakeLists.txt": CMAKE.substitute(parts=parts)} if layout == "cmake" else {}
    return {**sources, "example.c": EXAMPLE.substitute(values), **build}


def _check_replaceable(folder: Path) -> None:
    """An empty folder may be replaced, and an earlier export to which nothing was added."""
    if not folder.exists():
        return
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    headers = [folder / "edgespike.h", folder / "src" / "edgespike.h"]
    exported = any(
        header.is_file() and header.read_text("utf-8", "replace").startswith(f"/* {MADE_BY}")
        for header in headers
    )
    if not folder.is_dir() or (present and not exported):
        what = "exists and is no earlier export"
    elif present - FILES:
        what = f"holds {min(present - FILES)}, which is not from an export"
    else:
        return
    raise UsageError(f"{folder} {what}", "name a new folder or an empty one", "folder-not-empty")


def _write_folder(files: Mapping[str, str], folder: Path) -> None:
    """Beside and renamed, the old folder out of the way first."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        for name, text in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
