"""DeviceClient over the emulated board: as a backend, as a stream, and uploading."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from boards import COUNTING, IMAGE, WINDOW, counting_graph, sensor_events
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from offline import scores_of
from peers import FrameDropper
from random_graphs import number, random_events, random_graph

from edgespike import _core
from edgespike._link import EmulatedBoard
from edgespike.errors import BudgetError, DataError, DeviceError, EdgespikeError, ModelError, UsageError
from edgespike.graph import CORE_EVENT
from edgespike.link import DeviceClient, Mode, Reason, connect
from edgespike.link.messages import FrameType
from edgespike.link.transports import EmulatedTransport
from edgespike.modelfile import encode_model
from edgespike.session import InferenceSession


def client_with(model: bytes, **sizes: Any) -> DeviceClient:
    client = DeviceClient(EmulatedTransport(EmulatedBoard(**sizes)))
    client.upload(model)
    return client


# ---- as a backend ----------------------------------------------------------------


def history(network: Any, events: NDArray[Any], seed: int) -> list[Any]:
    """All that a backend says while events are pushed in random pieces, with resets and reads."""
    rng = np.random.default_rng(seed)
    said: list[Any] = []
    for _ in range(2):
        network.reset()
        rest = events
        while len(rest):
            used, closed = network.push(rest[: number(rng, 1, 40)])
            rest = rest[used:]
            said.append((used, closed))
            if closed or rng.random() < 0.2:
                said.append(network.output().tolist())
        tick = (int(events["tick"][-1]) + number(rng, 0, 60)) % 2**32 if len(events) else 5
        while network.advance(tick):
            said.append(network.output().tolist())
        said.append(network.output().tolist())
        network.finish()
        said.append(network.output().tolist())
    stats = network.stats()
    stats.pop("compute_us", None)
    return [*said, stats]


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([128, 1024]))
@settings(max_examples=60)
def test_a_board_says_what_the_core_says(seed: int, spiking: bool, max_payload: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, spiking)
    events = random_events(rng, graph, 150)
    model = encode_model(graph)
    client = client_with(model, max_payload=max_payload)
    assert history(client, events, seed) == history(_core.Network(_core.Model(model)), events, seed)


def test_ticks_wrap_around() -> None:
    model = encode_model(counting_graph(window_ticks=1 << 30))
    events = sensor_events(70, 1)
    events["tick"] = (np.arange(70, dtype=np.uint64) * (1 << 26) + 7).astype(np.uint32)
    client = client_with(model)
    assert history(client, events, 1) == history(_core.Network(_core.Model(model)), events, 1)
    expected = scores_of(model, events)
    client.start(Mode.LIVE)
    results = []
    for event in range(70):
        if event % 10 == 0:
            client.discard(events[event : event + 1])
        while not client.send_events(events[event : event + 1]):
            results += client.poll(0.001)
    client.end_sample()
    results += client.drain()
    assert [result.scores.tolist() for result in results] == expected
    assert [result.lost_at_sender for result in results] == [2, 2, 1, 2, 0]


def test_a_jump_of_half_the_ticks_is_backwards() -> None:
    model = encode_model(counting_graph(window_ticks=1 << 30))
    said = []
    for network in (_core.Network(_core.Model(model)), client_with(model)):
        events = sensor_events(2, 1)
        events["tick"] = [5, (1 << 31) + 5]
        with pytest.raises(DataError) as caught:
            network.push(events)
        with pytest.raises(DataError):
            network.advance((1 << 31) + 5)
        closed = network.advance((1 << 31) + 4)
        said.append([caught.value.code, closed, network.output().tolist(), network.push(events[1:])])
    assert said[0] == said[1]
    assert said[0][0] == "event-time"


def bad_batches() -> list[tuple[str, NDArray[Any]]]:
    good = sensor_events(20, 90)
    late, outside, far_outside, value = (good.copy() for _ in range(4))
    late["tick"][12:] = 3
    outside["channel"][7] = 2
    far_outside["x"][7] = 60000
    value["value"][15] = -1
    behind = good.copy()
    behind["tick"][10:] += 500
    behind["y"][10] = 8
    return [("late", late), ("outside", outside), ("far", far_outside), ("value", value), ("behind", behind)]


@pytest.mark.parametrize(("name", "events"), bad_batches())
def test_a_refused_event_is_the_same_error_at_the_same_place(name: str, events: NDArray[Any]) -> None:
    core, client = _core.Network(_core.Model(COUNTING)), client_with(COUNTING)
    said = []
    for network in (core, client):
        with pytest.raises(DataError) as caught:
            network.push(events)
        more = sensor_events(10, 5)
        more["tick"] += 90
        network.push(more)  # goes on behind the events that were taken
        network.finish()
        error = caught.value
        said.append((error.code, error.message.split(")")[0], error.hint, network.output().tolist()))
    assert said[0] == said[1]


def test_calls_out_of_order_are_the_same_errors() -> None:
    said = []
    calls: list[Callable[[Any], object]] = [
        lambda network: network.push(np.zeros(3)),
        lambda network: network.advance(-1),
        lambda network: (network.advance(50), network.advance(49)),
        lambda network: (network.finish(), network.finish()),
        lambda network: network.push(sensor_events(1, 5)),
        lambda network: network.advance(60),
    ]
    for network in (_core.Network(_core.Model(COUNTING)), client_with(COUNTING)):
        errors: list[EdgespikeError] = []
        for call in calls:
            with pytest.raises(EdgespikeError) as caught:
                call(network)
            errors.append(caught.value)
        network.reset()
        network.push(sensor_events(1, 5))
        said.append([(type(error), error.code) for error in errors])
    assert said[0] == said[1]


def test_a_board_does_not_send_its_state() -> None:
    with pytest.raises(UsageError, match="inner state"):
        client_with(COUNTING).state(0)


def test_statistics_can_be_cleared() -> None:
    client = client_with(COUNTING)
    client.push(sensor_events(30, 50))
    client.finish()
    assert client.stats()["input_events"] == 30
    client.clear_stats()
    assert client.stats()["populations"] == [{"events": 0, "synops": 0}] * 2
    client.reset()
    client.push(sensor_events(10, 50))
    client.finish()
    assert client.stats()["synops"] == 40


def test_a_session_runs_on_a_board() -> None:
    core = sensor_events(300, 350)
    recording = np.zeros(300, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<i1")])
    recording["t"] = core["tick"].astype(np.int64) * 10
    recording["x"], recording["y"], recording["p"] = core["x"], core["y"], core["channel"]
    results = []
    for backend, port in (("cpu", None), ("device", "emulated")):
        with InferenceSession(COUNTING, backend, port=port) as session:
            result = session.classify(recording)
            results.append((result.scores.tolist(), result.label, result.windows, result.lost))
    assert results[0] == results[1]


# ---- uploading -------------------------------------------------------------------


def test_an_upload_shows_progress_and_is_skipped_when_the_board_has_the_model() -> None:
    client = client_with(COUNTING, max_payload=128, ring_size=1024)
    seen: list[tuple[int, int]] = []
    client.upload(IMAGE, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (len(IMAGE), len(IMAGE))
    assert len(seen) > 1
    sent = client.statistics().bytes_sent
    client.upload(IMAGE, lambda done, total: seen.append((done, total)))
    assert client.statistics().bytes_sent - sent < 100
    assert seen[-1] == (len(IMAGE), len(IMAGE))


class Interrupted(Exception):
    pass


def test_an_interrupted_upload_goes_on_in_another_client() -> None:
    board = EmulatedBoard(max_payload=128, ring_size=1024)
    model = encode_model(counting_graph(scores=100))

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise Interrupted

    first = DeviceClient(EmulatedTransport(board))
    with pytest.raises(Interrupted):
        first.upload(model, interrupt)
    second = DeviceClient(EmulatedTransport(board))
    seen: list[int] = []
    second.upload(model, lambda done, total: seen.append(done))
    assert second.statistics().bytes_sent < 0.6 * len(model)
    assert min(seen) > len(model) // 2
    assert second.info.model_crc == zlib.crc32(model)


def test_an_upload_begins_again_when_the_board_restarts() -> None:
    board = EmulatedBoard(max_payload=128, ring_size=1024)
    client = DeviceClient(EmulatedTransport(board))
    seen: list[int] = []

    def reboot_once(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            board.reboot()

    client.upload(IMAGE, reboot_once)
    assert seen != sorted(seen)
    assert client.info.model_crc == zlib.crc32(IMAGE)
    assert client.info.boot_epoch == 2


def test_a_board_that_restarts_for_ever_is_an_error() -> None:
    board = EmulatedBoard(max_payload=128, ring_size=1024)
    client = DeviceClient(EmulatedTransport(board))
    with pytest.raises(DeviceError, match="restarted") as caught:
        client.upload(IMAGE, lambda done, total: board.reboot())
    assert caught.value.code == "restarted"


def test_a_model_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    client = DeviceClient(EmulatedTransport(EmulatedBoard(model_capacity=1000)))
    with pytest.raises(BudgetError, match=f"{len(IMAGE)} bytes.* 1000 ") as caught:
        client.upload(IMAGE)
    assert caught.value.code == "model-too-large"
    client = DeviceClient(EmulatedTransport(EmulatedBoard(arena_capacity=100)))
    with pytest.raises(BudgetError, match=r"bytes of arena.* 100") as caught:
        client.upload(IMAGE)
    assert caught.value.code == "arena-too-small"
    assert client.statistics().bytes_sent < 100


def test_an_arena_without_room_for_a_result_is_refused_by_the_board() -> None:
    needed = _core.Model(IMAGE).arena_size("one-shot")
    client = DeviceClient(EmulatedTransport(EmulatedBoard(arena_capacity=needed or 0)))
    with pytest.raises(BudgetError, match=f"bytes of arena.* {needed}"):
        client.upload(IMAGE)


def test_what_is_no_model_is_refused_by_the_board() -> None:
    client = DeviceClient(EmulatedTransport(EmulatedBoard()))
    with pytest.raises(ModelError) as caught:
        client.upload(IMAGE[:700] + b"?" + IMAGE[701:])
    assert caught.value.code == "model-crc"
    with pytest.raises(DeviceError, match="no model") as caught_device:
        client.reset()
    assert caught_device.value.code == "no-model"
    client.upload(IMAGE)
    client.reset()


# ---- as a stream -----------------------------------------------------------------


def stream_all(client: DeviceClient, events: NDArray[Any]) -> list[Any]:
    """Send a sample as fast as credits allow; the results."""
    results = []
    while len(events):
        taken = client.send_events(events)
        events = events[taken:]
        results += client.poll(0.0 if taken else 0.01)
    client.end_sample()
    return results + client.drain()


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("sizes", [{}, {"max_payload": 128, "ring_size": 1024}])
def test_a_stream_gives_the_offline_results(mode: Mode, sizes: dict[str, int]) -> None:
    client = client_with(COUNTING, **sizes)
    client.start(mode)
    for sample in range(3):
        events = sensor_events(3000, 5050, seed=sample)
        results = stream_all(client, events)
        assert [result.scores.tolist() for result in results] == scores_of(COUNTING, events)
        assert [result.window for result in results] == list(range(51))
        assert {result.sample for result in results} == {sample}
        assert [result.reason for result in results] == [Reason.WINDOW] * 50 + [Reason.END]
        assert results[-1].next_event == 3000 * (sample + 1)
        assert sum(result.input_events for result in results) == 3000
        assert sum(result.lost for result in results) == 0
    assert client.statistics().sent_again == 0


@pytest.mark.parametrize("backlog", [300, 1500, 1 << 20])
def test_a_live_stream_keeps_its_backlog(backlog: int) -> None:
    client = client_with(COUNTING, max_payload=128)
    client.start(Mode.LIVE, backlog=backlog)
    assert client.statistics().window == min(backlog, client.info.window)
    events = sensor_events(20_000, 1000)
    rest, results = events, []
    while len(rest):
        rest = rest[client.send_events(rest) :]
        assert client.statistics().in_flight <= min(backlog, client.info.window) + 150  # and a probe
        results += client.poll()
    client.end_sample()
    results += client.drain()
    assert sum(result.input_events for result in results) == 20_000
    assert sum(result.lost for result in results) == 0


def test_time_can_pass_without_events() -> None:
    client = client_with(COUNTING)
    client.start(Mode.LIVE)
    client.send_advance(250)
    assert [result.tick for result in client.drain()] == [100, 200]
    client.send_advance(300)
    assert [result.tick for result in client.drain()] == [300]


def test_events_that_the_sender_drops_are_counted_in_their_windows() -> None:
    client = client_with(COUNTING)
    client.start(Mode.LIVE)
    events = sensor_events(1000, 1000)
    results = []
    for first in range(0, 1000, 10):
        if first % 30 == 0:
            client.discard(events[first : first + 10])
        else:
            assert client.send_events(events[first : first + 10]) == 10
        results += client.poll()
    client.end_sample()
    results += client.drain()
    dropped = np.concatenate([events[first : first + 10] for first in range(0, 1000, 30)])
    by_window = np.bincount(dropped["tick"] // 100, minlength=10).tolist()
    assert [result.lost_at_sender for result in results] == by_window
    assert sum(result.lost for result in results) == 340
    assert client.statistics().lost_at_sender == 340


def test_live_events_outside_the_input_are_counted() -> None:
    client = client_with(COUNTING)
    client.start(Mode.LIVE)
    events = sensor_events(100, 90)
    events["x"][10] = 60000  # cannot be packed: dropped here
    events["x"][20] = 7
    events["y"][20:22] = 7
    events["value"][30] = -1  # refused by the board
    assert client.send_events(events) == 100
    client.end_sample()
    (result,) = client.drain()
    assert (result.lost_at_sender, result.rejected, result.lost_on_link) == (1, 1, 0)
    assert result.input_events == 98


def test_a_refused_event_ends_a_lossless_stream() -> None:
    client = client_with(COUNTING)
    client.start(Mode.LOSSLESS)
    events = sensor_events(100, 90)
    events["value"][30] = -1
    client.send_events(events)
    with pytest.raises(DataError, match="event 30 of the stream") as caught:
        client.drain()
    assert caught.value.code == "event-value"
    client.start(Mode.LOSSLESS)
    events["x"][30] = 60000
    with pytest.raises(DataError, match="event 30 "):
        client.send_events(events)


def test_backend_and_stream_can_take_turns() -> None:
    client = client_with(COUNTING)
    events = sensor_events(50, 90)
    expected = scores_of(COUNTING, events)[-1]
    for _ in range(2):
        client.reset()
        client.push(events)
        client.finish()
        assert client.output().tolist() == expected
        client.start(Mode.LIVE)
        client.send_events(events)
        client.end_sample()
        assert client.drain()[-1].scores.tolist() == expected


def test_statistics_say_how_the_link_does() -> None:
    client = client_with(COUNTING)
    client.push(sensor_events(500, 90))
    statistics = client.statistics()
    assert statistics.bytes_sent > len(COUNTING) + 1000
    assert statistics.bytes_received > 100
    assert 0 < statistics.round_trip_us < 10_000_000
    assert statistics.round_trip_median_us > 0
    assert (statistics.bad_crc, statistics.malformed, statistics.too_long) == (0, 0, 0)
    assert (statistics.in_flight, statistics.window) == (0, (1 << 16) - 256)


# ---- exact losses ----------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
@settings(max_examples=40)
def test_live_loss_counts_are_exact(seed: int, share: float) -> None:
    """Whatever frames are lost, every event is taken, or counted as lost, once."""
    rng = np.random.default_rng(seed)
    lossy = (FrameType.EVENTS, FrameType.ADVANCE, FrameType.END_SAMPLE)
    transport = FrameDropper(
        EmulatedBoard(max_payload=128), lambda frame: frame.type in lossy and rng.random() < share
    )
    client = DeviceClient(transport, retry=0.002)
    client.upload(COUNTING)
    client.start(Mode.LIVE)
    events = sensor_events(2000, 1000, seed)
    results = []
    for first in range(0, 2000, 40):
        rest = events[first : first + 40]
        while len(rest):
            rest = rest[client.send_events(rest) :]
            results += client.poll(0.001)
    client.end_sample()
    results += client.drain()
    assert results[-1].reason == Reason.END
    taken = sum(result.input_events for result in results)
    lost = sum(result.lost_on_link for result in results)
    assert taken + lost == 2000
    assert sum(result.rejected + result.lost_at_sender for result in results) == 0
    assert results[-1].next_event == 2000
    assert (lost > 0) == any(frame.type == FrameType.EVENTS for frame in transport.lost)
    assert client.statistics().lost_on_link == lost


def test_what_was_lost_is_what_did_not_come() -> None:
    """The results are those of the events that did come."""
    lost_sequences = {3, 4, 9, 17}
    transport = FrameDropper(
        EmulatedBoard(max_payload=128),
        lambda frame: frame.type == FrameType.EVENTS and frame.sequence in lost_sequences,
    )
    client = DeviceClient(transport, retry=0.01)
    client.upload(COUNTING)
    client.start(Mode.LIVE)
    events = sensor_events(800, 700)
    came = []
    results = []
    for sequence, first in enumerate(range(0, 800, 40)):
        while not client.send_events(events[first : first + 40]):
            results += client.poll(0.001)  # the board is being asked what it has
        results += client.poll()
        if sequence not in lost_sequences:
            came.append(events[first : first + 40])
    client.end_sample()
    results += client.drain()
    assert [result.scores.tolist() for result in results] == scores_of(COUNTING, np.concatenate(came))
    assert sum(result.lost_on_link for result in results) == 160


def test_a_loss_is_told_in_the_window_and_the_sample_where_it_belongs() -> None:
    """Also over windows in which nothing came at all, and when the end of the sample is lost with it."""
    lost_sequences = {2, 3, 4, 5, 6, 9, 11, 12}

    def is_lost(frame: Any) -> bool:
        return FrameType.EVENTS <= frame.type <= FrameType.READ and frame.sequence in lost_sequences

    transport = FrameDropper(EmulatedBoard(max_payload=128), is_lost)
    client = DeviceClient(transport, retry=0.01)
    client.upload(COUNTING)
    client.start(Mode.LIVE)
    events = sensor_events(400, 700)
    results = []
    for sample in range(2):
        for first in range(0, 400, 40):  # frames 0 to 9, END_SAMPLE 10; then 11 to 21
            while not client.send_events(events[first : first + 40]):
                results += client.poll(0.001)
            results += client.poll()
        if sample == 0:
            lost_sequences.add(10)
        client.end_sample()
    results += client.drain()
    lost = [{2, 3, 4, 5, 6, 9}, {0, 1}]
    for sample in range(2):
        gone = np.concatenate([events[40 * piece : 40 * piece + 40] for piece in lost[sample]])
        by_window = np.bincount(gone["tick"] // WINDOW, minlength=8)
        told = {result.window: result.lost_on_link for result in results if result.sample == sample}
        last = max(told)
        assert told == {w: by_window[w] for w in range(last)} | {last: by_window[last:].sum()}
    assert client.statistics().lost_on_link == 40 * 8


def test_no_events_no_harm() -> None:
    client = client_with(COUNTING)
    assert client.push(np.zeros(0, CORE_EVENT)) == (0, False)
    client.start(Mode.LIVE)
    assert client.send_events(np.zeros(0, CORE_EVENT)) == 0
    assert client.poll() == []
    assert client.drain() == []


def test_connect_opens_and_greets() -> None:
    client = connect("emulated")
    assert client.info.name == client.name == "emulated"
    client.close()
