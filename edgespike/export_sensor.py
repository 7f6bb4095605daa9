"""Samples of a sensor as a network's input, as C sources of an export: ``sensor.h`` and ``sensor.c``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib import resources
from string import Template

from edgespike.encoders import Window, WindowEncoder
from edgespike.graph import Graph
from edgespike.session import InferenceSession

SENSOR_H = Template("""\
/* $made_by: a sliding window of samples for $name. Do not edit. */
$interface
#ifndef ES_SENSOR_H
#define ES_SENSOR_H

#define ES_SENSOR_COLUMNS ${columns}u
#define ES_SENSOR_MEMORY ${memory}u /* bytes for es_window_init */

#ifdef __cplusplus
extern "C" {
#endif

extern const es_window_settings es_sensor;

#ifdef __cplusplus
}
#endif

#endif
""")

SENSOR_C = Template("""\
/* $made_by: a sliding window of samples for $name. Do not edit. */
#include "sensor.h"
$code
static const int32_t threshold[] = {
$threshold
};

static const int16_t initial[] = {
$initial
};

const es_window_settings es_sensor = {
    $columns, /* columns */
    $length, /* length */
    $hop, /* hop */
    $deadband, /* deadband */
    $width, /* width */
    $channels, /* channels */
    $position_stride, /* position_stride */
    $column_stride, /* column_stride */
    $thresholds, /* thresholds */
    threshold,
    $first_level, /* first_level */
    initial,
};
""")


def sensor_files(graph: Graph, made_by: str, name: str, window: Window, scale: Fraction) -> Mapping[str, str]:
    """``sensor.c`` and ``sensor.h`` for a network on a sliding window.

    Args:
        made_by, name: who wrote them, and of which model.
        window, scale: as for ``WindowEncoder``.

    Raises:
        DataError: the network takes no window of samples.
    """
    encoder = WindowEncoder(InferenceSession(graph), window, scale)
    folder = resources.files("edgespike") / "core" / "sensor"
    interface, code = ((folder / f"es_window.{kind}").read_text("utf-8") for kind in "hc")
    values = {
        **encoder.settings,
        "made_by": made_by,
        "name": name,
        "interface": interface.replace('"../edgespike.h"', '"edgespike.h"'),
        "code": code.replace('#include "es_window.h"\n', ""),
        "thresholds": encoder.settings["threshold"].shape[1],
        "threshold": rows(encoder.settings["threshold"].ravel().tolist()),
        "initial": rows(encoder.settings["initial"].tolist()),
        "memory": 4 * encoder.columns * (1 + encoder.length),
    }
    return {"sensor.c": SENSOR_C.substitute(values), "sensor.h": SENSOR_H.substitute(values)}


def rows(numbers: Sequence[int]) -> str:
    """The numbers of a C array."""
    return "\n".join(
        "    " + ", ".join(map(str, numbers[i : i + 16])) + "," for i in range(0, len(numbers), 16)
    )
