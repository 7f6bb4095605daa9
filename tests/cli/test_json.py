"""Every JSON object has exactly the keys and types that docs/cli.md says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgespike.boards import BOARDS
from edgespike.link import DeviceClient

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
GOLDEN = min((DOCUMENT.parents[1] / "tests" / "golden").glob("*.esg"))
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def documented(section: str) -> dict[str, str]:
    """Key to type, as the table below a heading of docs/cli.md says."""
    _, _, text = DOCUMENT.read_text().partition(f"\n### {section}\n")
    text, _, _ = text.partition("\n#")
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", text, re.MULTILINE))


def has_type(value: Any, name: str) -> bool:
    """``string``, ``integer or null``, ``list of integer, or null`` and so on."""
    for choice in re.split(r",? or ", name):
        kind, _, of = choice.partition("list of ")
        if of and isinstance(value, list) and all(TYPES[of](item) for item in value):
            return True
        if kind and TYPES[kind](value):
            return True
    return False


def leaves(value: Any, path: str, keys: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Every documented place in an object with its value; and every undocumented one that is no object."""
    if isinstance(value, dict) and (path not in keys or any(key.startswith(path + ".") for key in keys)):
        if path in keys:
            yield path, value
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key, keys)
    elif isinstance(value, list) and path not in keys:
        for item in value:
            yield from leaves(item, f"{path}[]", keys)
    else:
        yield path, value


