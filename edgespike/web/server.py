"""Serves the live view: one page, and its state as server-sent events.

Nothing that comes from a browser changes anything: there are GET and HEAD of a few files and of the
state. The server has a thread of its own; a state is made once for all who look on, and who reads
slowly skips some.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import socket
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgespike.cli.monitor import State
from edgespike.errors import DeviceError

PERIOD_S = 0.2  # between two states
IDLE_S = 1.0  # when nobody looks on
VIEWERS = 16  # who look on at a time
CONNECTIONS = 64  # of any kind
UNREAD_MS = 20_000  # who takes nothing for so long is disconnected
PICTURE = 160  # pixels, at most, of the longer side
SHADES = 15  # of ON and of OFF events

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class WebView:
    """Serves the page until it is closed.

    Args:
        address: host and port to listen on; port 0: any that is free.
        state: tells what is known now; called from another thread.

    Raises:
        DeviceError: the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], state: Callable[[], State]) -> None:
        self._socket = _listen(address)
        host, port = self._socket.getsockname()[:2]
        everywhere = ipaddress.ip_address(host).is_unspecified
        name = socket.gethostname() if everywhere else f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{port}/"
        self._feed = Feed(state)
        config = uvicorn.Config(
            application(self._feed, address[0]),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=1,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="web view", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Tell all who look on that it is over, and listen no more."""
        self._feed.over.set()
        self._server.should_exit = True
        self._thread.join(5.0)
        self._socket.close()


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    try:
        family, *_, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; its connections inherit it
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        listening.bind(resolved)
        listening.listen()
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise DeviceError(
            f"cannot serve the view at {host}:{port}: {error.strerror}",
            "choose another port" if in_use else "is it an address of this host, and a port above 1023?",
            "web",
        ) from error
    return listening


class Feed:
    """The latest state as bytes of an event stream, the same for all."""

    def __init__(self, state: Callable[[], State]) -> None:
        self.over = threading.Event()
        self.viewers = 0
        self._state = state
        self._latest = b""

    async def refresh(self) -> None:
        """Makes a new state now and then."""
        while True:
            self._latest = _event("state", encode(self._state()))
            await asyncio.sleep(PERIOD_S if self.viewers else IDLE_S)

    async def follow(self) -> AsyncIterator[bytes]:
        """States, for one who looks on; a slow one gets fewer."""
        self.viewers += 1
        try:
            told = b""
            while not self.over.is_set():
                if self._latest is not told:
                    told = self._latest
                    yield told
                await asyncio.sleep(PERIOD_S / 2)
            yield _event("state", encode(self._state())) + _event("over", {})
        finally:
            self.viewers -= 1


def _event(name: str, value: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


# ---- what is served -----------------------------------------------------------


def application(feed: Feed, host: str) -> Starlette:
    """The page and the states of a feed, to those who ask for this host by one of its own names."""

    async def states(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if feed.viewers >= VIEWERS:
            return PlainTextResponse(f"{VIEWERS} are looking on already\n", 503, {"Retry-After": "5"})
        return StreamingResponse(feed.follow(), media_type="text/event-stream")

    @asynccontextmanager
    async def refreshing(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(feed.refresh())
        yield
        task.cancel()

    files = StaticFiles(packages=[("edgespike.web", "static")], html=True)
    names = {host.lower(), "localhost", socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
    return Starlette(
        routes=[Route("/states", states), Mount("/", files)],
        middleware=[Middleware(Guard, names=names)],
        lifespan=refreshing,
    )


class Guard:
    """Refuses requests for other hosts than this one, and adds headers to the answers.

    A page of somebody else whose name was made to point here (DNS rebinding) could else read what
    is told to this host's own browsers. Its requests name its own host; an address, as opposed to
    a name, cannot be made to point elsewhere.
    """

    def __init__(self, app: ASGIApp, names: set[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).get("host", "")):
            refusal = PlainTextResponse("this host has another name; ask for it by its address\n", 421)
            await refusal(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _is_ours(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name.lower().rstrip(".") in self.names


def encode(state: State) -> dict[str, Any]:
    """A state as JSON values; its events as a picture."""
    values = {name: value for name, value in vars(state).items() if name != "events"}
    for name in ("source", "link"):
        values[name] = values[name] and asdict(values[name])
    values["classes"] = [vars(row) for row in state.classes]
    values["flows"] = [vars(flow) for flow in state.flows]
    return values | {"picture": picture(state.events, state.sensor)}


def picture(events: NDArray[Any], sensor: tuple[int, int]) -> dict[str, Any]:
    """Width, height, and for each pixel, row by row, a byte (base64): 16 * ON + OFF, each 0 to 15.

    Large sensors are made smaller. Brightness grows as the root of the number of events, up to that
    of the busiest pixels.
    """
    shrink = max(1, -(-max(sensor) // PICTURE))
    width, height = -(-sensor[0] // shrink), -(-sensor[1] // shrink)
    inside = (events["x"] < sensor[0]) & (events["y"] < sensor[1])
    some = events[inside]
    place = (some["y"] // shrink).astype(np.intp) * width + some["x"] // shrink
    place += (some["p"] > 0) * (width * height)
    counts = np.bincount(place, minlength=2 * width * height).reshape(2, -1)
    busy = counts[counts > 0]
    top = max(1.0, float(np.percentile(busy, 95))) if len(busy) else 1.0
    off, on = np.ceil((counts / top).clip(0, 1) ** 0.5 * SHADES).astype(np.uint8)
    return {"width": width, "height": height, "pixels": b64encode(16 * on + off).decode()}
