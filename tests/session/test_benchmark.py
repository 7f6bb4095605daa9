"""What is timed is the same computation as elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from random_graphs import random_graph

from edgespike import _core
from edgespike.benchmark import can_be_cut, classify, cut_behind, random_stimuli, run_in_turns
from edgespike.graph import Graph
from edgespike.modelfile import encode_model


def graphs() -> list[Graph]:
    return [
        random_graph(np.random.default_rng(seed), spiking=spiking)
        for seed in range(15)
        for spiking in (False, True)
    ]


def test_some_of_these_graphs_can_be_cut() -> None:
    assert 5 <= sum(map(can_be_cut, graphs())) < len(graphs())


@pytest.mark.parametrize("graph", graphs(), ids=lambda graph: "")
def test_random_input_is_accepted_and_cut_graphs_do_the_same_work(graph: Graph) -> None:
    network = _core.Network(_core.Model(encode_model(graph)))
    stimuli = random_stimuli(graph)
    for stimulus in stimuli:
        classify(network, stimulus)
    assert network.stats()["input_events"] == sum(len(stimulus.events) for stimulus in stimuli) > 0
    whole = network.stats()["populations"]
    for number in range(1, len(graph.populations) if can_be_cut(graph) else 1):
        part = _core.Network(_core.Model(encode_model(cut_behind(graph, number))))
        for stimulus in stimuli:
            classify(part, stimulus)
        kept = part.stats()["populations"]
        assert [row["events"] for row in kept[:number]] == [row["events"] for row in whole[:number]]


def test_everything_has_its_turn() -> None:
    seen: list[tuple[str, int]] = []
    times = run_in_turns([lambda n: seen.append(("a", n)), lambda n: seen.append(("b", n))], [1, 2], 0.0)
    assert seen == [(way, n) for way in "ab" for n in (1, 2)] + [(way, n) for n in (1, 2) for way in "ab"]
    assert [len(each) for each in times] == [2, 2]
