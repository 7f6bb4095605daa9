"""The board's side of docs/link.md, frame by frame."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from boards import (
    COUNTING,
    IMAGE,
    RawBoard,
    counting_graph,
    image_events,
    image_graph,
    sensor_events,
)
from numpy.typing import NDArray
from offline import scores_of
from plain_codec import cobs_encode
from random_graphs import random_events, random_graph

from edgespike import _core
from edgespike._link import EmulatedBoard, encode_frame, pack_events
from edgespike.errors import UsageError
from edgespike.graph import SelfTest
from edgespike.link import DeviceClient
from edgespike.link.messages import (
    Credit,
    ErrorReport,
    Flag,
    Frame,
    FrameType,
    Mode,
    ResultAssembler,
    ResultPart,
    SelfTestReport,
)
from edgespike.link.transports import EmulatedTransport
from edgespike.modelfile import encode_model

CODES = {row[0]: code for code, row in _core.ERRORS.items()}
OK, TOO_LARGE, NO_ARENA = 0, CODES["ES_ERR_MODEL_SIZE"], CODES["ES_ERR_ARENA"]
UPLOAD, COMMAND, MALFORMED = CODES["ES_ERR_UPLOAD"], CODES["ES_ERR_COMMAND"], CODES["ES_ERR_FRAME"]


def error_of(frame: Frame) -> tuple[int, int]:
    """Code, and type of the frame it is about."""
    assert frame.type == FrameType.ERROR
    report = ErrorReport.parse(frame.payload)
    return report.code, report.type


# ---- greeting -------------------------------------------------------------------


def test_a_board_greets_when_it_starts() -> None:
    board = EmulatedBoard(name="x" * 40, boot_epoch=7)
    raw = RawBoard()
    raw.board = board
    (frame,) = raw.receive()
    assert (frame.type, frame.flags, frame.word) == (FrameType.HELLO, Flag.RESPONSE, 0)
    assert frame.payload[7] == 32
    assert frame.payload.endswith(b"x" * 32)
    assert raw.hello().boot_epoch == 7


def test_hello_says_what_the_board_is() -> None:
    info = RawBoard(model_capacity=1000, arena_capacity=2000, max_payload=128, ring_size=4096).hello()
    assert (info.protocol, info.model_format) == ((1, 0), (2, 0))
    assert (info.model_capacity, info.arena_capacity) == (1000, 2000)
    assert (info.max_payload, info.window) == (128, 4096 - 256)
    assert (info.model_size, info.input_shape, info.result_slots, info.name) == (0, (0, 0, 0), 0, "emulated")


def test_hello_says_what_the_model_is() -> None:
    raw = RawBoard()
    raw.upload(COUNTING)
    info = raw.hello()
    assert (info.model_size, info.model_crc) == (len(COUNTING), zlib.crc32(COUNTING))
    assert (info.input_shape, info.tick_us, info.window_ticks, info.scores) == ((8, 8, 2), 10, 100, 4)
    assert info.arena_used == _core.Model(COUNTING).arena_size("streaming")
    assert info.result_slots == 16
    raw.upload(IMAGE)
    info = raw.hello()
    assert (info.input_shape, info.window_ticks, info.scores) == ((28, 28, 1), 0, 10)
    assert info.source_hash == bytes(range(32))


def test_hello_is_understood_after_garbage() -> None:
    raw = RawBoard()
    raw.board.write(b"login: \xff\xff\x05\x00" + encode_frame(1, 0, 0, 0)[:-3] + b"\0")
    raw.receive()
    assert raw.hello().name == "emulated"


def test_another_major_version_is_told_ours_and_nothing_else() -> None:
    raw = RawBoard()
    plain = bytes([FrameType.HELLO, 2 << 6, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0])
    ping = bytes([FrameType.PING, 2 << 6, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0])
    for body, answers in ((plain, 1), (ping, 0)):
        raw.board.write(cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0")
        frames = raw.receive()
        assert len(frames) == answers
    assert raw.hello().protocol == (1, 0)


def test_its_own_frames_coming_back_are_not_answered() -> None:
    raw = RawBoard()
    raw.upload(COUNTING)
    raw.board.write(encode_frame(FrameType.HELLO, 0, 0, 1, bytes(4)))
    echo = raw.board.read()
    for type in (FrameType.RESULT, FrameType.ERROR):
        echo += encode_frame(type, 0, 0, 0, bytes(60))
    raw.board.write(echo)
    assert raw.board.read() == b""


def test_senseless_frames_get_an_error() -> None:
    raw = RawBoard()
    assert error_of(raw.ask(77, sequence=3, word=5)) == (COMMAND, 77)
    assert error_of(raw.ask(FrameType.EVENTS, bytes(8))) == (COMMAND, FrameType.EVENTS)
    assert error_of(raw.ask(FrameType.PING, bytes(3))) == (MALFORMED, FrameType.PING)
    assert error_of(raw.ask(FrameType.MODEL_DATA, b"x", word=0)) == (UPLOAD, FrameType.MODEL_DATA)
    assert raw.start(Mode.LIVE) == CODES["ES_ERR_NO_MODEL"]
    raw.upload(COUNTING)
    assert raw.start(9) == CODES["ES_ERR_ARGUMENT"]
    raw.stream = -1  # no stream has number 0
    assert raw.start(Mode.LIVE) == CODES["ES_ERR_ARGUMENT"]


# ---- uploading -------------------------------------------------------------------


@pytest.mark.parametrize("piece", [100, 1024])
def test_an_upload_interrupted_anywhere_resumes(piece: int) -> None:
    raw = RawBoard(max_payload=1024)
    for boundary in range(0, len(COUNTING) + piece, piece):
        raw.upload(IMAGE)  # so that nothing of the last round is left
        assert raw.begin(COUNTING) == (OK, 0, 0, 0)
        for offset in range(0, boundary, piece):
            raw.data(COUNTING, offset, offset + piece)
        raw.board.write(encode_frame(FrameType.MODEL_DATA, 0, 0, boundary, bytes(50))[:30])  # cut off
        raw.board.write(b"\0")
        assert raw.hello().model_size == 0
        assert raw.begin(COUNTING) == (OK, min(boundary, len(COUNTING)), 0, 0)
        raw.upload(COUNTING)
        assert raw.hello().model_crc == zlib.crc32(COUNTING)


def test_a_board_that_restarted_begins_again() -> None:
    raw = RawBoard()
    raw.begin(COUNTING)
    raw.data(COUNTING, 0, 500)
    raw.board.reboot()
    assert raw.receive()[0].type == FrameType.HELLO
    assert error_of(raw.ask(FrameType.MODEL_DATA, COUNTING[500:600], word=500))[0] == UPLOAD
    assert raw.begin(COUNTING) == (OK, 0, 0, 0)
    raw.upload(COUNTING)


def test_repeated_and_overlapping_data_is_taken_once() -> None:
    raw = RawBoard()
    raw.begin(COUNTING)
    for begin, end, wanted in ((0, 100, 100), (0, 100, 100), (50, 150, 150), (20, 60, 150), (150, 150, 150)):
        frame = raw.data(COUNTING, begin, end)
        assert (frame.word, frame.flags, frame.payload) == (wanted, Flag.RESPONSE, b"")
    raw.upload(COUNTING)


def test_a_gap_is_told_once() -> None:
    raw = RawBoard()
    raw.begin(COUNTING)
    frame = raw.data(COUNTING, 100, 200)
    assert (frame.word, frame.flags) == (0, Flag.RESPONSE | Flag.GAP)
    assert raw.send(FrameType.MODEL_DATA, COUNTING[200:300], word=200) == []
    assert raw.data(COUNTING, 0, 100).word == 100
    assert raw.data(COUNTING, 300, 400).flags & Flag.GAP


def test_data_beyond_the_size_is_refused() -> None:
    raw = RawBoard()
    raw.begin(COUNTING)
    for offset, count in ((len(COUNTING) - 1, 2), (len(COUNTING) + 1, 0), (0xFFFFFFFF, 10)):
        frame = raw.ask(FrameType.MODEL_DATA, bytes(count), word=offset)
        assert error_of(frame) == (UPLOAD, FrameType.MODEL_DATA)


def test_a_model_that_is_too_large_is_refused_and_the_old_one_stays() -> None:
    raw = RawBoard(model_capacity=len(COUNTING))
    raw.upload(COUNTING)
    assert raw.begin(IMAGE) == (TOO_LARGE, 0, len(IMAGE), len(COUNTING))
    assert raw.hello().model_size == len(COUNTING)
    assert raw.start(Mode.LOSSLESS) == OK


def test_a_model_whose_arena_is_too_large_is_refused_with_both_numbers() -> None:
    needed = _core.Model(COUNTING).arena_size("streaming")
    assert needed is not None
    raw = RawBoard(arena_capacity=needed)  # no room for a result
    raw.send_model(COUNTING)
    for _ in range(2):  # also when asked again
        status, _, asked, available = raw.end(COUNTING)
        assert (status, available) == (NO_ARENA, needed)
        assert needed < asked <= needed + 100
    assert raw.hello().model_size == 0
    small = RawBoard(arena_capacity=asked)
    small.upload(COUNTING)
    assert small.hello().result_slots == 1


def network_with_plans() -> tuple[bytes, NDArray[Any], int, int]:
    """A model with its events, and its two arenas, the second much smaller."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, counts=False)
        model = encode_model(graph)
        streaming, one_shot = (_core.Model(model).arena_size(plan) for plan in ("streaming", "one-shot"))
        if streaming and one_shot and one_shot + 200 < streaming:
            return model, random_events(rng, graph, 50), streaming, one_shot
    raise AssertionError("no such graph")


