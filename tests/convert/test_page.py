"""The report as a page: valid, complete, and in need of nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from small_networks import Writer, flat_gemm

from edgespike.convert import Calibration, Report, convert_onnx
from edgespike.convert.report import Search, Trial

pytest.importorskip("matplotlib", reason="needs the extra report: pip install edgespike[report]")
pytest.importorskip("jinja2", reason="needs the extra report: pip install edgespike[report]")

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Balance(HTMLParser):
    """Makes sure that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    net = Writer(("N", 1, 6, 6))
    net.conv(1, 4, 3, 3)
    net.add("Relu")
    flat_gemm(net, 64)
    path = tmp_path_factory.mktemp("net") / "network.onnx"
    onnx.save(net.model(), path)
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, (60, 1, 6, 6)).astype(np.float32)
    return convert_onnx(path, Calibration(x, random.integers(0, 5, 60)), levels=3)[1]


def page_of(report: Report, source: str = "network.onnx") -> str:
    from edgespike.convert.page import report_page

    page = report_page(report, source, "model.esg")
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    return page


def test_it_needs_nothing_from_elsewhere(report: Report) -> None:
    page = page_of(report)
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert all(address.startswith("#") for address in addresses)
    assert "<script" not in page
    assert "@import" not in page


def test_plots_are_sound_and_take_the_colours_of_the_page(report: Report) -> None:
    plots = re.findall(r"<svg.*?</svg>", page_of(report), re.DOTALL)
    assert len(plots) == 5
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        colours = set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{6})", plot))
        assert colours <= {"#000000", "#ffffff"}


def test_every_layer_and_number_is_there(report: Report) -> None:
    assert report.certificate is not None
    assert report.diagnosis is not None
    page = page_of(report)
    for layer in report.layers:
        assert page.count(f'title="{layer.name}"') == 2
    assert report.certificate.calibration_sha256 in page
    for number in (report.flash, report.ram_streaming, report.certificate.event_synops):
        assert f"{number:,}" in page
    for line in report.diagnosis.advice:
        assert line[1:20] in page


def test_a_search_is_drawn(report: Report) -> None:
    names = tuple(layer.name for layer in report.layers)
    free = (False, *[True] * (len(names) - 1))
    trials = tuple(
        Trial((255, *[levels] * (len(names) - 1)), (8,) * len(names), 0.9, levels * 1e5, 5000, 0, 9000, True)
        for levels in (255, 15)
    )
    search = Search(names, free, free, "accuracy", 30, 0.9, 0.005, 6000, None, trials, 1, "")
    page = page_of(replace(report, search=search))
    assert page.count("<svg") == 8
    assert "6,000 bytes of RAM" in page
    assert "Of 2 graphs" in page


def test_names_cannot_break_it(report: Report) -> None:
    layers = (replace(report.layers[0], name="<script>&"), *report.layers[1:])
    page = page_of(replace(report, layers=layers), source="a<b>.onnx")
    assert "<script" not in page
    assert "a<b>" not in page


def test_without_diagnosis_labels_and_certificate(report: Report) -> None:
    bare = replace(
        report,
        diagnosis=None,
        certificate=None,
        accuracy=None,
        accuracy_float=None,
        agreement=None,
        samples=0,
    )
    page = page_of(bare)
    assert page.count("<svg") == 1


def test_equal_reports_give_equal_pages(report: Report) -> None:
    assert page_of(report) == page_of(report)


def test_the_command_writes_it(report: Report, tmp_path: Path) -> None:
    from edgespike.cli import main

    net = Writer(("N", 8))
    net.gemm(8, 4)
    onnx.save(net.model(), tmp_path / "network.onnx")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(0, 1, (60, 8)).astype(np.float32))
    network, data, model = (tmp_path / name for name in ("network.onnx", "data.npz", "model.esg"))
    command = ["convert", str(network), "-o", str(model), "--calibration", str(data), "--report"]
    assert main([*command, str(tmp_path / "none" / "page.html")]) == 2
    assert not model.exists()
    assert main([*command, str(tmp_path / "page.html")]) == 0
    assert "network.onnx → model.esg" in (tmp_path / "page.html").read_text("utf-8")
