"""Results for others: a real MQTT broker, and a Unix socket."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgespike.errors import DeviceError
from edgespike.publish import UnixPublisher, open_publisher


@pytest.fixture
def broker(need: Callable[[object, str], None], tmp_path: Path) -> Iterator[int]:
    """The port of a mosquitto of our own."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    need(program, "mosquitto is not installed (apt install mosquitto)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    child = subprocess.Popen([str(program), "-c", str(settings)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port
    child.kill()
    child.wait()


def test_mqtt(cli: Any, broker: int, event_model: Path, recordings: Path) -> None:
    came: list[dict[str, Any]] = []
    ready = threading.Event()
    listener = mqtt.Client(CallbackAPIVersion.VERSION2)
    listener.on_subscribe = lambda *_: ready.set()
    listener.on_message = lambda _client, _data, message: came.append(json.loads(message.payload))
    listener.connect("127.0.0.1", broker)
    listener.subscribe("digits/now", qos=1)
    listener.loop_start()
    assert ready.wait(10)
    where = f"mqtt://127.0.0.1:{broker}/digits/now"
    outcome = cli("stream", event_model, recordings, "--speed", "max", "--json", "--publish", where)
    assert outcome.code == 0, outcome.err
    until = time.monotonic() + 10
    while len(came) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    listener.loop_stop()
    assert came == [json.loads(line) for line in outcome.out.splitlines()[:-1]]


def test_no_broker(cli: Any, event_model: Path, recordings: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outcome = cli("stream", event_model, recordings, "--publish", f"mqtt://127.0.0.1:{port}/x")
    assert outcome.code == 4 and "no MQTT broker" in outcome.err


def test_unix_socket(cli: Any, event_model: Path, recordings: Path, tmp_path: Path) -> None:
    path = tmp_path / "results"
    lines: list[str] = []

    def listen() -> None:
        until = time.monotonic() + 10
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.005)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            with client.makefile() as text:
                lines.extend(text)

    listening = threading.Thread(target=listen)
    listening.start()
    command = ["stream", event_model, recordings, "--speed", "0.2", "--json", "--publish", f"unix:{path}"]
    outcome = cli(*command)
    listening.join(10)
    results = [json.loads(line) for line in outcome.out.splitlines()[:-1]]
    assert lines and [json.loads(line) for line in lines] == results[-len(lines) :]
    assert not path.exists()


def test_who_does_not_read_is_disconnected(tmp_path: Path) -> None:
    publisher = UnixPublisher(tmp_path / "results")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sleeper:
        sleeper.connect(str(tmp_path / "results"))
        for _ in range(2000):
            publisher.send("x" * 1000)
    assert publisher.missed == 1
    publisher.close()


def test_a_socket_left_behind_is_taken_over_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "results"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    publisher = open_publisher(f"unix:{path}")
    with pytest.raises(DeviceError, match="cannot listen"):
        open_publisher(f"unix:{path}")
    publisher.close()
    assert not path.exists()


@pytest.mark.parametrize("where", ["mqtt://host", "mqtt:///topic", "http://x/y", "unix:", "mqtt://h:port/t"])
def test_nowhere_to_publish_to(cli: Any, event_model: Path, recordings: Path, where: str) -> None:
    outcome = cli("stream", event_model, recordings, "--publish", where)
    assert outcome.code == 2 and "nowhere to publish to" in outcome.err