def test_the_one_shot_plan_is_used_when_only_that_fits() -> None:
    model, events, streaming, one_shot = network_with_plans()
    board = EmulatedBoard(arena_capacity=streaming)
    client = DeviceClient(EmulatedTransport(board))
    client.upload(model)
    assert (client.info.plan, client.info.arena_used) == ("one-shot", one_shot)
    expected = scores_of(model, events)
    scores = []
    while len(events):
        used, closed = client.push(events)
        events = events[used:]
        if closed:
            scores.append(client.output().tolist())
    with pytest.raises(UsageError, match="state"):
        client.output()  # the sample is not settled yet
    client.finish()
    assert [*scores, client.output().tolist()] == expected


def test_a_wrong_hash_is_refused() -> None:
    raw = RawBoard()
    crc = zlib.crc32(COUNTING) ^ 1
    raw.upload_call(FrameType.MODEL_BEGIN, len(COUNTING), crc)
    for offset in range(0, len(COUNTING), 1024):
        raw.data(COUNTING, offset, offset + 1024)
    assert raw.upload_call(FrameType.MODEL_END, len(COUNTING), crc)[:2] == (UPLOAD, len(COUNTING))
    assert raw.hello().model_size == 0
    raw.upload(COUNTING)


def test_an_end_that_does_not_fit_its_begin_is_refused() -> None:
    raw = RawBoard()
    assert raw.end(COUNTING)[:2] == (UPLOAD, 0)
    raw.begin(COUNTING)
    raw.data(COUNTING, 0, 300)
    assert raw.end(COUNTING)[:2] == (UPLOAD, 300)
    assert raw.end(IMAGE)[:2] == (UPLOAD, 0)
    assert raw.data(COUNTING, 300, 400).word == 400  # the upload is still open
    raw.upload(COUNTING)
    assert raw.end(COUNTING)[:2] == (OK, len(COUNTING))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (b"", "ES_ERR_TRUNCATED"),
        (b"no model" * 100, "ES_ERR_MAGIC"),
        (COUNTING[:-1], "ES_ERR_TRUNCATED"),
        (COUNTING[:700] + b"?" + COUNTING[701:], "ES_ERR_CRC"),
    ],
)
def test_what_is_no_model_is_refused_and_the_old_one_is_gone(model: bytes, name: str) -> None:
    raw = RawBoard()
    raw.upload(COUNTING)
    assert raw.start(Mode.LIVE) == OK
    raw.send_model(model)
    assert error_of(raw.ask(FrameType.READ, bytes(8)))[0] == COMMAND  # its stream has ended
    assert raw.end(model)[0] == CODES[name]
    assert raw.hello().model_size == 0
    assert raw.start(Mode.LIVE) == CODES["ES_ERR_NO_MODEL"]


