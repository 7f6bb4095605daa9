"""Integer units for spiking populations: weights, thresholds, and the proof that int32 holds them.

Every target channel has a unit of its own, such that its greatest weight is 127 units, or, where
weights have 4 bits, the one with the least squared error when greater weights than 7 are clipped;
membranes live in that unit divided by 2**shift. An event of value p adds ``(q * p) << shift``.
Thresholds, drives and reset values are rounded to whole steps; the gain of a neuron is
divided out of them, so it costs nothing and may differ from neuron to neuron. The shift is
the smallest with which all rounding together moves no membrane by more than 2**-14 of its
threshold, or the greatest that the proof allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.discretise import Adapting, Dynamics, Profile, discretise, readout_of
from edgespike.convert.rounding import LIMITS, ONE_TO_ONE_LIMIT, clipped_units
from edgespike.errors import BudgetError, UnsupportedError
from edgespike.graph import (
    Adaptation,
    Compare,
    Connection,
    Convolution,
    Dense,
    IntegrateAndFire,
    OneToOne,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    SumPool,
    SynapticCurrent,
)
from edgespike.importers import network as real
from edgespike.importers.spiking_network import FloatNetwork, FloatPopulation, FloatProjection, Map, scaled
from edgespike.importers.spiking_network import SumPool as RealSumPool

__all__ = ["DECAY_ONE", "MOST_EVENTS", "QuantizedPopulation", "quantize_network"]

Array = NDArray[np.float64]
ERROR_BITS = 14  # wanted: rounding moves a membrane by less than 2**-14 of its threshold
LONG_TICKS = 1024  # over which errors of a neuron that does not leak, or hardly, are added up
PARAMETER_BITS = 26  # no threshold, drive or reset value is wider
INPUT_BITS = 30  # the proof: no tick's input is wider
DECAY_ONE = 1 << 30
MOST_EVENTS = 32767  # an event's value is an int16
READOUTS = {
    "spikes": Readout.SPIKES,
    "first": Readout.FIRST_SPIKE,
    "membrane": Readout.MEMBRANE,
    "greatest": Readout.GREATEST_MEMBRANE,
}


@dataclass(frozen=True)
class Sent:
    """What a population's events are: real value of 1, the most in one tick, and their sign."""

    scale: float
    by_one: int
    by_all: int
    signed: bool = False


@dataclass(frozen=True)
class QuantizedPopulation:
    """A population with its incoming projections.

    ``unit``: real membrane of one integer step, by channel. ``bound``: greatest absolute
    input of one tick, drive included.
    """

    population: Population
    projections: list[Projection]
    sent: Sent
    unit: Array
    bound: int


def quantize_network(
    network: FloatNetwork, profile: Profile, source: Sent, bits: tuple[int, ...]
) -> list[QuantizedPopulation]:
    """Quantize all populations but the input, in order.

    ``source`` is what the input sends, ``bits`` the weight bits of what ends in each population.

    Raises:
        UnsupportedError: a sum pool of values that may be negative.
        BudgetError: a population whose input no int32 can hold.
    """
    sent = [source]
    pools: dict[int, QuantizedPopulation] = {}
    for number, population in enumerate(network.populations[1:], start=1):
        if population.neuron is None:
            pools[number] = _quantize_pool(population, network.incoming(number), sent, profile)
            if number == len(network.populations) - 1:
                pools[number] = _read(pools[number], READOUTS[readout_of(population, profile)])
        dynamics = discretise(population, profile)
        # neurons send whole numbers, whatever they get: a loop may come back from a later one
        sent.append(pools[number].sent if dynamics is None else _spikes(population, dynamics))
    quantized = []
    last = len(network.populations) - 1
    for number, population in enumerate(network.populations[1:], start=1):
        dynamics = discretise(population, profile)
        if dynamics is None:
            quantized.append(pools[number])
        else:
            incoming = network.incoming(number)
            readout = READOUTS[readout_of(population, profile)] if number == last else Readout.SPIKES
            quantized.append(
                _quantize_neurons(population, dynamics, profile, readout, incoming, sent, bits[number])
            )
    return quantized


def _spikes(population: FloatPopulation, dynamics: Dynamics) -> Sent:
    most = dynamics.firing.max_spikes
    return Sent(1.0, most, most * math.prod(population.shape))


