"""How finely each layer is quantized: its levels, and the bits of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgespike.errors import UsageError

EVERY_OTHER = "*"
MOST_LEVELS = 255
DEFAULT_BITS = 8

Choice = int | Mapping[str, int]


@dataclass(frozen=True)
class Precision:
    """By layer, the input included: ``levels``, 1 to 255, and ``weights``, 8 or 4 bits."""

    levels: tuple[int, ...]
    weights: tuple[int, ...]


def precision(names: Sequence[str], levels: Choice, weights: Choice) -> Precision:
    """What was chosen, for the layers of these names.

    Args:
        names: of the layers.
        levels: for all of them, or by name; ``"*"`` stands for those that are not named (else 255).
        weights: likewise (else 8).

    Raises:
        UsageError: no such layer, or a number that is out of range.
    """
    chosen = Precision(
        by_layer(names, levels, "levels", MOST_LEVELS), by_layer(names, weights, "weights", DEFAULT_BITS)
    )
    for count in chosen.levels:
        if not 1 <= count <= MOST_LEVELS:
            raise UsageError(f"levels is {count}", "choose 1 to 255; usual are 255 and 15", "levels")
    for bits in chosen.weights:
        if bits not in (4, 8):
            raise UsageError(f"weights of {bits} bits", "choose 8 or 4", "weights")
    return chosen


def by_layer(names: Sequence[str], choice: Choice, option: str, default: int) -> tuple[int, ...]:
    """A number for each layer."""
    if not isinstance(choice, Mapping):
        return (choice,) * len(names)
    unknown = sorted(set(choice) - {*names, EVERY_OTHER})
    if unknown:
        raise UsageError(
            f"{option}: there is no layer {unknown[0]!r}",
            f"layers are {', '.join(names[1:])}",
            "layer-missing",
        )
    return tuple(choice.get(name, choice.get(EVERY_OTHER, default)) for name in names)