def test_the_golden_self_test_runs_on_the_board() -> None:
    events = image_events(5)
    scores = np.array(scores_of(IMAGE, events)[-1], np.int32)
    digest = zlib.crc32(scores.tobytes())
    raw = RawBoard()
    raw.upload(encode_model(image_graph(SelfTest(events, digest))))
    wrong = encode_model(image_graph(SelfTest(events, digest ^ 1)))
    raw.send_model(wrong)
    assert raw.end(wrong)[0] == CODES["ES_ERR_DIGEST"]
    assert raw.hello().model_size == 0


def test_self_test_checks_the_model_and_gives_both_digests() -> None:
    raw = RawBoard()
    assert unpack_report(raw.ask(FrameType.SELF_TEST)) == (CODES["ES_ERR_NO_MODEL"], 0, 0, 0)
    events = image_events(5)
    digest = zlib.crc32(np.array(scores_of(IMAGE, events)[-1], np.int32).tobytes())
    raw.upload(encode_model(image_graph(SelfTest(events, digest))))
    assert raw.start(Mode.LIVE) == OK
    assert unpack_report(raw.ask(FrameType.SELF_TEST, word=1)) == (OK, 200, digest, digest)
    assert error_of(raw.ask(FrameType.READ, bytes(12)))[0] == COMMAND  # the stream has ended
    assert raw.start(Mode.LIVE) == OK
    assert unpack_report(raw.ask(FrameType.SELF_TEST, word=1)) == (OK, 200, digest, digest)
    assert raw.send(FrameType.READ, struct.pack("<IHHI", 0, 0, 0, raw.stream)) != []  # not run again
    raw.upload(COUNTING)
    assert unpack_report(raw.ask(FrameType.SELF_TEST, word=2)) == (OK, 0, 0, 0)


