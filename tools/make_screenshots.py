"""Makes the pictures of the live view in docs/images, with the demo's network and recordings.

    python tools/make_screenshots.py docs/images

The recordings are simulated, and come with the package. Needs chromium and the extras convert and web.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
import threading
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path

from headless_browser import Browser
from rich.console import Console

from edgespike import InferenceSession
from edgespike.cli.monitor import Monitor
from edgespike.cli.player import Player
from edgespike.cli.samples import find_streams
from edgespike.cli.view import draw
from edgespike.convert import convert_onnx, load_calibration
from edgespike.data import DEMO_EVENTS, demo_archive, demo_calibration, demo_network
from edgespike.web import WebView

TITLE = "digits.esg on emulated, from digits_recordings.zip"
LIVELY = "new Set(atob(last.picture.pixels)).size > 4 && last.seconds > 80"  # a digit is seen to move
PAGES = {  # width, height, dark
    "web-desktop.png": (1180, 990, False),
    "web-phone.png": (390, 1500, True),
}


def stream(session: InferenceSession) -> Monitor:
    """The demo's recordings in real time, in another thread, over and over."""
    player = Player(session, 1.0, live=True)
    monitor = Monitor(session, player, TITLE)
    recordings = find_streams(demo_archive(), session)

    def play() -> None:
        for answer in player.play(chain.from_iterable(repeat(recordings))):
            monitor.add(answer)

    threading.Thread(target=play, daemon=True).start()
    return monitor


def terminal(monitor: Monitor, browser: Browser) -> bytes:
    """What a terminal of 80 x 24 shows."""
    console = Console(
        width=80, height=24, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(draw(monitor.state(), console))
    with tempfile.NamedTemporaryFile("w", suffix=".html") as page:
        picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="edgespike stream"), flags=re.S)
        page.write(f"<meta charset=utf-8><body style='margin:0'>{picture}")
        page.flush()
        browser.open(f"file://{page.name}", 900, 560)
        browser.wait_for("document.querySelector('svg') !== null")
        return browser.screenshot()


def main() -> None:
    """Writes the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    graph = convert_onnx(
        demo_network(),
        load_calibration(demo_calibration()),
        events=DEMO_EVENTS,
        classes=[str(digit) for digit in range(10)],
    )[0]
    session = InferenceSession(graph, "device", port="emulated")
    monitor = stream(session)
    with closing(WebView(("127.0.0.1", 0), monitor.state)) as view, Browser() as browser:
        for name, (width, height, dark) in PAGES.items():
            browser.open(view.url, width, height, dark=dark)
            browser.wait_for(f"typeof last === 'object' && last && {LIVELY}", 90)
            (folder / name).write_bytes(browser.screenshot())
        (folder / "terminal.png").write_bytes(terminal(monitor, browser))
    print(f"see {folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")


if __name__ == "__main__":
    main()
