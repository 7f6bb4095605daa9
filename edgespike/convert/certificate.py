"""What a conversion has proved of a model, kept in the model file, and how anyone proves it again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.arena import one_shot_bytes, streaming_bytes
from edgespike.convert.bounds import accumulator_bounds
from edgespike.convert.calibration import Calibration, samples_for
from edgespike.convert.dense import settle
from edgespike.errors import MismatchError, ModelError
from edgespike.graph import Graph
from edgespike.session import InferenceSession
from edgespike.work import work_of_event

TWIN_SAMPLES = 256
CHUNK = 32

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Certificate:
    """Facts about a model beside the SHA-256 of its source, which its header has.

    ``calibration_sha256``: see `calibration_hash`. ``samples``: on so many of these samples,
    evenly chosen, the core's event by event computation ended in the state that the dense
    integer evaluation has, in every population; ``states_sha256`` of these states (int32,
    little-endian, sample by sample). ``bounds``: by population, the greatest absolute value
    that an accumulator can have. ``ram_streaming``, ``ram_one_shot`` (0: no such plan): arena
    bytes. ``event_events``, ``event_synops``, ``event_evaluated``: the most that one input
    event causes (`edgespike.work.work_of_event`).
    """

    calibration_sha256: str
    samples: int
    states_sha256: str
    bounds: tuple[int, ...]
    ram_streaming: int
    ram_one_shot: int
    event_events: int
    event_synops: int
    event_evaluated: int


def certify(graph: Graph, calibration: Calibration, tell: Tell = lambda share: None) -> Certificate:
    """Proves a graph of activation populations; ``tell`` gets the share of the samples that is done.

    Raises:
        MismatchError: the core and the dense evaluation differ.
    """
    x = samples_of(graph, calibration)
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), TWIN_SAMPLES)).astype(int))
    states = twin_states(graph, x[chosen], tell)
    return Certificate(calibration_hash(x, calibration.y), len(chosen), states, **facts(graph))


def facts(graph: Graph) -> dict[str, Any]:
    """What a certificate says of the graph alone."""
    event = work_of_event(graph).total
    return {
        "bounds": accumulator_bounds(graph),
        "ram_streaming": streaming_bytes(graph),
        "ram_one_shot": one_shot_bytes(graph),
        "event_events": event.events,
        "event_synops": event.synops,
        "event_evaluated": event.evaluated,
    }


def samples_of(graph: Graph, calibration: Calibration) -> NDArray[Any]:
    """The samples in the shape of the graph's input: (samples, *shape)."""
    info = graph.metadata["input"]
    return samples_for(calibration, info["name"], tuple(info["shape"]))


def calibration_hash(x: NDArray[Any], y: NDArray[np.int64] | None) -> str:
    """SHA-256 of type, shape and little-endian bytes of x, and likewise of y where there are labels."""
    digest = hashlib.sha256()
    for array in (x, y):
        if array is not None:
            plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            digest.update(f"{plain.dtype.str}{plain.shape}".encode())
            digest.update(plain.tobytes())
    return digest.hexdigest()


def twin_states(graph: Graph, x: NDArray[Any], tell: Tell = lambda share: None) -> str:
    """Runs samples in the core and densely, and returns the SHA-256 of the states that both end in.

    Raises:
        MismatchError: they differ.
    """
    session = InferenceSession(graph)
    digest = hashlib.sha256()
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        expected = settle(graph, np.stack([session.levels(sample) for sample in part]).astype(np.int32))
        for number, sample in enumerate(part):
            session.reset()
            session.backend.push(session.sample_events(sample))
            session.backend.finish()
            for index, population in enumerate(graph.populations):
                state = session.backend.state(index).astype("<i4").reshape(population.shape)
                if not np.array_equal(state, expected[index][number]):
                    raise MismatchError(
                        f"{population.name}: the core differs from the dense evaluation on sample "
                        f"{start + number}",
                        "this is a bug in edgespike; please report it with the network",
                        "twin",
                    )
                digest.update(state.tobytes())
        tell((start + len(part)) / len(x))
    return digest.hexdigest()


# ---- in a model file ----------------------------------------------------------------


def to_metadata(certificate: Certificate) -> dict[str, Any]:
    """The key ``certificate`` of docs/metadata.md."""
    return {**asdict(certificate), "bounds": list(certificate.bounds)}


def of_model(graph: Graph) -> Certificate:
    """The certificate that a model carries.

    Raises:
        ModelError: none, or one that makes no sense.
    """
    kept = graph.metadata.get("certificate")
    if kept is None:
        raise ModelError(
            "the model carries no certificate",
            "convert it again: models from ONNX networks get one",
            "no-certificate",
        )
    try:
        return Certificate(**{**kept, "bounds": tuple(kept["bounds"])})
    except (TypeError, KeyError) as error:
        raise ModelError("the certificate makes no sense", "convert it again", "certificate") from error


# ---- verification -------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One claim. ``holds``: None where what is needed to check it was not given."""

    claim: str
    holds: bool | None
    detail: str


def verify(
    graph: Graph,
    source: bytes | None = None,
    calibration: Calibration | None = None,
    tell: Tell = lambda share: None,
) -> list[Finding]:
    """Checks all that a model's certificate claims.

    Args:
        graph: the model.
        source: contents of the file that it was converted from.
        calibration: the samples that it was calibrated on.
        tell: called with the share of the samples that has been run again.

    Raises:
        ModelError: the model carries no certificate.
        DataError: the samples do not fit it.
    """
    claimed = of_model(graph)
    actual = None if source is None else hashlib.sha256(source).hexdigest()
    found = [hash_finding("source", graph.source_hash.hex(), actual)]
    x = None if calibration is None else samples_of(graph, calibration)
    actual = None if x is None or calibration is None else calibration_hash(x, calibration.y)
    found.append(hash_finding("calibration", claimed.calibration_sha256, actual))
    found.append(twin_finding(graph, claimed, x, tell))
    for name, value in facts(graph).items():
        says = getattr(claimed, name)
        other = "" if says == value else f", but it is {plain(value)}"
        found.append(Finding(name.replace("_", " "), says == value, plain(says) + other))
    return found


def plain(value: int | tuple[int, ...]) -> str:
    """A number, or several."""
    return f"{value:,}" if isinstance(value, int) else " ".join(f"{number:,}" for number in value)


def hash_finding(claim: str, claimed: str, actual: str | None) -> Finding:
    """Whether a file's SHA-256 is what the certificate says."""
    if actual is None:
        return Finding(claim, None, f"sha256 {claimed[:16]}..., no file given")
    if claimed == actual:
        return Finding(claim, True, f"sha256 {claimed[:16]}..., as of the file given")
    return Finding(claim, False, f"sha256 {claimed[:16]}..., but the file given has {actual[:16]}...")


def twin_finding(graph: Graph, claimed: Certificate, x: NDArray[Any] | None, tell: Tell) -> Finding:
    """Whether the core still ends in the claimed states, and the dense evaluation too."""
    if x is None:
        return Finding("twin", None, f"{claimed.samples} samples; no calibration data given")
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), max(1, claimed.samples))).astype(int))
    try:
        states = twin_states(graph, x[chosen], tell)
    except MismatchError as error:
        return Finding("twin", False, error.message)
    if states != claimed.states_sha256:
        return Finding("twin", False, "the states differ from those in the certificate")
    return Finding("twin", True, f"equal to its dense twin on {len(chosen)} samples, run again")