def unpack_report(frame: Frame) -> SelfTestReport:
    assert (frame.type, frame.flags) == (FrameType.SELF_TEST, Flag.RESPONSE)
    return SelfTestReport.parse(frame.payload)


# ---- baud -------------------------------------------------------------------------


def test_a_new_baud_stays_when_a_frame_comes_with_it() -> None:
    raw = RawBoard(baud=115200)
    raw.board.set_clock(0)
    assert raw.baud(9_000_000) == (CODES["ES_ERR_ARGUMENT"], 115200)
    assert raw.baud(0)[0] == CODES["ES_ERR_ARGUMENT"]
    assert raw.baud(115200) == (OK, 115200)
    assert raw.baud(2_000_000) == (OK, 115200)
    assert raw.board.baud == 2_000_000
    raw.board.set_clock(1_000_000)
    raw.hello()
    raw.board.set_clock(9_000_000)
    raw.receive()
    assert raw.board.baud == 2_000_000
    raw.board.reboot()
    assert raw.board.baud == 115200


def test_the_former_baud_comes_back_when_no_frame_comes() -> None:
    raw = RawBoard()
    raw.board.set_clock(0xFFFFFFF0)
    request = encode_frame(FrameType.BAUD, 0, 0, 5, struct.pack("<I", 9600))
    raw.board.write(request + encode_frame(FrameType.HELLO, 0, 0, 6))  # HELLO came with the former
    assert [frame.word for frame in raw.receive() + raw.receive()] == [5, 6]
    raw.board.write(bytes(5))
    raw.board.set_clock(999_000)
    assert (raw.receive(), raw.board.baud) == ([], 9600)
    raw.board.set_clock(1_000_100)
    assert (raw.receive(), raw.board.baud) == ([], 921600)


# ---- streams ---------------------------------------------------------------------


class RawStream(RawBoard):
    """A board with a model and an open stream."""

    def __init__(self, mode: Mode, model: bytes = COUNTING, **sizes: int) -> None:
        super().__init__(**sizes)
        self.upload(model)
        assert self.start(mode) == OK
        self.shape = self.hello().input_shape

    def events(self, first: int, count: int, *, sequence: int, tick: int = 0, sample: int = 0) -> list[Frame]:
        """One frame of events, all at one tick."""
        events = sensor_events(count, 1)
        events["tick"] = tick
        ((data, _),) = pack_events(events, self.shape, 1024, sequence, first, sample, self.stream)
        self.board.write(data)
        return self.receive()

    def control(
        self, type: FrameType, *, sequence: int, event: int, tick: int = 0, sample: int = 0
    ) -> list[Frame]:
        prefix = struct.pack("<IHHI", event, sample, 0, self.stream)
        return self.send(type, prefix, sequence=sequence, word=tick)

    def ping(self, wanted: int = 0) -> tuple[Frame, Credit, list[Frame]]:
        """The answer, what it says, and the frames before it."""
        *others, answer = self.send(FrameType.PING, struct.pack("<II", wanted, self.stream))
        assert (answer.type, answer.flags, answer.word) == (FrameType.PING, Flag.RESPONSE, 99)
        return answer, Credit.parse(answer.payload), others


