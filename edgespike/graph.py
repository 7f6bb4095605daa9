"""The spiking graph: what the converter makes, a model file holds and every backend runs.

Plain frozen data, no behaviour beyond shapes and checks. The meaning of each field is
in docs/architecture.md; the bytes are in docs/format.md. Arrays are NumPy, read-only,
and laid out (height, width, channels): neuron ``(y, x, c)`` has index
``(y * width + x) * channels + c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]  # height, width, channels


class Compare(IntEnum):
    """When a membrane fires."""

    GREATER = 0
    GREATER_OR_EQUAL = 1


class Reset(IntEnum):
    """What a spike does to the membrane."""

    NONE = 0
    TO_VALUE = 1
    SUBTRACT = 2


class Rounding(IntEnum):
    """How a decayed membrane becomes an integer. NONE: the membrane does not decay."""

    NONE = 0
    NEAREST = 1  # ties up: floor(v * decay / 2**30 + 1/2)
    FLOOR = 2
    TOWARD_ZERO = 3


class Readout(IntEnum):
    """What the scores of integrate-and-fire neurons are, when they are the output."""

    SPIKES = 0  # spikes in the window
    MEMBRANE = 1  # the membrane now
    GREATEST_MEMBRANE = 2  # the greatest membrane at the end of a tick of the window
    FIRST_SPIKE = 3  # minus the tick of the window in which it first spiked, or NEVER


NEVER = -(1 << 31)  # the score of a neuron that has not spiked yet, where the first spike counts


# ---- neurons ---------------------------------------------------------------


@dataclass(frozen=True)
class LevelInput:
    """Input that keeps integer levels; an event changes one."""

    level_min: int
    level_max: int


@dataclass(frozen=True)
class SpikeInput:
    """Input that passes events on.

    ``budget`` bounds the sum of absolute event values in one tick.
    """

    value_min: int
    value_max: int
    budget: int


@dataclass(frozen=True)
class LevelTable:
    """Any function of a rounded accumulator: the levels of the indices ``index_min``, ``index_min + 1``, ...

    ``levels``: int16 array (rows, indices), one row for all channels or one for each; at most
    65535 indices.
    """

    index_min: int
    levels: NDArray[np.int16]

    @property
    def index_max(self) -> int:
        """The last index."""
        return self.index_min + int(self.levels.shape[1]) - 1


@dataclass(frozen=True)
class Activation:
    """Level ``clip(floor(((U << shift) + step // 2) / step), level_min, level_max)``; sends differences.

    ``step``: int32 array of length channels, or of all neurons, at least 1. ``shift``: 0 to 15,
    so that a level need not be a whole number of accumulator units. With a ``table`` the
    quotient is clipped to its indices instead, and the level is looked up.
    """

    step: NDArray[np.int32]
    level_min: int
    level_max: int
    shift: int = 0
    table: LevelTable | None = None


@dataclass(frozen=True)
class MaxPool:
    """Level: the greatest source level in the window; the level range is the source's."""

    level_min: int
    level_max: int


@dataclass(frozen=True)
class Accumulator:
    """A readout: integrates, never sends."""


@dataclass(frozen=True)
class SynapticCurrent:
    """Input adds to a current, which adds to the membrane each tick and then decays.

    ``decay`` (units of 2**-30) and ``drive``, the current's constant input of a tick: int32
    arrays as long as the neuron's other ones. A decay of 0 makes it the input of the tick.
    """

    decay: NDArray[np.int32]
    drive: NDArray[np.int32]
    rounding: Rounding


@dataclass(frozen=True)
class Adaptation:
    """What a spike adds to the threshold, and what is kept of it in each tick.

    ``decay`` (units of 2**-30) and ``increment``, 0 to 2**30: int32 arrays as long as the
    neuron's other ones.
    """

    decay: NDArray[np.int32]
    increment: NDArray[np.int32]
    rounding: Rounding


@dataclass(frozen=True)
class IntegrateAndFire:
    """IF, LIF and their kin. Parameter arrays: int32 of length channels, or of all neurons.

    ``decay`` is in units of 2**-30 and at most 2**30; ``drive`` is the constant input of
    a tick. ``max_spikes`` is the most spikes one neuron sends in a tick: 1, or more where reset
    subtracts, or 0 for a leaky integrator, which is an output only.

    Only with a ``current``: an ``adaptation`` of the threshold; ``refractory``, the ticks
    after a spike in which the membrane stays as it is (0 to 65535); and ``reset_delayed``: a
    spike resets in the next tick, after its input. The last two exclude each other.
    ``readout`` is SPIKES unless it is the output.
    """

    threshold: NDArray[np.int32]
    decay: NDArray[np.int32]
    drive: NDArray[np.int32]
    reset_value: NDArray[np.int32]
    compare: Compare
    reset: Reset
    rounding: Rounding
    max_spikes: int
    membrane_min: int
    membrane_max: int
    current: SynapticCurrent | None = None
    adaptation: Adaptation | None = None
    refractory: int = 0
    reset_delayed: bool = False
    readout: Readout = Readout.SPIKES

    @property
    def is_driven(self) -> bool:
        """Whether some neuron has a constant input."""
        return bool(self.drive.any()) or (self.current is not None and bool(self.current.drive.any()))

    @property
    def works_every_tick(self) -> bool:
        """Whether even a neuron that nothing reaches has work to do."""
        return self.is_driven or self.readout == Readout.GREATEST_MEMBRANE


Neuron = LevelInput | SpikeInput | Activation | MaxPool | Accumulator | IntegrateAndFire


@dataclass(frozen=True)
class Population:
    """Neurons of one kind.

    ``initial`` is what reset copies: int32 array of ``shape``, accumulators or membranes,
    None for inputs and max pools. ``initial_level``: int32 array of ``shape`` for kinds
    with levels, None otherwise (an event-counting input starts from no events, so its
    initial level is the table's first column).
    ``accumulator_bits`` is 16 or 32, as `narrowest_accumulator` says; 0 where there is none.
    """

    name: str
    shape: Shape
    neuron: Neuron
    initial: NDArray[np.int32] | None = None
    initial_level: NDArray[np.int32] | None = None
    accumulator_bits: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.shape[0] * self.shape[1] * self.shape[2]


# ---- connections -----------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """``weight``: int8 array (source neurons, target neurons); the target is (1, 1, N).

    ``weight_bits``: what a weight takes in a file. 4: weights are -8 to 7. 16: as with 8 they fit
    8 bits, but lie ready for processors that add to two accumulators of 16 bits at once.
    """

    weight: NDArray[np.int8]
    weight_bits: int = 8


@dataclass(frozen=True)
class Convolution:
    """``weight``: int8 array (source channels, kernel height, kernel width, target channels // groups).

    Target channel ``g * (target channels // groups) + k`` belongs to group ``g``, as do
    source channels ``g * (source channels // groups) + j``. ``padding`` is (top, left).
    ``weight_bits``: as in `Dense`.
    """

    weight: NDArray[np.int8]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    weight_bits: int = 8


@dataclass(frozen=True)
class SumPool:
    """Adds up a window, channel by channel."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class OneToOne:
    """Equal shapes; ``weight``: int16 array (channels,)."""

    weight: NDArray[np.int16]
    weight_bits: ClassVar[int] = 16


@dataclass(frozen=True)
class MaxPoolWindow:
    """The window of a max pool population."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


Connection = Dense | Convolution | SumPool | OneToOne | MaxPoolWindow


def narrowest_accumulator(bound: int, channels: int, connections: Iterable[Connection]) -> int:
    """The bits of an activation's accumulators: 16 where they can be, else 32.

    Two of 16 bits share a word, with which one multiplication adds to both (docs/format.md). So
    channels must be even in number, and 8-bit weights at least -127.

    Args:
        bound: greatest absolute value that an accumulator must hold.
        connections: all that end in the population.
    """
    weights = [c for c in connections if isinstance(c, Dense | Convolution)]
    fits = bound < 1 << 15 and channels % 2 == 0
    for connection in weights:
        if connection.weight_bits == 4:
            fits = fits and connection.weight.shape[-1] % 2 == 0
        else:
            fits = fits and int(connection.weight.min(initial=0)) >= -127
    return 16 if fits else 32


@dataclass(frozen=True)
class Projection:
    """A connection from one population to another, both by number.

    An event of tick t is integrated at tick t + ``delay`` (0 to 255): 0 only where it leads to a
    later population, so that every loop takes time.

    An event of value ``p`` adds ``(weight * p) << shift`` to a target. ``shift`` is 0 to
    15, and 0 unless the target integrates and fires: it gives membranes that decay the
    fractional bits that int8 weights have not.
    """

    source: int
    target: int
    connection: Connection
    shift: int = 0
    delay: int = 0


# ---- input, self-test, graph -----------------------------------------------


@dataclass(frozen=True)
class EventCounts:
    """Front end that counts sensor events into levels.

    ``table``: int16 array (slices * polarities, saturation + 1), the level of a count.
    ``polarities``: 1 counts both together, 2 apart. A window is ``slices`` slices of
    ``slice_ticks`` ticks.
    """

    polarities: int
    slices: int
    slice_ticks: int
    saturation: int
    table: NDArray[np.int16]


@dataclass(frozen=True)
class EarlyExit:
    """When the scores decide a window before it ends.

    After each ``every`` ticks of the window, from the ``first`` such look on: as soon as the best
    score is at least ``margin`` (1 or more) ahead of the second.
    """

    margin: int
    every: int = 1
    first: int = 1


@dataclass(frozen=True)
class InputSpec:
    """Ticks, windows and the event front end. ``window_ticks`` 0: samples end from outside."""

    tick_us: int = 1
    window_ticks: int = 0
    event_counts: EventCounts | None = None
    early_exit: EarlyExit | None = None


@dataclass(frozen=True)
class SelfTest:
    """Events (dtype ``CORE_EVENT``) and the CRC-32 of the scores they must give."""

    events: NDArray[Any]
    digest: int


# The core's es_event: tick, then the input neuron (or sensor pixel and polarity), then the value.
CORE_EVENT = np.dtype([("tick", "<u4"), ("x", "<u2"), ("y", "<u2"), ("channel", "<u2"), ("value", "<i2")])


@dataclass(frozen=True)
class Graph:
    """A network: populations in the order of evaluation, projections sorted by (source, target).

    The first population is the input, the last one the output. ``metadata`` is JSON for
    hosts (docs/metadata.md); ``source_hash`` is the SHA-256 of the imported file.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    input: InputSpec = field(default_factory=InputSpec)
    metadata: dict[str, Any] = field(default_factory=dict)
    source_hash: bytes = bytes(32)
    self_test: SelfTest | None = None

    def incoming(self, population: int) -> list[Projection]:
        """Projections that end in a population."""
        return [projection for projection in self.projections if projection.target == population]

    def outgoing(self, population: int) -> list[Projection]:
        """Projections that leave a population."""
        return [projection for projection in self.projections if projection.source == population]

    @property
    def is_spiking(self) -> bool:
        """Whether any population integrates and fires."""
        return any(isinstance(p.neuron, IntegrateAndFire) for p in self.populations)
