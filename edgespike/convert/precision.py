"""How finely each layer is quantized: its levels, and the bits of its weights.

Weights of 16 bits are those of 8, in words that a Cortex-M4 or M7 multiplies without unpacking
them: flash for speed, where accumulators have 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgespike.errors import UsageError
from edgespike.importers.network import AveragePool, MaxPool, Network

EVERY_OTHER = "*"
MOST_LEVELS = 255
DEFAULT_BITS = 8
WEIGHT_BITS = (4, 8, 16)

Choice = int | Mapping[str, int]


@dataclass(frozen=True)
class Precision:
    """By layer, the input included: ``levels``, 1 to 255, and ``weights``, 4, 8 or 16 bits.

    The input keeps 255 levels unless it is named: they cost nothing but bits of an event's payload.
    """

    levels: tuple[int, ...]
    weights: tuple[int, ...]

    def quantized_bits(self, number: int) -> int:
        """Bits that the weights of a layer are rounded to."""
        return min(self.weights[number], 8)


def precision(names: Sequence[str], levels: Choice, weights: Choice) -> Precision:
    """What was chosen, for the layers of these names.

    Args:
        names: of the layers, the input first.
        levels: for all of them, or by name; ``"*"`` stands for those that are not named (else 255).
        weights: likewise (else 8).

    Raises:
        UsageError: no such layer, or a number that is out of range.
    """
    of_layers = by_layer(names, levels, "levels", MOST_LEVELS)
    of_input = MOST_LEVELS if isinstance(levels, int) else levels.get(names[0], MOST_LEVELS)
    chosen = Precision((of_input, *of_layers[1:]), by_layer(names, weights, "weights", DEFAULT_BITS))
    for count in chosen.levels:
        if not 1 <= count <= MOST_LEVELS:
            raise UsageError(f"levels is {count}", "choose 1 to 255; usual are 255 and 15", "levels")
    for bits in chosen.weights:
        if bits not in WEIGHT_BITS:
            raise UsageError(f"weights of {bits} bits", "choose 4, 8 or 16", "weights")
    return chosen


def precision_of(network: Network, levels: Choice, weights: Choice) -> Precision:
    """What was chosen for the layers of a network.

    Raises:
        UsageError: as `precision`, or a choice that would have no effect.
    """
    chosen = precision([layer.name for layer in network.layers], levels, weights)
    for number, layer in enumerate(network.layers):
        named = isinstance(levels, Mapping) and layer.name in levels
        if chosen.levels[number] != MOST_LEVELS and (named or layer.levels is not None):
            refuse_where(layer.name, "levels", *why_levels_are_fixed(network, number))
        if chosen.weights[number] != DEFAULT_BITS:
            named = isinstance(weights, Mapping) and layer.name in weights
            if network.is_quantized:
                why = "the network was quantized before, and keeps its weights"
                refuse_where(layer.name, "weights", why, "leave it out, or convert the float network")
            elif named and (number == 0 or is_pool(network, number)):
                refuse_where(layer.name, "weights", "it has none", "leave it out")
    return chosen


def why_levels_are_fixed(network: Network, number: int) -> tuple[str, str]:
    """Why a layer's levels cannot be chosen, and what to do; empty where they can."""
    layer = network.layers[number]
    leave = "leave it out"
    if layer.levels is not None:
        return "it was quantized before, and keeps its levels", f"{leave}, or convert the float network"
    if is_pool(network, number):
        (link,) = layer.links
        if isinstance(link.map, MaxPool):
            source = network.layers[link.source].name
            return f"a max pool has the levels of what it reads, {source}", "choose levels there"
        return "an average pool has a level for each sum, up to 255", leave
    if number == len(network.layers) - 1 and layer.is_linear:
        return "scores have no levels", leave
    return "", ""


def refuse_where(name: str, option: str, why: str, hint: str) -> None:
    """Refuses a choice for a layer, if there is a reason."""
    if why:
        raise UsageError(f"{option} of {name}: {why}", hint, option)


def is_pool(network: Network, number: int) -> bool:
    """Whether a layer is a pool."""
    links = network.layers[number].links
    return bool(links) and isinstance(links[0].map, MaxPool | AveragePool)


def by_layer(names: Sequence[str], choice: Choice, option: str, default: int) -> tuple[int, ...]:
    """A number for each layer."""
    if not isinstance(choice, Mapping):
        return (choice,) * len(names)
    unknown = sorted(set(choice) - {*names, EVERY_OTHER})
    if unknown:
        raise UsageError(
            f"{option}: there is no layer {unknown[0]!r}",
            f"layers are {', '.join(names)}",
            "layer-missing",
        )
    return tuple(choice.get(name, choice.get(EVERY_OTHER, default)) for name in names)