def check(text: str, section: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """One line, one object, as documented; returns it. Lists named in ``optional`` may be empty."""
    assert text.count("\n") == 1
    value = json.loads(text)
    keys = documented(section)
    assert keys
    found = list(leaves(value, "", keys))
    for path, leaf in found:
        assert path in keys, f"{path} is not documented"
        assert has_type(leaf, keys[path]), f"{path} is {leaf!r}, documented as {keys[path]}"
    nulls = [path for path, leaf in found if leaf is None]
    missing = set(keys) - {path for path, _ in found}
    missing = {path for path in missing if not any(path.startswith(null + ".") for null in nulls)}
    missing = {path for path in missing if not path.startswith(tuple(f"{name}[]" for name in optional))}
    assert not missing, f"documented, but not there: {missing}"
    return dict(value)


@pytest.mark.parametrize("model", ["image_model", "event_model"])
def test_inspect(cli: Any, model: str, request: pytest.FixtureRequest) -> None:
    outcome = cli("inspect", request.getfixturevalue(model), "--json")
    assert outcome.code == 0
    check(outcome.out, "inspect")


def test_fit(cli: Any, event_model: Path, recordings: Path) -> None:
    value = check(cli("fit", event_model, "--all", "--samples", recordings, "--json").out, "fit")
    assert len(value["boards"]) == len(BOARDS) and all(board["fits"] for board in value["boards"])
    here = check(cli("fit", event_model, "--board", "microbit", "--json").out, "fit")
    assert [board["board"] for board in here["boards"]] == ["microbit"]


def test_run(cli: Any, image_model: Path, images: Path) -> None:
    value = check(cli("run", image_model, images, "--json").out, "run")
    assert [result["class"] for result in value["results"]] == ["left", "right"] * 3


def test_eval(cli: Any, event_model: Path, recordings: Path) -> None:
    value = check(cli("eval", event_model, recordings, "--json").out, "eval")
    assert value["accuracy"] == 1.0
    assert value["synops_per_sample"] == sum(row["synops"] for row in value["populations"])


def test_eval_in_threads_says_the_same(cli: Any, event_model: Path, recordings: Path) -> None:
    one, three = (
        check(cli("eval", event_model, recordings, "--jobs", jobs, "--json").out, "eval") for jobs in (1, 3)
    )
    assert (one.pop("jobs"), three.pop("jobs")) == (1, 3)
    one.pop("ms_per_sample"), three.pop("ms_per_sample")
    assert one == three


def test_bench(cli: Any, event_model: Path, image_model: Path, recordings: Path) -> None:
    value = check(cli("bench", event_model, recordings, "--seconds", 0, "--json").out, "bench")
    evaluated = json.loads(cli("eval", event_model, recordings, "--json").out)
    assert value["runs"] == value["samples"] == 2
    assert value["synops_per_sample"] == sum(row["synops"] for row in value["populations"])
    assert 2 * value["input_events_per_sample"] == 2 * evaluated["input_events_per_sample"]
    dense = check(cli("bench", image_model, "--seconds", 0, "--json").out, "bench")
    assert dense["samples_from"] == "random"
    assert dense["input_events_per_sample"] <= 24


def test_stream(cli: Any, event_model: Path, recordings: Path) -> None:
    lines = cli("stream", event_model, recordings, "--speed", "10", "--json").out.splitlines(keepends=True)
    results = [check(line, "stream: result") for line in lines[:-1]]
    assert [(row["class"], row["time_us"]) for row in results] == [
        (name, end) for name in ("left", "right") for end in (20_000, 40_000)
    ]
    assert check(lines[-1], "stream: summary")["accuracy"] == 1.0


@pytest.mark.parametrize("kind", ["emulated", "qemu"])
def test_stream_to_a_board(
    cli: Any, event_model: Path, recordings: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    port = f"qemu:{request.getfixturevalue('firmware')}" if kind == "qemu" else kind
    command = ["stream", event_model, recordings, "--speed", "max", "--json"]
    here = cli(*command).out.splitlines(keepends=True)
    board = cli(*command, "--port", port).out.splitlines(keepends=True)
    assert [check(line, "stream: result") for line in board[:-1]] == [json.loads(line) for line in here[:-1]]
    summary = check(board[-1], "stream: summary")
    assert summary["events"] == 400
    assert summary["link"]["lost_at_sender"] == summary["link"]["lost_on_link"] == 0


def test_live_streams_end_too(cli: Any, event_model: Path, recordings: Path) -> None:
    command = ["stream", event_model, recordings, "--speed", "max", "--json", "--live", "--port", "emulated"]
    *results, last = cli(*command).out.splitlines(keepends=True)
    assert len(results) == 4
    check(last, "stream: summary")


def test_check(cli: Any, network: Path, images: Path) -> None:
    for options in ([], ["--calibration", images]):
        outcome = cli("check", network, *options, "--json")
        assert outcome.code == 0
        value = check(outcome.out, "check")
        assert value["command"].startswith("edgespike convert ")


def test_check_of_what_cannot_be_converted(cli: Any, network: Path, recordings: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", x=np.zeros((60, 4, 6, 3)))
    outcome = cli("check", network, "--calibration", tmp_path / "wrong.npz", "--json")
    value = check(outcome.out, "check", optional=("estimates",))
    assert outcome.code == value["problem"]["exit_code"] == 3
    assert f"error: {value['problem']['message']}\n" in outcome.err


def test_convert(cli: Any, network: Path, images: Path, tmp_path: Path) -> None:
    outcome = cli("convert", network, "-o", tmp_path / "out.esg", "--calibration", images, "--json")
    value = check(outcome.out, "convert")
    assert value["accuracy"] == value["accuracy_float"] == 1.0
    assert value["flash"] == (tmp_path / "out.esg").stat().st_size


def test_replay(cli: Any, event_model: Path, recordings: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    cli("stream", event_model, recordings, "--speed", "max", "--record", path)
    assert check(cli("replay", path, "--json").out, "replay")["equal"] == 4


def test_events(cli: Any, recordings: Path, tmp_path: Path) -> None:
    for line in cli("events", recordings, "--json").out.splitlines(keepends=True):
        assert check(line, "events")["events"] == 200
    outcome = cli("convert-events", recordings / "left" / "one.csv", tmp_path / "out.dat", "--json")
    assert check(outcome.out, "convert-events")["events"] == 200


def test_convert_within_a_budget(cli: Any, network: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 100, (80, 1, 4, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    command = [
        "convert",
        network,
        "-o",
        tmp_path / "out.esg",
        "--calibration",
        tmp_path / "data.npz",
        "--json",
    ]
    value = check(cli(*command, "--board", "mps2-an386", "--ram", "64k").out, "convert")
    assert value["search"]["ram"] == 65536
    assert value["search"]["trials"][value["search"]["chosen"]]["fits"]
    assert value["search"]["events_per_second"] is None
    board = ["--board", "mps2-an386", "--events-per-second"]
    value = check(cli(*command, *board, "100").out, "convert")
    assert value["search"]["events_per_second"] > 100
    assert "the board" in cli(*command[:-1], *board, "100").out
    outcome = cli(*command, *board, "1e9")
    assert outcome.code == 5
    assert "synaptic operations" in check(outcome.out, "Error")["error"]["message"]
    assert cli(*command, *board[2:], "100").code == 2
    outcome = cli(*command, "--flash", "100")
    assert outcome.code == 5
    assert "bytes of weights" in check(outcome.out, "Error")["error"]["message"]
    assert cli(*command, "--flash", "1M", "--levels", "15").code == 2
    assert cli(*command, "--board", "nothing").code == 2


def test_check_of_a_model(cli: Any, network: Path, images: Path, tmp_path: Path) -> None:
    model = tmp_path / "out.esg"
    assert cli("convert", network, "-o", model, "--calibration", images).code == 0
    outcome = cli("check", model, "--against", network, "--calibration", images, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(row["holds"] for row in check(outcome.out, "check of a model")["claims"])
    outcome = cli("check", model, "--against", images, "--json")
    assert outcome.code == 1
    assert check(outcome.out, "check of a model")["refuted"] == ["source"]
    assert "does not hold: source" in outcome.err


@pytest.mark.parametrize("kind", ["emulated", "qemu"])
def test_verify(cli: Any, kind: str, request: pytest.FixtureRequest) -> None:
    port = f"qemu:{request.getfixturevalue('firmware')}" if kind == "qemu" else kind
    value = check(cli("verify", GOLDEN, "--port", port, "--json").out, "verify")
    assert value["board"] == ("mps2-an386" if kind == "qemu" else kind)
    assert value["core"] == ("cortex-m4" if kind == "qemu" else None)
    assert value["model_size"] == GOLDEN.stat().st_size
    assert value["events"] > 0


def test_verify_needs_a_self_test(cli: Any, image_model: Path) -> None:
    outcome = cli("verify", image_model, "--port", "emulated")
    assert outcome.code == 3
    assert "no self-test" in outcome.err and "convert the network again" in outcome.err
    outcome = cli("verify", "--port", "emulated")
    assert (outcome.code, "holds no model" in outcome.err) == (4, True)


def test_verify_tells_a_board_that_computes_otherwise(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = DeviceClient.self_test
    monkeypatch.setattr(DeviceClient, "self_test", lambda self: right(self)._replace(given=7))
    outcome = cli("verify", GOLDEN, "--port", "emulated")
    assert outcome.code == 1
    assert "gave digest 00000007, expected" in outcome.err


def test_boards(cli: Any) -> None:
    value = check(cli("boards", "--json").out, "boards")
    (emulated,) = [port for port in value["ports"] if port["port"] == "emulated"]
    assert (emulated["board"], emulated["model_size"], emulated["code"]) == ("emulated", 0, None)
    assert "emulated" in cli("boards").out


def test_doctor(cli: Any, image_model: Path) -> None:
    outcome = cli("doctor", image_model, "--port", "emulated", "--json")
    assert outcome.code == 0
    assert check(outcome.out, "doctor")["problems"] == 0
    outcome = cli("doctor", "--port", "/dev/ttyNONE7", "--json")
    assert outcome.code == 4
    assert [row["code"] for row in check(outcome.out, "doctor")["findings"]] == ["port-missing"]
    lines = cli("doctor", "--port", "/dev/ttyNONE7").out.splitlines()
    assert [line.split()[0] for line in lines] == ["problem", "next"]


def test_compare(cli: Any, tmp_path: Path) -> None:
    import nir

    neuron = nir.IF(np.ones(3), np.ones(3))
    graph = nir.NIRGraph.from_list(nir.Input(np.array([2])), nir.Linear(np.ones((3, 2))), neuron)
    nir.write(tmp_path / "net.nir", graph)
    np.savez(tmp_path / "x.npz", x=np.ones((1, 5, 2)))
    options = ["--dt", "1ms", "--reset", "zero", "--compare", "gt", "--gain", "none"]
    assert cli("convert", tmp_path / "net.nir", "-o", tmp_path / "net.esg", *options).code == 0
    files = [tmp_path / name for name in ("net.esg", "net.nir", "x.npz")]
    outcome = cli("compare", *files, "--with", "float", "--json")
    value = check(outcome.out, "compare", optional=("explanations", "put_right"))
    assert value["agreement"] == 1.0 and value["populations"][0]["spikes"] == 15
    outcome = cli("compare", *files, "--with", "nengo", "--json")
    assert outcome.code == 2 and "snntorch" in outcome.err


def test_export(cli: Any, image_model: Path, tmp_path: Path) -> None:
    value = check(cli("export", image_model, "--c", tmp_path / "out", "--json").out, "export")
    assert value["files"] == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_demo(cli: Any) -> None:
    outcome = cli("demo", "--json")
    value = check(outcome.out, "demo")
    keys = documented("convert")
    parts = ("search.", "early_exit.")
    expected = {key for key in keys if not key.startswith(parts)} - {"network", "model"}
    assert {path for path, _ in leaves(value["conversion"], "", keys)} == expected
    for part in ("real_time", "fast"):
        check(json.dumps(value[part]) + "\n", "stream: summary")
    assert value["check"]["backends"] == ["reference", "cpu", "emulated"]
    assert value["fast"]["results"] == 100
    assert value["fast"]["accuracy"] > 0.9
    assert "simulated" in outcome.err


def test_error(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "no.esg").write_bytes(b"no model")
    outcome = cli("inspect", tmp_path / "no.esg", "--json")
    value = check(outcome.out, "Error")
    assert value["error"]["exit_code"] == outcome.code == 3
    assert f"error: {value['error']['message']}\n" in outcome.err