def facts(frame: Frame) -> tuple[int, ...]:
    """Number, sample, reason, window, next event, taken, lost, rejected."""
    assert frame.type == FrameType.RESULT
    return ResultPart.parse(frame).facts[:8]


def test_lossless_takes_frames_in_order_and_once() -> None:
    raw = RawStream(Mode.LOSSLESS)
    assert raw.events(0, 10, sequence=0) == []
    assert raw.events(0, 10, sequence=0) == []  # again
    (gap,) = raw.events(20, 10, sequence=2)
    assert (gap.type, gap.flags, gap.sequence) == (FrameType.CREDIT, Flag.GAP, 1)
    assert raw.events(30, 10, sequence=3) == []  # told once
    assert raw.ping()[1].next_event == 10
    assert raw.events(10, 10, sequence=1) == []
    (gap,) = raw.events(30, 10, sequence=3)  # another gap
    assert gap.sequence == 2
    answer, credit, others = raw.ping()
    assert (answer.sequence, credit.state, credit.next_event, credit.lost, others) == (2, 1, 20, 0, [])


def test_credit_comes_when_a_quarter_of_the_window_is_handled() -> None:
    raw = RawStream(Mode.LOSSLESS, ring_size=2048, max_payload=512)
    credits = []
    sent = 0
    for sequence in range(40):
        credits += raw.events(10 * sequence, 10, sequence=sequence)
        sent += 43
    assert [frame.type for frame in credits] == [FrameType.CREDIT] * len(credits)
    assert sent // (2048 - 256) <= len(credits) / 4 <= 1 + sent // (2048 - 256)
    assert all(Credit.parse(frame.payload).next_event == 10 * frame.sequence for frame in credits)


def test_a_refused_event_halts_a_lossless_stream_until_start() -> None:
    raw = RawStream(Mode.LOSSLESS)
    raw.events(0, 10, sequence=0, tick=5)
    (frame,) = raw.events(10, 10, sequence=1, tick=4)
    assert error_of(frame) == (CODES["ES_ERR_TIME"], FrameType.EVENTS)
    assert (frame.sequence, frame.word) == (1, 10)
    assert raw.events(20, 10, sequence=2, tick=6) == []
    answer, credit, (again,) = raw.ping()
    assert (again.word, again.payload) == (frame.word, frame.payload)
    assert (credit.state, credit.next_event, answer.sequence) == (3, 10, 1)
    assert raw.start(Mode.LOSSLESS, keep=True) == OK
    raw.events(0, 10, sequence=0, tick=6)
    (frame,) = raw.control(FrameType.END_SAMPLE, sequence=1, event=10)
    assert facts(frame) == (0, 0, 1, 0, 10, 20, 0, 0)


@pytest.mark.parametrize(
    ("type", "payload", "code"),
    [
        (FrameType.EVENTS, bytes(11), "ES_ERR_FRAME"),
        (FrameType.EVENTS, struct.pack("<IHBBI", 0, 0, 5, 0, 1), "ES_ERR_FRAME"),
        (FrameType.EVENTS, struct.pack("<IHBBI", 0, 0, 3, 0, 1) + bytes(4), "ES_ERR_FRAME"),
        (FrameType.EVENTS, struct.pack("<IHBBI", 1, 0, 2, 0, 1), "ES_ERR_FRAME"),  # event number
        (FrameType.READ, struct.pack("<IHBBI", 0, 1, 0, 0, 1), "ES_ERR_FRAME"),  # sample
    ],
)
def test_malformed_stream_frames_halt_a_lossless_stream(type: FrameType, payload: bytes, code: str) -> None:
    raw = RawStream(Mode.LOSSLESS)
    assert error_of(raw.ask(type, payload, word=0)) == (CODES[code], type)
    assert raw.ping()[1].state == 3


