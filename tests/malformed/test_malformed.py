"""One model file for every rule that the loader checks; each breaks that rule."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from patching import HEADER, MODELS, SECTIONS, ModelFile, pooled_model

from edgespike import _core
from edgespike.errors import ModelError
from edgespike.graph import SpikeInput

Patch = Callable[[ModelFile], None]


@functools.cache
def valid(name: str) -> bytes:
    return MODELS[name]()


def code_of(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        _core.Model(data)
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize("name", MODELS)
def test_valid_models_load_and_pass_their_self_test(name: str) -> None:
    _core.Network(_core.Model(valid(name))).self_test()


# ---- rules before and of the checksums --------------------------------------

BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "model-truncated"),
    "part of the magic": (lambda data: data[:5], "model-truncated"),
    "short and something else": (lambda data: b"PK\3\4", "model-magic"),
    "another magic": (lambda data: b"\x08" + data[1:], "model-magic"),
    "line ends changed in transfer": (lambda data: data.replace(b"\r\n", b"\n"), "model-magic"),
    "part of the header": (lambda data: data[:79], "model-truncated"),
    "newer format": (lambda data: data[:8] + b"\3" + data[9:], "model-version"),
    "older format": (lambda data: data[:8] + b"\1" + data[9:], "model-version"),
    "cut in a section": (lambda data: data[:300], "model-truncated"),
    "last byte missing": (lambda data: data[:-1], "model-truncated"),
    "a byte too many": (lambda data: data + b"\0", "model-header"),
    "section table longer than the file": (lambda data: data[:20] + b"\xff\xff" + data[22:], "model-header"),
    "header changed": (lambda data: data[:50] + b"\xff" + data[51:], "model-crc"),
    "section table changed": (lambda data: data[:85] + b"\xff" + data[86:], "model-crc"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name: str) -> None:
    change, code = BROKEN[name]
    assert code_of(change(valid("level"))) == code


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_under_its_checksum(section: str) -> None:
    file = ModelFile(valid("level"))
    file.data[file.start(section)] ^= 0x40
    assert code_of(bytes(file.data)) == "model-crc"


# ---- patches ----------------------------------------------------------------


def header(name: str, value: int) -> Patch:
    return lambda file: file.header(name, value)


def population(number: int, **fields: int) -> Patch:
    return lambda file: file.population(number, **fields)


def projection(number: int, **fields: int) -> Patch:
    return lambda file: file.projection(number, **fields)


def leaving(number: int, count: int) -> Patch:
    return population(number, projection_count=count)


def parameter(number: int, index: int, value: int) -> Patch:
    return lambda file: file.parameter(number, index, value)


def table_entry(number: int, form: str, index: int, value: int) -> Patch:
    return lambda file: file.entry_of_table(number, form, index, value)


def initial(number: int, offset: int, form: str, value: int) -> Patch:
    return lambda file: file.initial(number, offset, form, value)


def input_(**fields: int) -> Patch:
    return lambda file: file.input(**fields)


def test(**fields: int) -> Patch:
    return lambda file: file.test(**fields)


test.__test__ = False  # type: ignore[attr-defined]


def moved(section: str, by: int) -> Patch:
    return lambda file: file.section(section, "offset", file.start(section) + by)


def resized(section: str, by: int) -> Patch:
    return lambda file: file.section(section, "size", file.size(section) + by)


def both(*patches: Patch) -> Patch:
    def patch(file: ModelFile) -> None:
        for part in patches:
            part(file)

    return patch


def ninth_section(minor: int) -> Patch:
    """An empty section behind the others, as a newer minor version may have it."""

    def patch(file: ModelFile) -> None:
        for section in SECTIONS:
            file.section(section, "offset", file.start(section) + 16)
        file.data[208:208] = bytes(16)
        file.data += bytes(-len(file.data) % 16)
        file.data[208:224] = b"MORE" + len(file.data).to_bytes(4, "little") + bytes(8)
        file.header("sections", 9)
        file.header("minor", minor)
        file.header("file size", len(file.data))

    return patch


def swapped_sections(file: ModelFile) -> None:
    for old, new in (("PARM", b"WGTS"), ("WGTS", b"PARM")):
        file.data[file.entry(old) : file.entry(old) + 4] = new


def byte_between_sections(file: ModelFile) -> None:
    end = file.start("META") + file.size("META")
    assert end < file.start("TEST")
    file.data[end] = 1


def longer_file(file: ModelFile) -> None:
    file.data += bytes(16)
    file.header("file size", len(file.data))


def short_self_test(file: ModelFile) -> None:
    del file.data[file.start("TEST") + 8 :]
    file.section("TEST", "size", 8)
    file.header("file size", len(file.data))


def endless_self_test(file: ModelFile) -> None:
    """One event more than a self-test may have, all the same."""
    event = file.data[file.start("TEST") + 16 : file.start("TEST") + 28]
    file.data[file.start("TEST") + 16 :] = event * 4097
    file.test(events=4097)
    file.section("TEST", "size", 16 + 12 * 4097)
    file.header("file size", len(file.data))


def long_input(file: ModelFile) -> None:
    """As if a direct input had a table."""
    file.data[file.start("META") : file.start("META")] = bytes(16)
    for section in ("META", "TEST"):
        file.section(section, "offset", file.start(section) + 16)
    file.section("INPT", "size", file.size("INPT") + 16)
    file.header("file size", len(file.data))


def high_saturation(file: ModelFile) -> None:
    """60 counts in two bytes each are 128 bytes of arena instead of 64."""
    file.input(saturation=32768)
    file.population(0, level_bytes=2)
    for plan in ("streaming bytes", "one-shot bytes"):
        file.header(plan, file.get(0, HEADER[plan]) + 64)


def other(data: bytes) -> Patch:
    """Another file altogether."""

    def patch(file: ModelFile) -> None:
        file.data[:] = data

    return patch


WINDOW = {"kernel_height": 2, "kernel_width": 2, "stride_down": 2, "stride_across": 2}
NO_WINDOW = {name: 0 for name in (*WINDOW, "dilation_down", "dilation_across", "padding_top", "padding_left")}
NO_WEIGHTS = {"weight_bits": 0, "weight_offset": 0, "weight_stride": 0}
AS_MAX_POOL = {"kind": 4, "groups": 0, **WINDOW, **NO_WEIGHTS, "padding_top": 0, "padding_left": 0}
AS_DENSE = {"kind": 0, "groups": 0, **NO_WINDOW}

# ---- rules behind the checksums: code, then name, model and patch -----------

RULES: dict[str, list[tuple[str, str, Patch]]] = {
    "model-header": [
        ("a ninth section in version 2.0", "level", ninth_section(0)),
        ("seven sections", "level", header("sections", 7)),
        ("one population", "level", header("populations", 1)),
        ("too many populations", "level", header("populations", 4097)),
        ("no projection", "level", header("projections", 0)),
        ("too many projections", "level", header("projections", 16385)),
        ("reserved", "level", header("reserved", 1)),
        ("reserved 2", "level", header("reserved 2", 1)),
        ("streaming arena too small", "level", header("streaming bytes", 1024)),
        ("streaming arena too large", "spiking", header("streaming bytes", 4096)),
        ("one-shot arena smaller than its fixed part", "level", header("one-shot bytes", 16)),
        ("no one-shot arena", "level", header("one-shot bytes", 0)),
        ("no room for what comes late", "recurrent", projection(1, delay=2)),
        ("one-shot arena with delays", "recurrent", header("one-shot bytes", 4096)),
        ("one-shot arena of spikes", "spiking", header("one-shot bytes", 4096)),
        ("one-shot arena of a spike input", "plain spiking", header("one-shot bytes", 4096)),
    ],
    "model-section": [
        ("order", "level", swapped_sections),
        ("off its alignment", "level", moved("TEST", -8)),
        ("in the table", "level", moved("POPS", -16)),
        ("on another one", "level", moved("PARM", -16)),
        ("begins behind the end", "level", moved("TEST", 1 << 20)),
        ("ends behind the end", "level", resized("TEST", 1)),
        ("ends behind 2^32", "level", resized("TEST", 0xFFFFFF00)),
        ("not zero between two", "level", byte_between_sections),
        ("zeros behind the last", "level", longer_file),
        ("one population less", "level", header("populations", 5)),
        ("one projection less", "level", header("projections", 5)),
        ("short input", "level", both(input_(tick_us=0, window_ticks=0), resized("INPT", -24))),
    ],
    "model-population": [
        ("unknown kind", "level", population(5, kind=6)),
        ("first is no input", "level", population(0, kind=3)),
        ("input in the middle", "level", population(2, kind=0)),
        ("no rows", "level", population(1, height=0)),
        ("no columns", "level", population(1, width=0)),
        ("no channels", "level", population(1, channels=0)),
        ("too many neurons", "level", population(1, height=4096, width=4096, channels=2)),
        ("neurons beyond 2^32", "level", population(1, height=32768, width=32768, channels=32768)),
        ("flag of a table without one", "level", population(1, flags=1)),
        ("unknown flag of a table", "table", population(2, flags=3)),
        ("flags of a max pool", "level", population(2, flags=1)),
        ("table of a max pool", "level", population(2, table_count=1)),
        ("offset without a table", "level", population(1, table_offset=4)),
        ("index without a table", "level", population(1, index_min=1)),
        ("shift of an accumulator", "level", population(5, level_shift=1)),
        ("shift too far", "level", population(1, level_shift=16)),
        ("compare of an activation", "level", population(1, compare=1)),
        ("reset of an activation", "level", population(1, reset=1)),
        ("rounding of an activation", "level", population(1, rounding=1)),
        ("membrane min of an activation", "level", population(1, membrane_min=-1)),
        ("membrane max of an activation", "level", population(1, membrane_max=1)),
        ("unknown flag", "spiking", population(2, flags=17)),
        ("adaptation without current", "spiking", population(1, flags=4)),
        ("delayed reset without current", "spiking", population(1, flags=8)),
        ("refractory without current", "spiking", population(1, refractory=1)),
        ("current rounding without current", "spiking", population(1, current_rounding=1)),
        ("adaptation rounding without adaptation", "recurrent", population(2, adaptation_rounding=1)),
        ("delayed reset and refractory", "recurrent", population(2, refractory=1)),
        ("unknown current rounding", "recurrent", population(1, current_rounding=4)),
        ("unknown adaptation rounding", "recurrent", population(1, adaptation_rounding=4)),
        ("unknown readout", "recurrent", population(2, readout=4)),
        ("readout in the middle", "recurrent", population(1, readout=1)),
        ("never fires in the middle", "recurrent", population(1, level_max=0)),
        ("refractory activation", "level", population(1, refractory=1)),
        ("readout of an activation", "level", population(1, readout=1)),
        ("current rounding of an activation", "level", population(1, current_rounding=1)),
        ("adaptation rounding of an activation", "level", population(1, adaptation_rounding=1)),
        ("unknown compare", "spiking", population(1, compare=2)),
        ("unknown reset", "spiking", population(1, reset=3, level_max=1)),
        ("unknown rounding", "spiking", population(1, rounding=4)),
        ("membrane min above 0", "spiking", population(1, membrane_min=1)),
        ("membrane max below 0", "spiking", population(1, membrane_max=-1)),
        ("level min too low", "level", population(1, level_min=-32769, level_bytes=2)),
        ("level max too high", "level", population(1, level_max=32768, level_bytes=2)),
        ("level range upside down", "level", population(1, level_min=256)),
        ("level range of 32 bits", "level", population(1, level_min=-(1 << 31), level_max=(1 << 31) - 1)),
        ("level min of an accumulator", "level", population(5, level_min=-1)),
        ("level max of an accumulator", "level", population(5, level_max=1)),
        ("level min of spikes", "spiking", population(1, level_min=-1)),
        ("no spikes in a tick", "spiking", population(1, level_max=0)),
        ("several spikes without subtraction", "spiking", population(1, reset=1)),
        ("wide levels in one byte", "level", population(3, level_bytes=1)),
        ("narrow levels in two bytes", "level", population(1, level_bytes=2)),
        ("level bytes of an accumulator", "level", population(5, level_bytes=1)),
        ("level bytes of a count", "counting", population(0, level_bytes=2)),
        ("accumulator bytes of an activation", "level", population(1, accumulator_bytes=1)),
        ("two bytes for an odd number of channels", "level", population(1, channels=3)),
        ("accumulator bytes of an accumulator", "level", population(5, accumulator_bytes=8)),
        ("accumulator bytes of membranes", "spiking", population(1, accumulator_bytes=2)),
        ("accumulator bytes of a max pool", "level", population(2, accumulator_bytes=2)),
        ("budget of an activation", "level", population(1, budget=1)),
        ("reserved", "level", population(1, reserved=1)),
        ("one outgoing projection more", "level", population(1, projection_count=2)),
        ("one outgoing projection less", "level", population(3, projection_count=1)),
        ("first outgoing projection", "level", population(1, first_projection=0)),
        ("first projection of the output", "level", population(5, first_projection=1)),
        ("nothing leaves", "forked", both(projection(2, source=0), leaving(0, 3), leaving(1, 0))),
    ],
    "model-projection": [
        ("unknown kind", "level", projection(5, kind=5)),
        ("delay of a max pool window", "level", projection(1, delay=1)),
        ("back to the input", "recurrent", projection(1, target=0)),
        ("to itself in no time", "recurrent", projection(1, delay=0)),
        ("source that is not there", "recurrent", projection(2, source=9)),
        ("reserved", "level", projection(5, reserved=1)),
        ("reserved 2", "level", projection(5, reserved_2=1)),
        ("backwards in no time", "level", projection(5, target=3)),
        ("target that is not there", "level", projection(5, target=6)),
        ("shift into an activation", "level", projection(0, shift=1)),
        ("shift too far", "spiking", projection(0, shift=16)),
        ("groups of a dense", "level", projection(5, groups=1)),
        ("from an accumulator", "level", population(4, kind=4, level_bytes=0, level_max=0)),
        ("max pool window into an activation", "level", projection(0, **AS_MAX_POOL)),
        ("sum into a max pool", "level", projection(1, kind=2)),
        ("kernel height 0", "level", projection(0, kernel_height=0)),
        ("kernel width 0", "level", projection(0, kernel_width=0)),
        ("stride down 0", "level", projection(2, stride_down=0)),
        ("stride across 0", "level", projection(2, stride_across=0)),
        ("dilation down 0", "level", projection(1, dilation_down=0)),
        ("dilation across 0", "level", projection(1, dilation_across=0)),
        ("kernel of a dense", "level", projection(5, kernel_height=1)),
        ("stride of a dense", "level", projection(5, stride_across=1)),
        ("dilation of a dense", "level", projection(5, dilation_down=1)),
        ("padding of a dense", "level", projection(5, padding_left=1)),
        ("dense into a map", "level", projection(0, **AS_DENSE)),
        ("dense into a column", "level", population(5, height=2)),
        ("dense into a row", "level", population(5, width=2)),
        ("no groups", "level", projection(0, groups=0)),
        ("groups that do not divide the source", "level", projection(0, groups=4)),
        ("groups that do not divide the target", "level", population(1, channels=3, accumulator_bytes=4)),
        ("sum pool changes channels", "level", population(3, channels=3)),
        ("one to one changes channels", "level", population(4, channels=3)),
        ("one to one changes height", "level", population(4, height=2)),
        ("one to one changes width", "level", population(4, width=2)),
        ("max pool of spikes", "pooled", other(pooled_model(first=SpikeInput(0, 15, 30)))),
        ("max pool changes channels", "level", population(2, channels=3)),
        ("max pool changes level min", "level", population(2, level_min=1)),
        ("max pool changes level max", "level", population(2, level_max=254)),
        ("max pool rows without source", "level", projection(1, stride_down=4)),
        ("max pool columns without source", "level", projection(1, stride_across=4)),
        ("max pool rows in the padding", "level", projection(1, padding_top=2)),
        ("max pool columns in the padding", "level", projection(1, padding_left=2)),
        ("weight bits of a dense", "level", projection(5, weight_bits=16)),
        ("weight bits of a convolution", "level", projection(0, weight_bits=2)),
        ("4 bits of a one to one", "level", projection(3, weight_bits=4)),
        ("4 bits of a sum pool", "level", projection(2, weight_bits=4)),
        ("4 bits and half a byte's stride", "level", projection(0, weight_bits=4, weight_stride=5)),
        ("4 bits and a stride shorter than a vector", "level", projection(5, weight_bits=4, weight_stride=2)),
        (
            "4-bit vectors of odd length into two bytes",
            "level",
            both(population(1, channels=2), projection(0, weight_bits=4)),
        ),
        (
            "16-bit vectors of odd length into two bytes",
            "level",
            both(population(1, channels=2), projection(0, weight_bits=16)),
        ),
        ("16 bits of a sum pool", "level", projection(2, weight_bits=16)),
        ("4-bit vectors behind the end", "level", projection(5, weight_bits=4, weight_stride=1 << 20)),
        ("no room for one 4-bit vector", "level", projection(5, weight_bits=4, weight_offset=128)),
        ("weight bits of a one to one", "level", projection(3, weight_bits=8)),
        ("weight bits of a sum pool", "level", projection(2, weight_bits=8)),
        ("weight offset of a sum pool", "level", projection(2, weight_offset=16)),
        ("weight stride of a sum pool", "level", projection(2, weight_stride=4)),
        ("weight offset off its alignment", "level", projection(0, weight_offset=8)),
        ("weight offset behind the end", "level", projection(0, weight_offset=1 << 20)),
        ("weight stride off its alignment", "level", projection(0, weight_stride=6)),
        ("weight stride shorter than a vector", "level", projection(0, weight_stride=0)),
        ("weight vectors behind the end", "level", projection(5, weight_stride=1 << 20)),
        ("no room for one weight vector", "level", projection(5, weight_offset=128)),
        (
            "kernel far larger than its weights",
            "level",
            projection(0, kernel_height=65535, kernel_width=65535),
        ),
        ("sorted by source", "level", both(projection(4, source=4), projection(5, source=3))),
        ("sorted by target", "forked", both(projection(0, target=2), projection(1, target=1))),
        ("nothing arrives", "forked", projection(0, target=2)),
        ("two windows of a max pool", "pooled", other(pooled_model(windows=2))),
    ],
    "model-parameter": [
        ("offset of a max pool", "level", population(2, parameter_offset=4)),
        ("count of a max pool", "level", population(2, parameter_count=4)),
        ("count", "level", population(1, parameter_count=5)),
        ("offset off its alignment", "level", population(1, parameter_offset=2)),
        ("offset behind the end", "level", population(1, parameter_offset=1 << 20)),
        ("array behind the end", "level", population(1, parameter_count=64)),
        ("step 0", "level", parameter(1, 3, 0)),
        ("table off its alignment", "table", population(1, table_offset=14)),
        ("table behind the end", "table", population(1, table_offset=1 << 20)),
        ("end of the table behind the end", "table", population(2, table_count=5)),
        ("entry above the levels", "table", table_entry(1, "B", 4, 13)),
        ("wide entry above the levels", "table", table_entry(2, "H", 11, 601)),
        ("threshold 0", "spiking", parameter(1, 0, 0)),
        ("negative decay", "spiking", parameter(1, 4, -1)),
        ("decay above 1", "spiking", parameter(1, 7, (1 << 30) + 1)),
        ("driven without drive", "spiking", both(*(parameter(2, 6 + i, 0) for i in range(3)))),
        ("drive without flag", "spiking", parameter(1, 8, 1)),
        ("negative current decay", "recurrent", parameter(1, 12, -1)),
        ("current decay above 1", "recurrent", parameter(1, 14, (1 << 30) + 1)),
        ("current drive without flag", "recurrent", parameter(1, 15, 1)),
        ("negative adaptation decay", "recurrent", parameter(1, 18, -1)),
        ("adaptation decay above 1", "recurrent", parameter(1, 20, (1 << 30) + 1)),
        ("negative adaptation", "recurrent", parameter(1, 21, -1)),
        ("adaptation too large", "recurrent", parameter(1, 23, (1 << 30) + 1)),
    ],
    "model-initial": [
        ("table of a spike input", "spiking", population(0, initial_offset=16)),
        ("offset off its alignment", "level", population(1, initial_offset=8)),
        ("offset behind the end", "level", population(1, initial_offset=1 << 20)),
        ("no rows", "level", initial(0, 0, "H", 0)),
        ("too many rows", "level", initial(0, 0, "H", 5)),
        ("no columns", "level", initial(0, 2, "H", 0)),
        ("too many columns", "level", initial(0, 2, "H", 5)),
        ("row that is not there", "level", initial(0, 4, "H", 9)),
        ("column that is not there", "level", initial(0, 4 + 2 * 4, "H", 9)),
        ("not zero behind the maps", "level", initial(0, 4 + 2 * 8, "B", 1)),
        ("not zero behind the accumulators", "level", initial(1, 32 + 8, "B", 1)),
        ("values behind the end", "level", both(initial(5, 24, "i", 0), resized("INIT", -4))),
        ("level of the input too high", "pooled", initial(0, 16, "B", 20)),
        ("level of a max pool", "pooled", initial(1, 16, "B", 1)),
        ("level of an activation", "level", initial(1, 48, "B", 1)),
        ("accumulator of an activation", "level", initial(1, 32, "h", 5)),
        ("membrane above its range", "spiking", both(parameter(1, 3, 1000), initial(1, 32 + 12, "i", 101))),
        ("membrane below its range", "spiking", initial(1, 32 + 12, "i", -101)),
        ("membrane that fires", "spiking", initial(1, 32 + 12, "i", 51)),
        ("events counted already", "counting", initial(0, 32, "B", 1)),
    ],
    "model-input": [
        ("unknown kind", "level", input_(kind=2)),
        ("first look of no early exit", "level", input_(exit_first=1)),
        ("margin of no early exit", "level", input_(exit_margin=1)),
        ("early exit without a first look", "level", input_(exit_every=1, exit_margin=1)),
        ("early exit without a margin", "level", input_(exit_every=1, exit_first=1)),
        ("look when the window is over", "counting", input_(exit_every=4, exit_first=5, exit_margin=1)),
        ("look far away", "spiking", input_(exit_every=1 << 16, exit_first=1 << 15, exit_margin=1)),
        ("early exit of one score", "single", input_(exit_every=1, exit_first=1, exit_margin=1)),
        ("sensor height", "level", input_(height=5)),
        ("sensor width", "level", input_(width=5)),
        ("tick of no time", "level", input_(tick_us=0)),
        ("polarities of a direct input", "level", input_(polarities=1)),
        ("slices of a direct input", "level", input_(slices=1)),
        ("slice ticks of a direct input", "level", input_(slice_ticks=1)),
        ("saturation of a direct input", "level", input_(saturation=1)),
        ("table of a direct input", "level", long_input),
        ("counts into spikes", "spiking", input_(kind=1)),
        ("no polarity", "counting", input_(polarities=0)),
        ("three polarities", "counting", input_(polarities=3)),
        ("no slices", "counting", input_(slices=0)),
        ("one slice too many", "counting", input_(slices=3)),
        ("slices of no time", "counting", input_(slice_ticks=0, window_ticks=0)),
        ("window that is not its slices", "counting", input_(window_ticks=21)),
        ("saturation 0", "counting", input_(saturation=0)),
        ("saturation above 32767", "counting", high_saturation),
        ("table of another size", "counting", input_(saturation=14)),
        ("table below the levels", "counting", input_(table=-1)),
        ("table above the levels", "counting", input_(table=16)),
    ],
    "model-test": [
        ("shorter than its record", "level", short_self_test),
        ("reserved", "level", test(reserved=1)),
        ("number of scores", "level", test(scores=4)),
        ("more events than there are", "level", test(events=3)),
        ("fewer events than there are", "level", test(events=1)),
        ("number of events that wraps around", "level", test(events=2 + (1 << 30))),
        ("backwards in time", "level", test(tick=4)),
        ("row outside", "level", test(y=4)),
        ("column outside", "level", test(x=4)),
        ("channel outside", "level", test(channel=2)),
        ("third polarity", "counting", test(channel=2)),
        ("behind the first window", "level", test(last_tick=20)),
        ("too many events", "level", endless_self_test),
        ("too many ticks in which silence is work", "spiking", test(last_tick=4096)),
    ],
}

CASES = {
    f"{code}: {name}": (code, model, patch) for code, rules in RULES.items() for name, model, patch in rules
}


@pytest.mark.parametrize("name", CASES)
def test_every_rule(name: str) -> None:
    code, model, patch = CASES[name]
    file = ModelFile(valid(model))
    patch(file)
    file.repair()
    assert code_of(bytes(file.data)) == code


def test_a_newer_minor_version_may_add_sections() -> None:
    file = ModelFile(valid("level"))
    ninth_section(minor=1)(file)
    file.repair()
    _core.Network(_core.Model(bytes(file.data))).self_test()


def test_a_wrong_self_test_is_found() -> None:
    file = ModelFile(valid("counting"))
    file.test(digest=0)
    file.repair()
    with pytest.raises(ModelError, match="self-test") as caught:
        _core.Network(_core.Model(bytes(file.data))).self_test()
    assert caught.value.code == "self-test"


def test_one_shot_plan_of_another_size_is_found_when_it_is_made() -> None:
    file = ModelFile(valid("level"))
    file.header("one-shot bytes", file.get(0, HEADER["one-shot bytes"]) + 16)
    file.repair()
    model = _core.Model(bytes(file.data))
    with pytest.raises(ModelError) as caught:
        _core.Network(model, "one-shot")
    assert caught.value.code == "model-header"


def test_another_format_names_both_versions() -> None:
    data = valid("level")
    with pytest.raises(ModelError, match="format 3, where this edgespike reads 2"):
        _core.Model(data[:8] + b"\3" + data[9:])
