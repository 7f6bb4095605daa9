"""A line that does harm: lossless streams give the offline bits, live ones count right."""

from __future__ import annotations

import zlib

import pytest
from boards import COUNTING, sensor_events
from hypothesis import given, settings
from hypothesis import strategies as st
from offline import scores_of
from peers import FaultyTransport
from test_client import history, stream_all

from edgespike import _core
from edgespike._link import EmulatedBoard
from edgespike.link import DeviceClient, Mode, Reason

SEEDS = st.integers(0, 2**32 - 1)


def client_behind_a_bad_line(seed: int, every: float) -> tuple[DeviceClient, FaultyTransport]:
    board = EmulatedBoard(max_payload=256, ring_size=4096)
    transport = FaultyTransport(board, seed, every)
    return DeviceClient(transport, retry=0.003), transport


@given(SEEDS)
@settings(max_examples=15)
def test_upload_and_backend_survive_a_bad_line(seed: int) -> None:
    client, transport = client_behind_a_bad_line(seed, every=1500)
    client.upload(COUNTING)
    assert client.info.model_crc == zlib.crc32(COUNTING)
    events = sensor_events(500, 400, seed)
    assert history(client, events, seed) == history(_core.Network(_core.Model(COUNTING)), events, seed)
    assert transport.faults > 0


@given(SEEDS)
@settings(max_examples=15)
def test_lossless_streams_give_the_offline_bits_over_a_bad_line(seed: int) -> None:
    client, transport = client_behind_a_bad_line(seed, every=1500)
    client.upload(COUNTING)
    client.start(Mode.LOSSLESS)
    for sample in range(2):
        events = sensor_events(1500, 2050, seed + sample)
        results = stream_all(client, events)
        assert [result.scores.tolist() for result in results] == scores_of(COUNTING, events)
        assert sum(result.lost for result in results) == 0
    assert transport.faults > 0


@given(SEEDS)
@settings(max_examples=15)
def test_live_streams_account_for_every_event_over_a_bad_line(seed: int) -> None:
    client, _ = client_behind_a_bad_line(seed, every=1500)
    client.upload(COUNTING)
    client.start(Mode.LIVE)
    results = stream_all(client, sensor_events(3000, 1000, seed))
    assert results[-1].reason == Reason.END
    statistics = client.statistics()
    assert statistics.results_lost == 0
    taken = sum(result.input_events for result in results)
    lost = sum(result.lost_on_link for result in results)
    assert taken + lost == 3000
    assert [result.number for result in results] == list(range(10))
    assert sum(result.rejected + result.lost_at_sender for result in results) == 0
    assert statistics.lost_on_link == lost


@pytest.mark.parametrize("every", [120, 400])
def test_a_very_bad_line_only_takes_longer(every: int) -> None:
    client, transport = client_behind_a_bad_line(1, every)
    client.upload(COUNTING)
    client.start(Mode.LOSSLESS)
    events = sensor_events(400, 550)
    results = stream_all(client, events)
    assert [result.scores.tolist() for result in results] == scores_of(COUNTING, events)
    assert transport.faults > 20
    statistics = client.statistics()
    assert statistics.bad_crc + statistics.malformed + statistics.too_long > 0