@pytest.mark.parametrize("mode", list(Mode))
def test_frames_of_another_stream_are_refused_and_change_nothing(mode: Mode) -> None:
    raw = RawStream(mode)
    raw.events(0, 10, sequence=0)
    for stream, count in ((raw.stream + 1, 10), (0, 10)):
        ours, raw.stream = raw.stream, stream
        (frame,) = raw.events(10, count, sequence=1)
        assert error_of(frame) == (COMMAND, FrameType.EVENTS)
        assert ErrorReport.parse(frame.payload).stream == stream
        raw.control(FrameType.END_SAMPLE, sequence=1, event=10)
        raw.stream = ours
    (end,) = raw.control(FrameType.END_SAMPLE, sequence=1, event=10)
    assert facts(end) == (0, 0, 1, 0, 10, 10, 0, 0)
    assert ResultPart.parse(end).stream == raw.stream


def test_another_host_cannot_acknowledge_results() -> None:
    raw = RawStream(Mode.LOSSLESS)
    raw.control(FrameType.ADVANCE, sequence=0, event=0, tick=300)
    raw.send(FrameType.CREDIT, struct.pack("<II", 3, raw.stream + 1))
    answer = raw.ask(FrameType.PING, struct.pack("<II", 3, raw.stream + 1))  # and gets no results
    assert Credit.parse(answer.payload).stream == raw.stream
    assert len(raw.ping()[2]) == 3


def test_start_said_again_changes_nothing() -> None:
    raw = RawStream(Mode.LOSSLESS)
    raw.events(0, 10, sequence=0)
    raw.stream -= 1
    assert raw.start(Mode.LOSSLESS) == OK
    assert raw.ping()[1].next_event == 10


def test_start_is_refused_for_another_model_and_for_a_stream_that_went_on_elsewhere() -> None:
    raw = RawStream(Mode.LOSSLESS)
    ours = raw.stream
    raw.model_crc ^= 1
    assert raw.start(Mode.LOSSLESS) == CODES["ES_ERR_NO_MODEL"]
    raw.model_crc ^= 1
    raw.stream = ours + 10
    assert raw.start(Mode.LOSSLESS, keep=True) == COMMAND
    raw.stream = ours
    assert raw.start(Mode.LOSSLESS, keep=True) == OK


def test_time_only_grows() -> None:
    raw = RawStream(Mode.LOSSLESS)
    assert raw.control(FrameType.ADVANCE, sequence=0, event=0, tick=50) == []
    (frame,) = raw.control(FrameType.ADVANCE, sequence=1, event=0, tick=49)
    assert error_of(frame) == (CODES["ES_ERR_TIME"], FrameType.ADVANCE)


def test_results_of_windows_samples_and_reads() -> None:
    raw = RawStream(Mode.LOSSLESS)
    raw.events(0, 10, sequence=0, tick=10)
    (read,) = raw.control(FrameType.READ, sequence=1, event=10)
    (first, second, third) = raw.events(10, 5, sequence=2, tick=310)
    (end,) = raw.control(FrameType.END_SAMPLE, sequence=3, event=15)
    (next_end,) = raw.control(FrameType.END_SAMPLE, sequence=4, event=15, sample=1)
    assert facts(read) == (0, 0, 2, 0, 10, 10, 0, 0)
    assert facts(first) == (1, 0, 0, 0, 10, 10, 0, 0)
    assert facts(second) == (2, 0, 0, 1, 10, 0, 0, 0)
    assert facts(third) == (3, 0, 0, 2, 10, 0, 0, 0)
    assert facts(end) == (4, 0, 1, 3, 15, 5, 0, 0)
    assert facts(next_end) == (5, 1, 1, 0, 15, 0, 0, 0)
    ticks = [frame.word for frame in (read, first, second, third)]
    assert ticks == [10, 100, 200, 300]
    assert [frame.sequence for frame in (read, first, third, end)] == [1, 2, 2, 3]
    result = ResultAssembler().add(ResultPart.parse(first))
    assert result is not None
    assert result.label == int(result.scores.argmax())
    assert (result.events, result.synops) == (10, 40)


def test_unacknowledged_results_come_again_and_acknowledged_ones_do_not() -> None:
    raw = RawStream(Mode.LOSSLESS)
    (*_, third) = raw.control(FrameType.ADVANCE, sequence=0, event=0, tick=300)
    answer, credit, results = raw.ping(wanted=0)
    assert [facts(frame)[0] for frame in results] == [0, 1, 2]
    assert (credit.next_result, answer.sequence) == (3, 1)
    assert raw.ping(wanted=2)[2] == [third]
    assert raw.send(FrameType.CREDIT, struct.pack("<II", 3, raw.stream)) == []
    assert raw.ping(wanted=1)[2] == []  # too late to want it
    assert raw.ping(wanted=77)[2] == []


