"""A line to a board: frames both ways, commands with answers, and greeting."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from typing import TypeVar

from edgespike import _link
from edgespike._core import error_of
from edgespike.errors import DeviceError
from edgespike.link.messages import GREATEST_PAYLOAD, ErrorReport, Flag, Frame, FrameType, HelloInfo
from edgespike.link.transports import Transport

LONGEST_RETRY = 2.0  # seconds
_MALFORMED = (struct.error, ValueError)
Parsed = TypeVar("Parsed")


class Connection:
    """Sends commands until they are answered, and hands all other frames to ``on_frame``.

    Args:
        transport: an open byte pipe.
        timeout: seconds of silence after which the board counts as gone.
        retry: seconds without an answer after which a command is sent again.
        clock: seconds since some moment.
    """

    random: random.Random = random.SystemRandom()  # two hosts must not draw the same numbers

    def __init__(
        self,
        transport: Transport,
        timeout: float,
        retry: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = transport
        self.timeout = timeout
        self.retry = retry
        self.clock = clock
        self.on_frame: Callable[[Frame], None] = lambda frame: None
        self.reader = _link.FrameReader(GREATEST_PAYLOAD)
        self.bytes_sent = 0
        self.bytes_received = 0
        self.frames_sent = 0
        self.heard_at = 0.0
        self._request_number = self.random.randrange(1, 1 << 31)
        self._answer: Frame | None = None
        self._info: HelloInfo | None = None

    @property
    def name(self) -> str:
        """The port's name."""
        return self.transport.name

    @property
    def info(self) -> HelloInfo:
        """What the board last said about itself."""
        return self._info or self.hello()

    # ---- frames

    def send(self, data: bytes, frames: int = 1) -> None:
        """Send encoded frames."""
        self.transport.write(data)
        self.bytes_sent += len(data)
        self.frames_sent += frames

    def receive(self, timeout: float) -> bytes:
        """Take and handle what comes within `timeout` seconds; returns the raw bytes."""
        data = self.transport.read(timeout)
        self.bytes_received += len(data)
        for fields in self.reader.feed(data):
            frame = Frame(*fields)
            if frame.flags & Flag.RESPONSE or frame.type >= FrameType.CREDIT:  # no echo of ours
                self.heard_at = self.clock()
            self._handle(frame)
        return data

    def _handle(self, frame: Frame) -> None:
        try:
            if frame.major != _link.PROTOCOL[0]:
                self._check_version(frame)
            elif frame.flags & Flag.RESPONSE and frame.type != FrameType.PING:
                self._handle_answer(frame)
            elif frame.type == FrameType.ERROR:
                report = ErrorReport.parse(frame.payload)
                self.check_epoch(report.boot_epoch)
                if report.type < FrameType.EVENTS:
                    self._answer = frame
                else:
                    self.on_frame(frame)
            else:
                self.on_frame(frame)
        except _MALFORMED as error:
            raise self._malformed(frame, error) from None

    def parse(self, parser: Callable[[bytes], Parsed], frame: Frame) -> Parsed:
        """What an answer says."""
        try:
            return parser(frame.payload)
        except _MALFORMED as error:
            raise self._malformed(frame, error) from None

    def _malformed(self, frame: Frame, error: Exception) -> DeviceError:
        return DeviceError(
            f"the board at {self.name} sent a malformed frame of type {frame.type}: {error}",
            "update the board's firmware, or edgespike",
            "frame",
        )

    def _check_version(self, frame: Frame) -> None:
        if frame.type == FrameType.HELLO and frame.flags & Flag.RESPONSE and len(frame.payload) >= 2:
            ours = ".".join(map(str, _link.PROTOCOL))
            older = "the board's firmware" if frame.payload[0] < _link.PROTOCOL[0] else "edgespike here"
            raise DeviceError(
                f"the board at {self.name} speaks link protocol {frame.payload[0]}.{frame.payload[1]}, "
                f"this program {ours}",
                f"update {older}, which is the older of the two",
                "protocol-version",
            )

    def _handle_answer(self, frame: Frame) -> None:
        if frame.type == FrameType.HELLO and frame.word == 0:
            self.check_epoch(HelloInfo.parse(frame.payload).boot_epoch)
        else:
            self._answer = frame

    def check_epoch(self, boot_epoch: int) -> None:
        """Raise if the board is not in the life it was greeted in."""
        if self._info is not None and boot_epoch != self._info.boot_epoch:
            self._info = None
            raise DeviceError(
                f"the board at {self.name} restarted; its model and results are lost",
                "upload the model again; if it happens again check the power supply",
                "restarted",
            )

    # ---- commands

    def next_request(self) -> int:
        """A request number that was not used lately."""
        self._request_number = self._request_number % 0xFFFFFFFF + 1
        return self._request_number

    def take_answer(self) -> Frame | None:
        """The last answer that came, once."""
        answer, self._answer = self._answer, None
        return answer

    def request(self, type: FrameType, payload: bytes, timeout: float | None = None) -> Frame:
        """Send a command, again and again, until it is answered.

        Raises:
            DeviceError: the board stays silent, or does not know the command.
        """
        number = self.next_request()
        frame = _link.encode_frame(type, 0, 0, number, payload)
        limit = self.timeout if timeout is None else timeout
        began = ask_at = self.clock()
        pause = self.retry
        while self.clock() - max(began, self.heard_at) <= limit:
            if self.clock() >= ask_at:
                self.send(frame)
                ask_at = self.clock() + pause
                pause = min(2 * pause, max(LONGEST_RETRY, self.retry))
            self.receive(max(0.0, ask_at - self.clock()))
            answer = self.take_answer()
            if answer is None or answer.word != number:
                continue
            if answer.type == FrameType.ERROR:
                raise error_of(ErrorReport.parse(answer.payload).code, f"the board at {self.name} refused it")
            if answer.type == type:
                return answer
        raise self.silent()

    def silent(self) -> DeviceError:
        """The error for a board that said nothing for too long."""
        return DeviceError(
            f"the board at {self.name} stopped answering",
            "check cable and power; a network that computes for long needs a longer timeout",
            "silent",
        )

    # ---- greeting

    def hello(self, patience: float | None = None) -> HelloInfo:
        """Ask the board what it is, patiently: it may just be starting, or finish earlier work first.

        Args:
            patience: seconds of silence to wait, unless the transport's.

        Raises:
            DeviceError: nothing answers, something else does, or a board of another
                major protocol version.
        """
        limit = self.transport.patience if patience is None else patience
        number = self.next_request()
        request = _link.encode_frame(FrameType.HELLO, 0, 0, number, bytes([*_link.PROTOCOL, 0, 0]))
        received = bytearray()
        self._info = None
        began = ask_at = self.clock()
        while self.clock() - max(began, self.heard_at) <= limit:
            if self.clock() >= ask_at:
                self.send(b"\0" + request)
                ask_at = self.clock() + self.retry
            received += self.receive(max(0.0, ask_at - self.clock()))
            del received[4096:]
            answer = self.take_answer()
            if answer is not None and answer.type == FrameType.HELLO and answer.word == number:
                self._info = self.parse(HelloInfo.parse, answer)
                return self._info
        raise self._no_board(bytes(received), request)

    def _no_board(self, received: bytes, request: bytes) -> DeviceError:
        hint = "check that this is the board's port, its baud rate, and that it runs edgespike's firmware"
        if not received:
            return DeviceError(f"nothing answers at {self.name}", hint, "silent")
        if request in received:
            what = "only echoes what it is sent"
        elif sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in received) > 0.9 * len(received):
            text = " ".join(received.decode("ascii", "replace").split())[:60]
            what = f"says {text!r}"
        else:
            what = f"sent {len(received)} bytes that make no sense"
        return DeviceError(f"no edgespike board at {self.name}: it {what}", hint, "not-a-board")
