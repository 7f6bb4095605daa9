"""Scores, levels and event counts are the same bits in every backend, on trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgespike import InferenceSession
from edgespike.convert import convert_onnx, load_calibration
from edgespike.data import DEMO_EVENTS, demo_calibration, demo_network, demo_recordings
from edgespike.graph import Graph
from edgespike.modelfile import encode_model

SAMPLES = 50


@pytest.fixture(scope="module")
def images(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Any]:
    """A convolutional network of the ONNX model zoo's kind, and digits."""
    digits = np.load(data_folder / "mnist.npz")
    calibration = tmp_path_factory.mktemp("calibration") / "digits.npz"
    np.savez(calibration, x=digits["x_train"][:200, None].astype(np.float32) / 255)
    graph, _ = convert_onnx(data_folder / "onnx" / "lenet5.onnx", load_calibration(calibration), levels=15)
    return graph, digits["x_test"][:SAMPLES, None].astype(np.float32) / 255


@pytest.fixture(scope="module")
def recordings() -> tuple[Graph, Any]:
    """The demo network, whose event counts are made event by event."""
    graph, _ = convert_onnx(demo_network(), load_calibration(demo_calibration()), events=DEMO_EVENTS)
    return graph, [recording.read() for recording in demo_recordings()[:SAMPLES]]


def work_of(session: InferenceSession) -> Any:
    """Events and synaptic operations, by population."""
    stats = session.stats()
    return stats["input_events"], [(row["events"], row["synops"]) for row in stats["populations"]]


def image_bits(session: InferenceSession, samples: Any) -> Any:
    return session.scores(samples).tolist(), work_of(session)


def event_bits(session: InferenceSession, samples: Any) -> Any:
    return [session.classify(events).scores.tolist() for events in samples], work_of(session)


@pytest.mark.parametrize("port", ["emulated", "qemu"])
def test_images_on_a_board(images: tuple[Graph, Any], port: str, request: pytest.FixtureRequest) -> None:
    graph, samples = images
    expected = image_bits(InferenceSession(graph, "reference"), samples)
    assert image_bits(InferenceSession(graph), samples) == expected
    with InferenceSession(graph, "device", port=port_of(port, request)) as board:
        assert image_bits(board, samples) == expected


@pytest.mark.parametrize("port", ["emulated", "qemu"])
def test_events_on_a_board(recordings: tuple[Graph, Any], port: str, request: pytest.FixtureRequest) -> None:
    graph, samples = recordings
    expected = event_bits(InferenceSession(graph, "reference"), samples)
    assert event_bits(InferenceSession(graph), samples) == expected
    with InferenceSession(graph, "device", port=port_of(port, request)) as board:
        assert event_bits(board, samples) == expected


def port_of(port: str, request: pytest.FixtureRequest) -> str:
    return f"qemu:{request.getfixturevalue('firmware')}" if port == "qemu" else port


def test_levels_of_all_populations(images: tuple[Graph, Any]) -> None:
    graph, samples = images
    reference, core = InferenceSession(graph, "reference"), InferenceSession(graph)
    for sample in samples[:5]:
        for session in (reference, core):
            session.scores(sample[None])
        for population in range(len(graph.populations)):
            assert np.array_equal(reference.backend.state(population), core.backend.state(population))


def test_one_shot_plan_gives_the_same_scores_in_less_memory(images: tuple[Graph, Any]) -> None:
    graph, samples = images
    one_shot = InferenceSession(encode_model(graph), plan="one-shot")
    assert np.array_equal(one_shot.scores(samples), InferenceSession(graph).scores(samples))


def test_order_within_a_tick_and_chunks_change_no_bit(recordings: tuple[Graph, Any]) -> None:
    graph, samples = recordings
    rng = np.random.default_rng(5)
    session = InferenceSession(graph)
    for events in samples[:10]:
        expected = session.classify(events)
        shuffled = session.core_events(events)
        order = np.lexsort((rng.random(len(events)), shuffled["tick"]))
        session.reset()
        for chunk in np.array_split(shuffled[order], int(rng.integers(1, 60))):
            while len(chunk):
                used, _ = session.backend.push(chunk)
                chunk = chunk[used:]
        session.backend.finish()
        assert np.array_equal(session.backend.output(), expected.scores)