def test_lossless_waits_for_room_for_results_and_still_answers() -> None:
    raw = RawStream(Mode.LOSSLESS)
    results = raw.control(FrameType.ADVANCE, sequence=0, event=0, tick=2000)
    assert len(results) == 16
    assert raw.hello().result_slots == 16
    (gap,) = raw.control(FrameType.READ, sequence=1, event=0)  # dropped: the first is still in hand
    assert (gap.flags, gap.sequence) == (Flag.GAP, 0)
    answer, _, again = raw.ping(wanted=0)
    assert (len(again), answer.sequence) == (16, 0)
    assert len(raw.send(FrameType.CREDIT, struct.pack("<II", 10, raw.stream))) == 4  # the other windows
    (read,) = raw.control(FrameType.READ, sequence=1, event=0)
    assert facts(read)[0] == 20


def test_scores_that_do_not_fit_a_frame_come_in_several() -> None:
    model = encode_model(counting_graph(scores=48))
    raw = RawStream(Mode.LOSSLESS, model, max_payload=128)
    raw.events(0, 10, sequence=0)
    frames = raw.control(FrameType.END_SAMPLE, sequence=1, event=10)
    assert [frame.flags for frame in frames] == [Flag.MORE, Flag.MORE, 0]
    assembler = ResultAssembler()
    parts = [ResultPart.parse(frame) for frame in frames]
    assert assembler.add(parts[2]) is None
    assert assembler.add(parts[0]) is None
    assert assembler.add(parts[0]) is None
    result = assembler.add(parts[1])
    assert result is not None
    expected = scores_of(model, sensor_events(10, 1))[-1]
    assert result.scores.tolist() == expected


def test_live_counts_what_is_missing_into_the_open_window() -> None:
    raw = RawStream(Mode.LIVE)
    raw.events(0, 10, sequence=0, tick=10)
    raw.events(25, 5, sequence=3, tick=20)  # frames 1 and 2 with 15 events are missing
    raw.events(0, 10, sequence=1, tick=15)  # late: dropped
    (first,) = raw.control(FrameType.ADVANCE, sequence=6, event=37, tick=100)  # 7 more
    assert facts(first) == (0, 0, 0, 0, 37, 15, 22, 0)
    (end,) = raw.control(FrameType.END_SAMPLE, sequence=7, event=37)
    assert facts(end) == (1, 0, 1, 1, 37, 0, 0, 0)
    answer, credit, _ = raw.ping(wanted=2)
    assert (answer.sequence, credit.next_event, credit.lost) == (8, 37, 22)


def test_live_counts_rejected_events_by_cause_and_goes_on() -> None:
    raw = RawStream(Mode.LIVE)
    raw.events(0, 10, sequence=0, tick=10)
    raw.events(10, 4, sequence=1, tick=9)
    raw.events(14, 6, sequence=2, tick=11)
    (end,) = raw.control(FrameType.END_SAMPLE, sequence=3, event=20)
    assert facts(end) == (0, 0, 1, 0, 20, 16, 0, 4)
    stats = raw.ask(FrameType.STATS, bytes(4)).payload
    assert struct.unpack_from("<4I", stats, 68) == (4, 0, 0, 0)
    assert raw.ping(wanted=1)[1].rejected == 4


def test_live_ends_a_sample_whose_end_was_lost() -> None:
    raw = RawStream(Mode.LIVE)
    raw.events(0, 10, sequence=0)
    (end,) = raw.events(13, 2, sequence=2, sample=1)
    assert facts(end) == (0, 0, 1, 0, 13, 10, 3, 0)
    assert raw.control(FrameType.END_SAMPLE, sequence=3, event=15, sample=0) == []  # said again: known
    (first, second) = raw.control(FrameType.END_SAMPLE, sequence=4, event=15, sample=5)
    assert facts(first) == (1, 1, 1, 0, 15, 2, 0, 0)
    assert facts(second) == (2, 5, 1, 0, 15, 0, 0, 0)


def test_live_keeps_the_newest_results_only() -> None:
    raw = RawStream(Mode.LIVE)
    assert len(raw.control(FrameType.ADVANCE, sequence=0, event=0, tick=2000)) == 20
    _, credit, results = raw.ping(wanted=0)
    assert [facts(frame)[0] for frame in results] == list(range(4, 20))
    assert credit.next_result == 20