def _quantize_pool(
    population: FloatPopulation, incoming: list[FloatProjection], sent: list[Sent], profile: Profile
) -> QuantizedPopulation:
    """A sum pool: neurons that send what arrived in the tick, as one event, and keep nothing."""
    scales = {sent[projection.source].scale for projection in incoming}
    signed = any(sent[projection.source].signed for projection in incoming)
    if signed or len(scales) > 1:
        raise UnsupportedError(
            f"node {population.name!r}: a sum pool of {'signed' if signed else 'differently scaled'} values",
            "put a weighted node or a neuron before it",
        )
    by_one = by_all = 0
    projections = []
    for projection in incoming:
        pool = projection.map
        assert isinstance(pool, RealSumPool)
        source = sent[projection.source]
        overlap = math.prod(-(-k // s) for k, s in zip(pool.kernel, pool.stride, strict=True))
        by_one += min(math.prod(pool.kernel) * source.by_one, source.by_all)
        by_all += overlap * source.by_all
        connection = SumPool(pool.kernel, pool.stride, pool.padding)
        delay = profile.ticks(projection, population)
        projections.append(Projection(projection.source, projection.target, connection, 0, delay))
    if by_one > MOST_EVENTS:
        raise BudgetError(
            f"node {population.name!r} may have to send {by_one} in one tick, more than {MOST_EVENTS}",
            "use smaller pools",
        )
    one, zero = np.ones(population.shape[2], np.int32), np.zeros(population.shape[2], np.int32)
    neuron = IntegrateAndFire(
        threshold=one,
        decay=one * DECAY_ONE,
        drive=zero,
        reset_value=zero,
        compare=Compare.GREATER_OR_EQUAL,
        reset=Reset.SUBTRACT,
        rounding=Rounding.NONE,
        max_spikes=by_one,
        membrane_min=0,
        membrane_max=by_one,
    )
    scale = scales.pop()
    return QuantizedPopulation(
        _population(population, neuron, np.zeros(population.shape, np.int32)),
        projections,
        Sent(scale, by_one, by_all),
        np.full(population.shape[2], scale),
        by_one,
    )


def _quantize_neurons(
    population: FloatPopulation,
    dynamics: Dynamics,
    profile: Profile,
    readout: Readout,
    incoming: list[FloatProjection],
    sent: list[Sent],
    bits: int,
) -> QuantizedPopulation:
    compared = readout in (Readout.MEMBRANE, Readout.GREATEST_MEMBRANE)
    if compared:
        population, dynamics, incoming = _in_real_units(population, dynamics, incoming)
    firing = dynamics.firing
    sources = [sent[projection.source] for projection in incoming]
    weights = [_matrix(p.map, population.shape[2]) * s.scale for p, s in zip(incoming, sources, strict=True)]
    limits = [ONE_TO_ONE_LIMIT if isinstance(p.map, real.Scale) else LIMITS[bits] for p in incoming]
    shift, unit, whole, shifts = _choose_shift(population, dynamics, compared, weights, sources, limits)

    def in_units(values: Array) -> Array:
        return np.floor(values / unit * 2.0**shift + 0.5)

    adapting = dynamics.adapting or Adapting(np.zeros(population.shape), np.zeros(population.shape))
    parameters = {
        "threshold": np.maximum(in_units(dynamics.threshold), 1),
        "decay": _q30(dynamics.decay) if dynamics.decay is not None else np.full(population.shape, DECAY_ONE),
        "drive": in_units(dynamics.drive),
        "reset_value": in_units(dynamics.reset_value),
        "current_decay": _q30(
            np.zeros(population.shape) if dynamics.current_decay is None else dynamics.current_decay
        ),
        "current_drive": in_units(dynamics.current_drive),
        "adaptation_decay": _q30(adapting.decay),
        "adaptation_increment": in_units(adapting.increment),
    }
    by_channel = all((array == array[:1, :1]).all() for array in parameters.values())
    stored = {
        name: (array[0, 0] if by_channel else array.reshape(-1)).astype(np.int32)
        for name, array in parameters.items()
    }
    bound = math.ceil(
        (_tick_input(whole, sources, shifts) + np.abs(parameters["current_drive"]).max())
        * _amplification(dynamics)
        + np.abs(parameters["drive"]).max()
    )
    room = (1 << 31) - 1 - bound
    neuron = IntegrateAndFire(
        threshold=stored["threshold"],
        decay=stored["decay"],
        drive=stored["drive"],
        reset_value=stored["reset_value"],
        compare=Compare.GREATER if firing.compare == "gt" else Compare.GREATER_OR_EQUAL,
        reset=Reset.NONE
        if firing.reset == "none"
        else (Reset.SUBTRACT if firing.subtracts else Reset.TO_VALUE),
        rounding=Rounding.NONE if dynamics.decay is None else Rounding.NEAREST,
        max_spikes=firing.max_spikes if dynamics.fires else 0,
        membrane_min=-room,
        membrane_max=room,
        # towards zero: a current that nothing feeds comes to rest
        current=SynapticCurrent(stored["current_decay"], stored["current_drive"], Rounding.TOWARD_ZERO)
        if dynamics.current_decay is not None or firing.delayed or dynamics.adapting
        else None,
        adaptation=Adaptation(
            stored["adaptation_decay"], stored["adaptation_increment"], Rounding.TOWARD_ZERO
        )
        if dynamics.adapting
        else None,
        reset_delayed=firing.delayed,
        readout=readout,
    )
    projections = [
        Projection(p.source, p.target, _connection(p.map, q, bits), own, profile.ticks(p, population))
        for p, q, own in zip(incoming, whole, shifts, strict=True)
    ]
    real_unit = unit / 2.0**shift * dynamics.gain.max(axis=(0, 1))
    return QuantizedPopulation(
        _population(population, neuron, in_units(dynamics.initial).astype(np.int32)),
        projections,
        _spikes(population, dynamics),
        real_unit,
        bound,
    )


def _read(pool: QuantizedPopulation, readout: Readout) -> QuantizedPopulation:
    """The copy of an output that other populations take."""
    neuron = pool.population.neuron
    assert isinstance(neuron, IntegrateAndFire)
    return replace(pool, population=replace(pool.population, neuron=replace(neuron, readout=readout)))


def _in_real_units(
    population: FloatPopulation, dynamics: Dynamics, incoming: list[FloatProjection]
) -> tuple[FloatPopulation, Dynamics, list[FloatProjection]]:
    """An output whose membranes are compared with each other: the gain goes into the weights."""
    gain = dynamics.gain[0, 0]
    if (dynamics.gain != gain).any():
        raise UnsupportedError(
            f"node {population.name!r}: the gains of a readout differ within a channel",
            "give all its neurons the same r",
        )
    return (
        population,
        replace(
            dynamics,
            drive=dynamics.drive * gain,
            initial=dynamics.initial * gain,
            current_drive=dynamics.current_drive * gain,
            threshold=dynamics.threshold * gain,
            reset_value=dynamics.reset_value * gain,
            gain=np.ones_like(dynamics.gain),
        ),
        [replace(p, map=scaled(p.map, gain)) for p in incoming],
    )


def _amplification(dynamics: Dynamics) -> float:
    """How many times the input of a tick a current can become: the sum of what is left of each."""
    if dynamics.current_decay is None:
        return 1.0
    return 1.0 / max(1.0 - float(dynamics.current_decay.max()), 2.0**-30)


def _choose_shift(
    population: FloatPopulation,
    dynamics: Dynamics,
    compared: bool,
    weights: list[Array],
    sources: list[Sent],
    limits: list[int],
) -> tuple[int, Array, list[Array], list[int]]:
    """The shift, the unit of each channel before it, and by projection integer weights and their shift.

    A projection whose weights are all small, as those of real currents are beside those of spikes,
    has them in a finer unit, by a power of two, and a shift that is smaller by as much. The unit is
    the same for all channels where their membranes are ``compared`` with each other.

    Where a channel's parameters would need more than PARAMETER_BITS, its unit grows, and
    its weights use less than 127.
    """
    largest = np.max([np.abs(matrix).max(axis=0) for matrix in weights], axis=0)
    if compared:
        largest = np.full_like(largest, largest.max())
    finer = [_finer(matrix, largest) for matrix in weights]
    least = _least_unit([matrix * 2.0**power for matrix, power in zip(weights, finer, strict=True)], limits)
    if compared:
        least = np.full_like(least, least.max())
    constants = [dynamics.drive, dynamics.current_drive, dynamics.reset_value, dynamics.initial]
    if dynamics.adapting:
        constants.append(dynamics.adapting.increment)
    sides = (dynamics.threshold, *(np.abs(constant) for constant in constants))
    widest = np.max([side.max(axis=(0, 1)) for side in sides], axis=0)
    if compared:
        widest = np.full_like(widest, widest.max())
    needed = _rounding(dynamics) * 2.0**ERROR_BITS
    chosen = None
    for shift in range(16):
        unit = np.maximum(least, widest * 2.0 ** (shift - PARAMETER_BITS))
        powers = [min(power, shift) for power in finer]
        whole = [
            rounded(matrix / unit * 2.0**power, limit)
            for matrix, power, limit in zip(weights, powers, limits, strict=True)
        ]
        shifts = [shift - power for power in powers]
        if _tick_input(whole, sources, shifts) * _amplification(dynamics) > 1 << INPUT_BITS:
            break
        chosen = shift, unit, whole, shifts
        if shift >= max(finer) and (dynamics.threshold / unit * 2.0**shift >= needed).all():
            break
    if chosen is None:
        raise BudgetError(
            f"node {population.name!r}: the input of one tick may not fit 32 bits",
            "use fewer inputs to a neuron, or calibration data with smaller values",
        )
    return chosen


def rounded(values: Array, limit: int) -> Array:
    """Whole numbers up to ``limit`` near values (weights, targets), nearest but for the sum of each target's.

    Neurons that lead to the same one tend to spike together, so errors of one sign would add up:
    where they do, those that are nearest to it go the other way. None is off by a whole number then.
    """
    whole = np.clip(np.floor(values + 0.5), -limit, limit)
    missing = values - whole
    total = missing.sum(axis=0)
    toward = missing * np.sign(total)
    rank = np.argsort(np.argsort(-toward, axis=0, kind="stable"), axis=0)
    moved = (rank < np.ceil(np.abs(total) - 0.5)) & (toward > 0)
    return np.asarray(np.clip(whole + moved * np.sign(total), -limit, limit))


def _finer(matrix: Array, largest: Array) -> int:
    """With which power of two a projection's weights, multiplied, are still no larger than these."""
    own = np.abs(matrix).max(axis=0)
    if not own.any():
        return 0
    return min(int(np.log2(largest[own > 0] / own[own > 0]).min() + 1e-9), 15)


def _least_unit(weights: list[Array], limits: list[int]) -> Array:
    """By channel, the unit of which 127 are the greatest weight; with 4 bits, the best to clip at 7."""
    few = [matrix for matrix, limit in zip(weights, limits, strict=True) if limit == LIMITS[4]]
    if few:
        together = np.concatenate(few)[None]
        return np.asarray(clipped_units(together, np.ones(together.shape[:2]), LIMITS[4])[0])
    return np.asarray(np.max([np.abs(matrix).max(axis=0) for matrix in weights], axis=0) / LIMITS[8])


def _rounding(dynamics: Dynamics) -> Array:
    """How far rounding can move a membrane, and its threshold, in steps.

    Half a step for the threshold; half a step each tick for a decay, for a drive, and for a
    threshold that is subtracted, of which a neuron that keeps d of its membrane remembers
    1 / (1 - d).
    """
    forgets = np.zeros_like(dynamics.drive) if dynamics.decay is None else 1 - dynamics.decay
    sources = (dynamics.drive != 0) + float(dynamics.decay is not None) + float(dynamics.firing.subtracts)
    result: Array = 0.5 * sources
    if dynamics.current_decay is not None:  # its decay is rounded towards zero, its drive to nearest
        lost = 1.0 + 0.5 * (dynamics.current_drive != 0)
        result = result + lost / np.maximum(1 - dynamics.current_decay, 1 / LONG_TICKS)
    threshold = np.full_like(result, 0.5)
    if dynamics.adapting:  # likewise, and its increment to nearest
        threshold = threshold + 1.5 / np.maximum(1 - dynamics.adapting.decay, 1 / LONG_TICKS)
    return np.asarray(threshold + result / np.maximum(forgets, 1 / LONG_TICKS))


def _tick_input(whole: list[Array], sources: list[Sent], shifts: list[int]) -> int:
    """The greatest absolute input of a neuron in one tick."""
    total = np.zeros(whole[0].shape[1])
    for matrix, source, shift in zip(whole, sources, shifts, strict=True):
        magnitude = np.abs(matrix) * 2.0**shift
        by_neuron, by_budget = magnitude.sum(axis=0) * source.by_one, magnitude.max(axis=0) * source.by_all
        total = total + np.minimum(by_neuron, by_budget)
    return int(total.max())


def _matrix(linear: Map, channels: int) -> Array:
    """A map's weights as (weights that reach one neuron, target channels)."""
    if isinstance(linear, real.Dense):
        return linear.weight
    if isinstance(linear, real.Convolution):
        grouped = linear.weight.reshape(linear.groups, -1, channels // linear.groups)
        return grouped.transpose(1, 0, 2).reshape(-1, channels)
    assert isinstance(linear, real.Scale)
    return linear.weight[None]


def _connection(linear: Map, whole: Array, bits: int) -> Connection:
    """The integer connection of a map whose quantized weights are laid out as `_matrix` does."""
    if isinstance(linear, real.Dense):
        return Dense(whole.astype(np.int8), bits)
    if isinstance(linear, real.Convolution):
        grouped = whole.reshape(len(whole), linear.groups, -1).transpose(1, 0, 2)
        weight = grouped.reshape(linear.weight.shape).astype(np.int8)
        return Convolution(weight, linear.stride, linear.dilation, linear.padding, linear.groups, bits)
    return OneToOne(whole[0].astype(np.int16))


def _q30(decay: Array) -> Array:
    return np.floor(decay * DECAY_ONE + 0.5)


def _population(
    population: FloatPopulation, neuron: IntegrateAndFire, initial: NDArray[np.int32]
) -> Population:
    return Population(
        population.name,
        population.shape,
        neuron,
        initial=initial,
        accumulator_bits=32,
    )
