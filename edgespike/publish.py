"""Results for other programs: to an MQTT broker, or to whoever connects to a Unix socket.

Both get JSON, a line or message for each result, as ``edgespike stream --json`` prints it. A
receiver that is slow or gone never holds up the stream; what it misses is counted.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgespike.errors import DeviceError, UsageError

CONNECT_S = 5.0
FLUSH_S = 2.0  # for messages that are still to be sent at the end
MQTT_PORT = 1883


class Publisher(Protocol):
    """Somewhere results go. ``missed``: messages that a receiver, or the broker, did not get."""

    missed: int

    def send(self, message: str) -> None:
        """Send a line of JSON; does not wait."""

    def close(self) -> None:
        """Send what is left, and let go."""


def open_publisher(where: str) -> Publisher:
    """Open ``mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC`` or ``unix:PATH``.

    Raises:
        UsageError: neither of them, or the extra ``mqtt`` is missing.
        DeviceError: the broker cannot be reached, or the socket cannot be made.
    """
    if where.startswith("unix:") and len(where) > len("unix:"):
        return UnixPublisher(Path(where.removeprefix("unix:")))
    parts = urlsplit(where)
    with suppress(ValueError):
        if parts.scheme == "mqtt" and parts.hostname and parts.path.strip("/"):
            port = parts.port or MQTT_PORT
            return MqttPublisher(parts.hostname, port, parts.path.strip("/"), parts.username, parts.password)
    raise UsageError(
        f"{where!r} is nowhere to publish to", "write mqtt://HOST[:PORT]/TOPIC or unix:PATH", "publish"
    )


class UnixPublisher:
    """Listens at a path; everybody who connects gets the lines from then on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missed = 0
        self._clients: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.setblocking(False)
        try:
            if path.is_socket() and not _is_alive(path):
                path.unlink()  # left behind by a program that was killed
            self._listening.bind(str(path))
        except OSError as error:
            self._listening.close()
            raise DeviceError(
                f"cannot listen at {path}: {error.strerror or error}",
                "choose another path; another program may use this one",
                "publish",
            ) from error
        self._listening.listen()

    def send(self, message: str) -> None:
        """To all who are connected; who does not read is disconnected."""
        with suppress(BlockingIOError):
            while True:
                client, _ = self._listening.accept()
                client.setblocking(False)
                self._clients.append(client)
        data = message.encode() + b"\n"
        for client in list(self._clients):
            try:
                sent = client.send(data)
            except OSError:
                sent = 0
            if sent != len(data):
                self.missed += 1
                self._clients.remove(client)
                client.close()

    def close(self) -> None:
        """Disconnect all."""
        for client in self._clients:
            client.close()
        self._listening.close()
        self.path.unlink(missing_ok=True)


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


class MqttPublisher:
    """Publishes to a topic of a broker, which is connected again when it was gone."""

    def __init__(self, host: str, port: int, topic: str, user: str | None, password: str | None) -> None:
        try:
            from paho.mqtt import client as mqtt
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise UsageError(
                "publishing to MQTT needs paho-mqtt, which is not installed",
                "pip install 'edgespike[mqtt]'",
                "missing-extra",
            ) from error
        self.topic = topic
        self.missed = 0
        self._last: Any = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.connect_timeout = CONNECT_S
        if user:
            self._client.username_pw_set(user, password)
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise DeviceError(
                f"no MQTT broker at {host}:{port}: {error.strerror or error}",
                "is it running, and does it listen there?",
                "publish",
            ) from error
        self._client.loop_start()

    def send(self, message: str) -> None:
        """To the broker; while it is gone, results are missed."""
        if not self._client.is_connected() and self._last is not None:
            self.missed += 1
            return
        self._last = self._client.publish(self.topic, message, qos=1)

    def close(self) -> None:
        """Wait a moment for the last message."""
        if self._last is not None:
            with suppress(RuntimeError, ValueError):
                self._last.wait_for_publish(FLUSH_S)
        self._client.disconnect()
        self._client.loop_stop()
