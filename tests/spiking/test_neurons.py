"""What integrate-and-fire neurons can have, tick by tick, on the reference and the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike import _core
from edgespike.graph import (
    CORE_EVENT,
    NEVER,
    Adaptation,
    Compare,
    Dense,
    Graph,
    InputSpec,
    IntegrateAndFire,
    OneToOne,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    SpikeInput,
    SynapticCurrent,
)
from edgespike.modelfile import decode_model, encode_model
from edgespike.reference import ReferenceNetwork

ONE = 1 << 30
HALF = 1 << 29
Make = Callable[[Graph], Any]
BACKENDS: dict[str, Make] = {
    "reference": ReferenceNetwork,
    "core": lambda graph: _core.Network(_core.Model(encode_model(graph))),
}


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def array(value: int) -> NDArray[np.int32]:
    return np.array([value], np.int32)


def current(decay: int, drive: int = 0, rounding: Rounding = Rounding.TOWARD_ZERO) -> SynapticCurrent:
    return SynapticCurrent(array(decay), array(drive), rounding)


def adaptation(decay: int, increment: int) -> Adaptation:
    return Adaptation(array(decay), array(increment), Rounding.TOWARD_ZERO)


def neuron(**settings: Any) -> IntegrateAndFire:
    values: dict[str, Any] = {
        "threshold": 1000,
        "decay": ONE,
        "drive": 0,
        "reset_value": 0,
        "compare": Compare.GREATER_OR_EQUAL,
        "reset": Reset.SUBTRACT,
        "rounding": Rounding.TOWARD_ZERO,
        "max_spikes": 1,
        "membrane_min": -ONE,
        "membrane_max": ONE,
    } | settings
    for name in ("threshold", "decay", "drive", "reset_value"):
        values[name] = array(values[name])
    return IntegrateAndFire(**values)


def graph_of(*neurons: IntegrateAndFire, loops: tuple[Projection, ...] = (), delay: int = 0) -> Graph:
    """A row of single neurons. The input's value counts 100 in the first; a spike 1000 in each next one."""
    one = (1, 1, 1)
    populations = [Population("in", one, SpikeInput(-1000, 1000, 1000))]
    projections = list(loops)
    for number, each in enumerate(neurons, start=1):
        zero = np.zeros(one, np.int32)
        populations.append(Population(str(number), one, each, zero, None, 32))
        weight = OneToOne(np.array([100 if number == 1 else 1000], np.int16))
        projections.append(Projection(number - 1, number, weight, delay=delay if number == 1 else 0))
    projections.sort(key=lambda p: (p.source, p.target))
    return Graph(tuple(populations), tuple(projections), InputSpec(1, 0))


def push(network: Any, *rows: tuple[int, int]) -> None:
    """Rows of tick and value."""
    network.push(np.array([(tick, 0, 0, 0, value) for tick, value in rows], CORE_EVENT))


def membranes(network: Any, ticks: int, inputs: dict[int, int], population: int = 1) -> list[int]:
    """The membrane of a population's only neuron after each tick."""
    seen = []
    for tick in range(ticks):
        if tick in inputs:
            push(network, (tick, inputs[tick]))
        network.advance(tick + 1)
        seen.append(int(network.state(population)[0]))
    return seen


def test_a_current_adds_up_while_it_decays(make: Make) -> None:
    network = make(graph_of(neuron(current=current(HALF), threshold=ONE)))
    assert membranes(network, 12, {0: 2, 3: -1}) == [
        200,
        300,
        350,
        275,
        238,
        220,
        211,
        207,
        205,
        204,
        204,
        204,
    ]


def test_the_membrane_leaks_before_the_current_is_added(make: Make) -> None:
    network = make(graph_of(neuron(current=current(HALF), decay=HALF, threshold=ONE)))
    assert membranes(network, 5, {0: 4}) == [400, 400, 300, 200, 125]


