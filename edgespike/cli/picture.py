"""Events as a picture in a terminal: two pixels a character, ON and OFF in two colours."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROWS = 20  # lines that a picture takes at most
SHADES = " .:+*#"  # for a terminal without colours, and for files


def draw(events: NDArray[Any], sensor: Sequence[int]) -> None:
    """Prints where the events are; ON is drawn orange, OFF blue, the more of them the brighter."""
    console = Console(highlight=False)
    columns = min(console.width, shutil.get_terminal_size().columns) - 2
    console.print(picture(events, sensor, columns, coloured=console.color_system is not None))


def picture(
    events: NDArray[Any], sensor: Sequence[int], columns: int, coloured: bool, rows: int = ROWS
) -> Text:
    """The picture, at most ``columns`` wide and ``rows`` high.

    Args:
        events: array of dtype ``EVENT``; what lies outside the sensor is left out.
        sensor: width and height.
    """
    shrink = max(sensor[0] / columns, sensor[1] / (2 * rows), 1.0)
    width, height = max(1, int(sensor[0] / shrink)), max(1, int(sensor[1] / shrink))
    height += height % 2
    inside = (events["x"] < sensor[0]) & (events["y"] < sensor[1])
    x = (events["x"][inside] / shrink).astype(np.intp).clip(0, width - 1)
    y = (events["y"][inside] / shrink).astype(np.intp).clip(0, height - 1)
    counts = np.zeros((2, height, width))
    np.add.at(counts, ((events["p"][inside] > 0).astype(np.intp), y, x), 1)
    busy = np.percentile(counts.sum(0)[counts.sum(0) > 0], 95) if inside.any() else 1.0
    brightness = (counts / max(busy, 1.0)).clip(0, 1) ** 0.5
    return _blocks(brightness) if coloured else _characters(brightness.max(0))


def _blocks(brightness: NDArray[np.float64]) -> Text:
    """Half blocks: the foreground is the upper pixel, the background the lower one."""
    off, on = brightness
    red, green, blue = on, 0.55 * np.maximum(on, off), off
    pixels = (255 * np.stack([red, green, blue], -1)).astype(int).tolist()
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text


def _characters(brightness: NDArray[np.float64]) -> Text:
    shade = np.maximum(brightness[::2], brightness[1::2])
    places = np.ceil(shade * (len(SHADES) - 1)).astype(int)
    return Text("\n".join("".join(SHADES[place] for place in row).rstrip() for row in places))
