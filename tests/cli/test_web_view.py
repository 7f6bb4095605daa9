"""``edgespike stream --web``: what is served to whom, and the page in headless Chromium."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import edgespike
from edgespike import InferenceSession
from edgespike.cli.monitor import Monitor, State
from edgespike.cli.player import Player
from edgespike.cli.samples import find_streams
from edgespike.events import make_events

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")

from edgespike.web import WebView, server

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}
TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def monitor(event_model: Path, recordings: Path) -> Monitor:
    """Of a stream that has been played."""
    session = InferenceSession(event_model)
    player = Player(session, float("inf"))
    monitor = Monitor(session, player, "halves.esg on cpu")
    for answer in player.play(find_streams(recordings, session)):
        monitor.add(answer)
    return monitor


@pytest.fixture
def view(monitor: Monitor) -> Iterator[WebView]:
    with closing(WebView(("127.0.0.1", 0), monitor.state)) as view:
        yield view


def port_of(view: WebView) -> int:
    return int(view.url.rstrip("/").rpartition(":")[2])


def ask(view: WebView, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Status and content of one answer."""
    with closing(HTTPConnection("127.0.0.1", port_of(view), timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, b"" if method == "HEAD" else answer.read()


def look_on(view: WebView, states: int = 1) -> tuple[socket.socket, list[dict[str, Any]]]:
    """A connection that has read so many states."""
    connection = socket.create_connection(("127.0.0.1", port_of(view)), timeout=20)
    connection.sendall(b"GET /states HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data = b""
    while len(told := re.findall(rb"event: state\ndata: (.*)\n\n", data)) < states:
        piece = connection.recv(1 << 16)
        assert piece, data
        data += piece
    return connection, [json.loads(state) for state in told]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- what is served -----------------------------------------------------------


def test_states_tell_what_the_monitor_knows(view: WebView, monitor: Monitor) -> None:
    connection, states = look_on(view, 3)
    connection.close()
    assert states[0]["seconds"] < states[1]["seconds"] < states[2]["seconds"]
    state = states[-1]
    assert [row["name"] for row in state["classes"]] == ["dark", "left", "right"]
    assert [row["name"] for row in state["classes"] if row["best"]] == [state["last"]["class"]]
    assert state["results"] == 4 and [len(row["history"]) for row in state["classes"]] == [4] * 3
    assert {flow["name"]: flow["count"] for flow in state["flows"]} == {"in": 400, "sent": 400}
    assert state["load"] > 0 and state["link"] is None and state["delay_ms"] is None
    assert state["last"] == monitor.state().last


def test_the_page_needs_nothing_from_elsewhere(view: WebView) -> None:
    status, page = ask(view)
    assert status == 200
    named = re.findall(rb'(?:href|src)="([^"]*)"', page)
    assert len(named) == 5
    for name in named:
        assert ask(view, f"/{name.decode()}")[0] == 200
    assert ask(view, "/uPlot-LICENSE.txt")[0] == 200


def test_it_is_read_only(view: WebView) -> None:
    for path in ("/", "/states", "/view.js", "/nothing"):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert ask(view, path, method)[0] == 405, (method, path)
    assert ask(view, "/states", "HEAD")[0] == 200
    for path in ("/nothing", "/../server.py", "/%2e%2e/server.py", "//etc/passwd"):
        assert ask(view, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[evil]"])
def test_requests_for_other_hosts_are_refused(view: WebView, host: str) -> None:
    for path in ("/", "/states", "/view.js"):
        assert ask(view, path, Host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "192.168.7.9:8000", "[::1]:80", "LOCALHOST."])
def test_addresses_and_own_names_are_answered(view: WebView, host: str) -> None:
    assert ask(view, Host=host)[0] == ask(view, Host=socket.gethostname())[0] == 200


def test_other_pages_may_not_read_or_frame_it(view: WebView) -> None:
    with closing(HTTPConnection("127.0.0.1", port_of(view), timeout=20)) as connection:
        connection.request("GET", "/", headers={"Origin": "http://evil.example"})
        headers = connection.getresponse().headers
    assert "access-control-allow-origin" not in headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_who_leaves_makes_room_and_who_is_too_many_is_told(
    view: WebView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "VIEWERS", 3)
    connections = [look_on(view)[0] for _ in range(3)]
    status, text = ask(view, "/states")
    assert status == 503 and b"3 are looking on already" in text
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close at once
        connection.close()
    until(lambda: view._feed.viewers == 0)
    look_on(view)[0].close()


def test_who_does_not_read_holds_nobody_up_and_is_disconnected(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UNREAD_MS", 1000)
    monkeypatch.setattr(server, "PERIOD_S", 0.005)
    large = State(**{**vars(monitor.state()), "title": "x" * 1_000_000})
    with closing(WebView(("127.0.0.1", 0), lambda: large)) as view:
        sleeper = socket.create_connection(("127.0.0.1", port_of(view)), timeout=20)
        sleeper.sendall(b"GET /states HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: view._feed.viewers == 1)
        look_on(view, 3)[0].close()
        until(lambda: view._feed.viewers == 0)
        sleeper.close()


def test_all_are_told_that_it_is_over(monitor: Monitor) -> None:
    view = WebView(("127.0.0.1", 0), monitor.state)
    connection, _ = look_on(view)
    view.close()
    told = b""
    while piece := connection.recv(1 << 16):
        told += piece
    assert b"event: over" in told
    with pytest.raises(ConnectionRefusedError):
        ask(view)


def test_pictures_of_large_sensors_are_made_smaller() -> None:
    events = make_events([0, 0, 0], [0, 1279, 1279], [0, 719, 719], [1, 0, 0])
    picture = server.picture(events, (1280, 720))
    assert (picture["width"], picture["height"]) == (160, 90)
    pixels = np.frombuffer(b64decode(picture["pixels"]), np.uint8)
    assert np.flatnonzero(pixels).tolist() == [0, 160 * 90 - 1]
    assert pixels[0] >> 4 > 0 == pixels[0] & 15 and pixels[-1] == 15


# ---- the command ----------------------------------------------------------------


def test_json_goes_on_as_ever(cli: Any, event_model: Path, recordings: Path) -> None:
    outcome = cli("stream", event_model, recordings, "--speed", "max", "--json", "--web", "0")
    assert outcome.code == 0 and re.fullmatch(r"the view is at http://127\.0\.0\.1:\d+/\n", outcome.err)
    assert [json.loads(line)["type"] for line in outcome.out.splitlines()] == ["result"] * 4 + ["summary"]


def test_a_port_in_use_is_one_clear_line(cli: Any, event_model: Path, recordings: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = cli("stream", event_model, recordings, "--web", port)
    error, hint = outcome.err.splitlines()
    assert outcome.code == 4 and outcome.out == ""
    assert error == f"error: cannot serve the view at 127.0.0.1:{port}: Address already in use"
    assert hint.startswith("hint: choose another port")


@pytest.mark.parametrize("address", ["x", "", "localhost", "1.2.3.4:", "99999", "localhost:-1"])
def test_addresses_that_are_none(cli: Any, event_model: Path, recordings: Path, address: str) -> None:
    outcome = cli("stream", event_model, recordings, "--web", address)
    assert outcome.code == 2 and "is no address: write PORT or HOST:PORT" in outcome.err


def test_addresses_of_other_hosts(cli: Any, event_model: Path, recordings: Path) -> None:
    outcome = cli("stream", event_model, recordings, "--web", "192.0.2.1:8000")
    assert outcome.code == 4 and "hint: is it an address of this host" in outcome.err


def test_without_the_extra(
    cli: Any, event_model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "edgespike.web", None)
    outcome = cli("stream", event_model, recordings, "--web", "8000")
    assert outcome.code == 2 and "pip install 'edgespike[web]'" in outcome.err


# ---- in a browser -----------------------------------------------------------------


@pytest.fixture(scope="module")
def browser_tool(need: Callable[[object, str], None]) -> ModuleType:
    """tools/headless_browser.py as a module."""
    spec = importlib.util.spec_from_file_location("headless_browser", TOOLS / "headless_browser.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    need(module.find_chromium(), "chromium is not installed (apt install chromium)")
    return module


@pytest.fixture
def stream(event_model: Path, recordings: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A stream without end, and where its view is."""
    command = ["stream", str(event_model), str(recordings), "--loop", "0", "--web", "0", "--json"]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgespike", *command, "--port", "emulated"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert child.stderr
    found = re.search(r"http://\S+", child.stderr.readline())
    assert found
    yield child, found[0]
    child.kill()
    child.wait()


NUMBER_OF_RESULTS = "Number(document.querySelector('#health dd').textContent.replace(/,/g, ''))"


def test_the_page_lives(browser_tool: ModuleType, stream: tuple[subprocess.Popen[str], str]) -> None:
    child, url = stream
    with browser_tool.Browser() as browser:
        for width, dark in ((390, True), (320, False), (1280, False)):
            browser.open(url, width, 844, dark=dark)
            browser.wait_for("document.querySelectorAll('.row').length === 3")
            before = browser.run(NUMBER_OF_RESULTS)
            browser.wait_for(f"{NUMBER_OF_RESULTS} > {before} + 4")
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run("innerWidth") == width
        assert browser.run("document.querySelector('.best .name').textContent") in ("left", "right")
        assert browser.run("element('class').textContent") in ("left", "right")
        colours = "new Set(element('picture').getContext('2d').getImageData(0, 0, 6, 4).data).size"
        assert browser.run(colours) > 2, "the picture shows events"
        assert browser.run("rates.data[0].length") > 1, "the plots have data"
        assert browser.run("document.querySelectorAll('#flows tr').length") == 5
        assert "frames damaged" in browser.run("element('health').textContent")
        child.send_signal(signal.SIGINT)
        browser.wait_for("element('status').textContent.startsWith('ended after')")
        assert browser.complaints == []