def test_silence_under_a_current_is_as_ticks_one_by_one(make: Make) -> None:
    graph = graph_of(neuron(current=current(ONE * 9 // 10), decay=ONE * 99 // 100, threshold=ONE))
    step_by_step, at_once = make(graph), make(graph)
    expected = membranes(step_by_step, 300, {0: 9})[-1]
    push(at_once, (0, 9))
    at_once.advance(300)
    assert at_once.state(1).tolist() == [expected]
    assert 0 < expected < 900


def test_a_driven_current_never_rests(make: Make) -> None:
    network = make(graph_of(neuron(current=current(HALF, drive=8), decay=0, threshold=ONE)))
    assert membranes(network, 5, {}) == [8, 12, 14, 15, 15]


def test_refractory_neurons_hold_their_membrane(make: Make) -> None:
    """Input of the three ticks after the spike is lost."""
    network = make(
        graph_of(neuron(current=current(0), refractory=3, reset=Reset.TO_VALUE, reset_value=-50, decay=HALF))
    )
    inputs = {0: 10, 1: 10, 2: 10, 3: 10, 4: 4, 6: 10}
    assert membranes(network, 7, inputs) == [-50, -50, -50, -50, 375, 187, -50]
    assert network.output().tolist() == [2]


def test_a_delayed_reset_subtracts_after_the_leak(make: Make) -> None:
    """v(t) = v(t-1) / 2 + I(t) - threshold * s(t-1), as snnTorch's Leaky with its reset_delay."""
    network = make(graph_of(neuron(current=current(0), reset_delayed=True, decay=HALF)))
    assert membranes(network, 5, {0: 16, 1: 9, 2: 11}) == [1600, 1600 // 2 + 900 - 1000, 1450, -275, -137]
    assert network.output().tolist() == [2]


def test_a_delayed_reset_to_a_value_loses_the_input_of_its_tick(make: Make) -> None:
    network = make(graph_of(neuron(current=current(0), reset_delayed=True, reset=Reset.TO_VALUE)))
    assert membranes(network, 4, {0: 12, 1: 30, 2: 4}) == [1200, 0, 400, 400]
    assert network.output().tolist() == [1]


def test_spikes_raise_an_adaptive_threshold(make: Make) -> None:
    """The threshold is 1000, then 1000 + 800, and comes back by halves."""
    network = make(
        graph_of(neuron(current=current(0), adaptation=adaptation(HALF, 1600), reset=Reset.TO_VALUE))
    )
    # 1000 fires; 1800 needed at tick 1; 1400 at tick 2: 1399 stays, and fires when 1200 would do
    assert membranes(network, 4, {0: 10, 1: 13, 2: 0, 3: 0}) == [0, 1300, 1300, 0]
    assert network.output().tolist() == [2]


def test_the_threshold_with_adaptation_stays_within_32_bits(make: Make) -> None:
    graph = graph_of(
        neuron(current=current(0), adaptation=adaptation(ONE, ONE), reset=Reset.NONE, threshold=1, drive=5)
    )
    network = make(graph)
    network.advance(50)
    assert network.output().tolist() == [1]


def test_a_loop_takes_a_tick(make: Make) -> None:
    """A spike excites its own neuron in the next tick, for ever."""
    loop = Projection(1, 1, Dense(np.array([[100]], np.int8)), 4, 1)
    network = make(graph_of(neuron(), loops=(loop,)))
    push(network, (0, 10))
    network.advance(100)
    # 1600 come back for each 1000 spent: the first at tick 1
    assert network.output().tolist() == [100]
    assert network.state(1).tolist() == [99 * 600]
    assert network.stats()["populations"][1] == {"events": 100, "synops": 100}


@pytest.mark.parametrize("delay", [1, 2, 3, 254, 255])
def test_a_delay_in_ticks(make: Make, delay: int) -> None:
    network = make(graph_of(neuron(decay=HALF), delay=delay))
    expected = [0] * (3 + delay) + [900, 450, 425, 212]
    seen = membranes(network, len(expected), {3: 9, 5: 2})
    assert seen == expected


def test_what_is_under_way_ends_with_its_window(make: Make) -> None:
    graph = graph_of(neuron(), delay=4)
    graph = Graph(graph.populations, graph.projections, InputSpec(1, 5))
    network = make(graph)
    push(network, (0, 3), (1, 4))
    assert network.advance(6)
    assert network.state(1).tolist() == [300]
    network.advance(7)
    assert network.state(1).tolist() == [0]


def test_delays_across_the_end_of_the_tick_numbers(make: Make) -> None:
    network = make(graph_of(neuron(decay=HALF), delay=5))
    for tick in (1 << 31) - 1, (1 << 32) - 2:
        network.advance(tick)
    push(network, ((1 << 32) - 2, 8))
    network.advance(3)
    assert network.state(1).tolist() == [0]
    network.advance(4)
    assert network.state(1).tolist() == [800]


def test_a_loop_through_an_earlier_population(make: Make) -> None:
    """The second neuron stops the first: its spike of tick 0 takes away 2000 in tick 2."""
    loop = Projection(2, 1, OneToOne(np.array([-2000], np.int16)), delay=2)
    network = make(graph_of(neuron(), neuron(), loops=(loop,)))
    assert membranes(network, 4, {0: 10, 1: 9, 2: 8}) == [0, 900, -300, -300]
    assert network.output().tolist() == [1]


def test_a_leaky_integrator_reads_its_membrane(make: Make) -> None:
    leaky = neuron(max_spikes=0, decay=HALF, readout=Readout.MEMBRANE)
    network = make(graph_of(leaky))
    push(network, (0, 80))
    network.advance(2)
    assert network.output().tolist() == [4000]
    push(network, (2, -90))
    network.finish()
    assert network.output().tolist() == [-7000]


def test_the_greatest_membrane_of_a_window(make: Make) -> None:
    leaky = neuron(max_spikes=0, decay=HALF, readout=Readout.GREATEST_MEMBRANE)
    graph = graph_of(leaky)
    graph = Graph(graph.populations, graph.projections, InputSpec(1, 10))
    network = make(graph)
    push(network, (0, -80), (1, 30), (3, -90))
    assert network.advance(11)  # -8000, -1000, -500, -9250, -4625, ...: above -500 again by leaking
    assert network.output().tolist() == [-(9250 >> 6)]
    push(network, (11, 30), (12, 10))
    assert network.advance(21)
    assert network.output().tolist() == [3000]
    network.finish()
    assert network.output().tolist() == [0]


def test_the_first_spike_of_a_window(make: Make) -> None:
    """Minus its tick in the window; later ones change nothing, and the next window begins anew."""
    graph = graph_of(neuron(readout=Readout.FIRST_SPIKE, max_spikes=3))
    graph = Graph(graph.populations, graph.projections, InputSpec(1, 10))
    network = make(graph)
    assert network.output().tolist() == [NEVER]
    push(network, (2, 9), (4, 1))
    assert network.output().tolist() == [NEVER]
    network.advance(5)
    assert network.output().tolist() == [-4]
    push(network, (6, 30))
    assert network.advance(11)
    assert network.output().tolist() == [-4]
    push(network, (10, 10))
    assert network.advance(20)
    assert network.output().tolist() == [0]
    network.advance(21)
    assert network.output().tolist() == [NEVER]


def test_a_first_spike_after_very_long(make: Make) -> None:
    network = make(graph_of(neuron(readout=Readout.FIRST_SPIKE)))
    for tick in (1 << 31) - 1, (1 << 31) + 5:
        network.advance(tick)
    push(network, ((1 << 31) + 5, 10))
    network.finish()
    assert network.output().tolist() == [NEVER + 1]


def test_no_ticks_no_greatest_membrane(make: Make) -> None:
    leaky = neuron(max_spikes=0, readout=Readout.GREATEST_MEMBRANE, membrane_min=-77)
    assert make(graph_of(leaky)).output().tolist() == [-77]


def test_a_model_file_keeps_everything() -> None:
    full = neuron(
        current=current(HALF, 3, Rounding.FLOOR),
        adaptation=adaptation(HALF, 7),
        refractory=65535,
        readout=Readout.MEMBRANE,
    )
    loop = Projection(1, 1, Dense(np.array([[1]], np.int8)), 2, 255)
    graph = graph_of(full, loops=(loop,))
    again = decode_model(encode_model(graph))
    assert encode_model(again) == encode_model(graph)
    assert again.projections[1].delay == 255
    kept = again.populations[1].neuron
    assert isinstance(kept, IntegrateAndFire) and kept.current and kept.adaptation
    assert (kept.refractory, kept.readout, kept.reset_delayed) == (65535, Readout.MEMBRANE, False)
    assert (kept.current.drive.tolist(), kept.current.rounding) == ([3], Rounding.FLOOR)
    assert kept.adaptation.increment.tolist() == [7]