@pytest.mark.parametrize("mode", list(Mode))
def test_a_step_over_many_windows_does_not_shut_the_board_off(mode: Mode) -> None:
    """One frame asks for 20 million results; HELLO, PING and START get through."""
    raw = RawStream(mode)
    raw.board.write(
        encode_frame(FrameType.ADVANCE, 0, 0, 2_000_000_000, struct.pack("<IHHI", 0, 0, 0, 1))
        + encode_frame(FrameType.READ, 0, 1, 0, struct.pack("<IHHI", 0, 0, 0, 1))
        + encode_frame(FrameType.HELLO, 0, 0, 5, bytes(4))
        + encode_frame(FrameType.PING, 0, 0, 6, struct.pack("<II", 200, 1))
        + encode_frame(FrameType.START, 0, 0, 7, raw.start_request(mode))
    )
    answers: list[Frame] = []
    while not answers or answers[-1].type != FrameType.START:  # in live mode after a second
        answers += [frame for frame in raw.receive() if frame.type != FrameType.RESULT]
    answered = [(frame.type, frame.word) for frame in answers if frame.flags & Flag.RESPONSE]
    assert answered == [(FrameType.HELLO, 5), (FrameType.PING, 6), (FrameType.START, 7)]
    if mode == Mode.LIVE:  # and the board shows that it is at work
        assert FrameType.CREDIT in [frame.type for frame in answers if not frame.flags]
    assert raw.ping()[0].sequence == 0
    (end,) = raw.control(FrameType.END_SAMPLE, sequence=0, event=0)
    assert facts(end) == (0, 0, 1, 0, 0, 0, 0, 0)


def test_sequence_numbers_wrap() -> None:
    raw = RawStream(Mode.LIVE)
    raw.events(0, 1, sequence=0x7FFF)  # as far ahead as a gap can be
    raw.events(1, 1, sequence=0xFFFE)
    raw.events(2, 1, sequence=0xFFFF)
    raw.events(3, 1, sequence=0)
    raw.events(4, 1, sequence=0xFFFF)  # from the past
    answer, credit, _ = raw.ping()
    assert (answer.sequence, credit.next_event, credit.lost) == (1, 4, 0)


def test_stats_count_the_network_and_the_line() -> None:
    raw = RawStream(Mode.LOSSLESS)
    raw.events(0, 10, sequence=0)
    raw.control(FrameType.END_SAMPLE, sequence=1, event=10)
    raw.board.write(b"\x05junk\0" + encode_frame(1, 0, 0, 0)[:-2] + b"\x01\0")
    raw.receive()
    frame = raw.ask(FrameType.STATS, bytes(4))
    fields = struct.unpack_from("<6Q9I4H", frame.payload)
    assert fields[:5] == (10, 10, 40, 1, 0)
    assert fields[7:11] == (1, 1, 0, 0)
    assert fields[15:] == (2, 0, 2, 0)
    assert struct.unpack_from("<4Q", frame.payload, 92) == (10, 40, 0, 0)
    cleared = raw.ask(FrameType.STATS, b"\0\0\1\0").payload
    assert not any(struct.unpack_from("<6Q9I", cleared))


def test_stats_of_many_populations_come_in_several_answers() -> None:
    raw = RawStream(Mode.LOSSLESS, max_payload=128)  # room for two
    for first, count, more in ((0, 2, 0), (1, 1, 0), (2, 0, 0), (65535, 0, 0)):
        frame = raw.ask(FrameType.STATS, struct.pack("<HBB", first, 0, 0))
        assert struct.unpack_from("<3H", frame.payload, 84) == (2, first, count)
        assert bool(frame.flags & Flag.MORE) == bool(more)


def test_bytes_beyond_the_ring_are_dropped_and_counted() -> None:
    board = EmulatedBoard(ring_size=2048, max_payload=512)
    assert board.write(bytes(5000)) == 2048
    board.read()
    assert board.write(bytes(100)) == 100


@pytest.mark.parametrize(
    "sizes",
    [
        {"max_payload": 127},
        {"max_payload": 4097},
        {"ring_size": 3000},
        {"ring_size": 1024, "max_payload": 1024},
    ],
)
def test_boards_that_cannot_work_are_not_made(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="board"):
        EmulatedBoard(**sizes)  # type: ignore[arg-type]
