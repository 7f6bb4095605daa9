"""Python's view of the C core: models and networks (edgespike/core/edgespike.h).

A ``Network`` takes whole batches of events and releases the GIL while it works.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, int16_t, uint32_t, uint64_t, uintptr_t
from libc.math cimport isfinite
from libc.string cimport memcpy, strcmp

import os

import numpy as np

from edgespike.errors import BudgetError, DataError, DeviceError, ModelError, UsageError
from edgespike.graph import CORE_EVENT

cdef extern from "edgespike.h" nogil:
    int ES_OK, ES_WINDOW, ES_ERR_STATE, ES_ERR_TIME, ES_ERR_RANGE, ES_ERR_VALUE, ES_ERR_VERSION
    int ES_PLAN_STREAMING, ES_PLAN_ONE_SHOT, ES_FORMAT_MAJOR, ES_FORMAT_MINOR

    ctypedef enum es_plan:
        pass

    ctypedef struct es_model:
        const uint8_t *metadata
        uint32_t metadata_size
        uint16_t population_count
        uint16_t projection_count

    ctypedef struct es_event:
        uint32_t tick
        uint16_t x
        uint16_t y
        uint16_t channel
        int16_t value

    ctypedef struct es_stats:
        uint64_t input_events
        uint64_t events
        uint64_t synops
        uint64_t ticks
        uint64_t windows

    ctypedef struct es_net:
        es_stats stats
        uint32_t tick
        uint32_t decided
        es_pc *pc

    ctypedef struct es_pc:
        uint64_t dense_passes
        double eagerness

    int es_model_open(es_model *model, const void *data, size_t size)
    uint32_t es_output_size(const es_model *model)
    uint32_t es_population_size(const es_model *model, uint32_t population)
    void es_input_shape(const es_model *model, uint32_t *shape)
    const uint8_t *es_model_source_hash(const es_model *model)
    int es_arena_size(const es_model *model, es_plan plan, uint32_t *size)
    int es_net_init(es_net *net, const es_model *model, es_plan plan, void *arena, size_t arena_size)
    int es_net_reset(es_net *net)
    int es_net_push(es_net *net, const es_event *events, size_t count, size_t *used)
    int es_net_advance(es_net *net, uint32_t tick)
    int es_net_finish(es_net *net)
    int es_net_output(const es_net *net, int32_t *scores, size_t count)
    int es_net_state(const es_net *net, uint32_t population, int32_t *values, size_t count)
    int es_net_population_stats(const es_net *net, uint32_t population, uint64_t *events, uint64_t *synops)
    void es_net_clear_stats(es_net *net)
    int es_net_self_test(es_net *net, int32_t *scores, size_t count)

cdef extern from "es_pc.h" nogil:
    ctypedef struct es_pc_kernels:
        const char *name
        bint (*is_available)()

    ctypedef struct es_pc_plan:
        size_t size

    const es_pc_kernels **es_pc_paths
    void es_pc_plan_make(es_pc_plan *plan, const es_model *model, const es_pc_kernels *kernels, void *memory)
    size_t es_pc_size(const es_pc_plan *plan, const es_net *net)
    void es_pc_attach(es_pc *pc, es_net *net, const es_pc_plan *plan, void *memory)

cdef extern from *:
    """
    typedef struct es_error_row {
        const char *name;
        int code;
        const char *family;
        const char *slug;
        const char *message;
    } es_error_row;
    #define ES_ERROR_ROW(name, code, family, slug, message) {#name, code, #family, slug, message},
    static const es_error_row es_error_rows[] = {ES_ERROR_LIST(ES_ERROR_ROW)};
    enum { es_error_row_count = sizeof es_error_rows / sizeof *es_error_rows };
    """
    ctypedef struct es_error_row:
        const char *name
        int code
        const char *family
        const char *slug
        const char *message
    const es_error_row *es_error_rows
    int es_error_row_count


# ---- errors -----------------------------------------------------------------

FORMAT_VERSION = (ES_FORMAT_MAJOR, ES_FORMAT_MINOR)

# code: (name, family, slug, message), as es_errors.h lists them
ERRORS = {
    es_error_rows[i].code: (
        es_error_rows[i].name.decode(),
        es_error_rows[i].family.decode(),
        es_error_rows[i].slug.decode(),
        es_error_rows[i].message.decode(),
    )
    for i in range(es_error_row_count)
}

_FAMILIES = {
    "MODEL": ModelError,
    "DATA": DataError,
    "BUDGET": BudgetError,
    "USAGE": UsageError,
    "LINK": DeviceError,
}

_HINTS = {
    "model-truncated": "copy the file again, whole",
    "model-magic": "give an .esg file made by `edgespike convert`",
    "model-version": "update edgespike, or convert the network again",
    "model-crc": "copy the file again, in binary mode",
    "self-test": "the model and this machine do not agree: please report it",
    "arena-too-small": "choose a smaller model or a board with more RAM",
    "event-time": "sort events by time; from one to the next it is at most 2**31 - 1 ticks",
    "event-range": "crop or rescale the events to the sensor that the model was made for",
    "event-value": "check the scale of the input",
    "tick-full": "use shorter ticks, or thin out the events",
    "state": "reset before the next sample",
}


def error_of(code, where="", hint=""):
    """The exception that stands for a negative code of the core."""
    name, family, slug, message = ERRORS[code]
    hint = hint or _HINTS.get(slug, "convert the network again" if family == "MODEL" else "")
    return _FAMILIES[family](f"{where}: {message}" if where else message, hint, slug)


cdef int checked(int status) except -1:
    if status < 0:
        raise error_of(status)
    return status


# ---- memory -----------------------------------------------------------------

cdef enum:
    ALIGNMENT = 64  # of vector instructions, and a multiple of ES_ALIGNMENT


cdef class _Memory:
    """Bytes that begin at a multiple of 64."""

    cdef void *block
    cdef uint8_t *data
    cdef size_t size

    def __cinit__(self, size_t size):
        self.block = PyMem_Malloc(size + ALIGNMENT)
        if self.block == NULL:
            raise MemoryError(f"no memory for {size} bytes")
        self.data = <uint8_t *>((<uintptr_t>self.block + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))
        self.size = size

    def __dealloc__(self):
        PyMem_Free(self.block)


# ---- kernels ----------------------------------------------------------------


def kernel_paths():
    """Ways to compute that this processor has, the fastest first; ``"plain"``, the core alone, is the last."""
    names = []
    number = 0
    while es_pc_paths[number] != NULL:
        if es_pc_paths[number].is_available():
            names.append((<const char *>es_pc_paths[number].name).decode())
        number += 1
    return [*names, "plain"]


def chosen_path():
    """The fastest way of `kernel_paths`, or the one that the environment variable EDGESPIKE_KERNELS names.

    Raises:
        UsageError: there is no such way, or this processor does not have it.
    """
    names = kernel_paths()
    name = os.environ.get("EDGESPIKE_KERNELS", "") or names[0]
    if name not in names:
        raise UsageError(
            f"EDGESPIKE_KERNELS={name}: this processor has no such kernels",
            f"leave it unset, or choose {', '.join(names)}",
            "kernels",
        )
    return name


cdef const es_pc_kernels *kernels_of(name) except? NULL:
    """The table of a name; NULL for plain."""
    cdef uint32_t number = 0
    content = name.encode()
    while es_pc_paths[number] != NULL and strcmp(es_pc_paths[number].name, content) != 0:
        number += 1
    return es_pc_paths[number]


cdef class _Plan:
    """What bulk work needs of a model, for one kind of kernels. Read-only."""

    cdef es_pc_plan plan
    cdef _Memory memory

    @staticmethod
    cdef _Plan make(const es_model *model, name):
        cdef _Plan made = _Plan()
        cdef const es_pc_kernels *kernels = kernels_of(name)
        es_pc_plan_make(&made.plan, model, kernels, NULL)
        made.memory = _Memory(made.plan.size)
        es_pc_plan_make(&made.plan, model, kernels, made.memory.data)
        return made


# ---- model ------------------------------------------------------------------

_PLANS = {"streaming": ES_PLAN_STREAMING, "one-shot": ES_PLAN_ONE_SHOT}


cdef object plan_of(plan):
    if plan not in _PLANS:
        raise UsageError(f"there is no plan {plan!r}", "choose streaming or one-shot", "argument")
    return _PLANS[plan]


cdef class Model:
    """A checked model file in memory. Read-only, so any number of networks may share it.

    Args:
        data: the bytes of an ``.esg`` file; they are copied.

    Raises:
        ModelError: the bytes are no model file, or a corrupted or newer one.
    """

    cdef es_model model
    cdef _Memory memory
    cdef dict plans  # by path

    def __cinit__(self, data):
        cdef bytes content = bytes(data)
        self.plans = {}
        self.memory = _Memory(len(content))
        memcpy(self.memory.data, <const char *>content, self.memory.size)
        cdef int status = es_model_open(&self.model, self.memory.data, self.memory.size)
        if status == ES_ERR_VERSION:
            version = content[8] | content[9] << 8
            raise error_of(status, f"format {version}, where this edgespike reads {ES_FORMAT_MAJOR}")
        checked(status)

    @property
    def output_size(self):
        """The number of scores."""
        return es_output_size(&self.model)

    @property
    def population_count(self):
        """The number of populations, the input included."""
        return self.model.population_count

    @property
    def source_hash(self):
        """SHA-256 of the network that the model was converted from."""
        return (<const char *>es_model_source_hash(&self.model))[:32]

    @property
    def metadata(self):
        """UTF-8 JSON for hosts (docs/metadata.md)."""
        return (<const char *>self.model.metadata)[:self.model.metadata_size]

    cdef _Plan plan_for(self, path):
        """Made when it is first asked for, while the GIL is held."""
        if path not in self.plans:
            self.plans[path] = _Plan.make(&self.model, path)
        return self.plans[path]

    def arena_size(self, plan):
        """Bytes of RAM that a plan needs; None if the model has no such plan."""
        cdef uint32_t size
        if es_arena_size(&self.model, <es_plan><int>plan_of(plan), &size) != ES_OK:
            return None
        return size


# ---- samples ----------------------------------------------------------------


cdef class Quantizer:
    """How real values become levels of an input: ``floor((x * multiply + add) / scale + 0.5)``, clipped.

    Args:
        multiply, add: numbers, or arrays that go with `initial`.
        low, high: the input's range, at most 32767 apart.
        initial: levels of the initial state (height, width, channels).
        places: where the values of its neurons lie in a sample, alike.
    """

    cdef double[::1] multiply  # one number, or one for each neuron, like the next two
    cdef double[::1] add
    cdef int32_t[::1] initial
    cdef int32_t[::1] places
    cdef double scale, low, high
    cdef Py_ssize_t neurons
    cdef bint uniform  # all neurons are alike: little is read

    def __init__(self, multiply, add, double scale, int low, int high, initial, places):
        given = [np.asarray(multiply, np.float64), np.asarray(add, np.float64), np.asarray(initial, np.int32)]
        self.uniform = all((array == array.flat[0]).all() for array in given)
        shape = (1, 1, 1) if self.uniform else initial.shape
        self.multiply, self.add, self.initial = (
            np.array(np.broadcast_to(array.flat[0] if self.uniform else array, shape)).ravel() for array in given
        )
        self.scale, self.low, self.high = scale, low, high
        self.places = np.ascontiguousarray(places, np.int32).ravel()
        self.neurons = self.places.shape[0]

    @cython.boundscheck(False)
    @cython.wraparound(False)
    @cython.cdivision(True)
    @cython.initializedcheck(False)
    cdef inline bint quantize(self, const uint8_t *values, bint single, size_t neuron,
                              int32_t *change) noexcept nogil:
        """By how much the level of a neuron differs from its initial one. Returns whether its value is finite."""
        cdef int32_t place = self.places[neuron]
        cdef double value = (<const float *>values)[place] if single else (<const double *>values)[place]
        cdef size_t own = 0 if self.uniform else neuron
        cdef double level = (value * self.multiply[own] + self.add[own]) / self.scale + 0.5
        level = level if level > self.low else self.low
        level = level if level < self.high else self.high
        cdef int32_t whole = <int32_t>level
        change[0] = whole - (whole > level) - self.initial[own]
        return isfinite(value)


# ---- network ----------------------------------------------------------------

cdef enum:
    BATCH = 4096  # events copied at a time


cdef class Network:
    """A model at work, in memory of its own: the backend interface over the C core.

    Args:
        model: shared, not changed.
        plan: ``"streaming"`` keeps all state between ticks; ``"one-shot"`` takes one
            sample between resets and needs less memory.
        path: one of `kernel_paths`; None: as `chosen_path` says.
        eagerness: a dense pass is taken where its estimated cost is less than this times that of
            single events: 0 never, infinity always. The bits are the same.

    One thread at a time may use a network; another one gets a UsageError. Different
    networks are independent, and all of them release the GIL while they work.
    """

    cdef es_net net
    cdef readonly Model model
    cdef readonly str path
    cdef _Memory arena
    cdef _Memory bulk_memory
    cdef _Plan bulk_plan
    cdef es_pc bulk
    cdef bint busy

    def __cinit__(self, Model model not None, plan="streaming", path=None, double eagerness=1.0):
        size = model.arena_size(plan)
        if size is None:
            raise UsageError("a spiking network has no one-shot plan", "choose plan='streaming'", "argument")
        self.model = model
        self.arena = _Memory(size)
        checked(es_net_init(&self.net, &model.model, <es_plan><int>plan_of(plan), self.arena.data, size))
        self.path = chosen_path() if path is None else path
        if self.path not in kernel_paths():
            raise UsageError(f"there are no kernels {self.path!r}", f"choose one of {kernel_paths()}", "kernels")
        if self.path != "plain":
            self.bulk_plan = model.plan_for(self.path)
            self.bulk_memory = _Memory(es_pc_size(&self.bulk_plan.plan, &self.net))
            es_pc_attach(&self.bulk, &self.net, &self.bulk_plan.plan, self.bulk_memory.data)
            self.bulk.eagerness = eagerness

    cdef int begin(self) except -1:
        """The last thing before the core is called, while the GIL is held: what runs
        Python code after it could let another thread in."""
        if self.busy:
            raise UsageError(
                "the network is at work in another thread", "give each thread a network of its own", "busy"
            )
        return 0

    def reset(self):
        """Back to the initial state at tick 0; statistics stay."""
        self.begin()
        checked(es_net_reset(&self.net))

    def push(self, events):
        """Integrate events (dtype CORE_EVENT) in order; later ticks close earlier ones.

        Returns:
            How many events were taken, and whether a window closed before the next one:
            then read the output and push the rest.

        Raises:
            DataError: an event goes backwards, lies outside, or leaves the value range.
                Those before it have been taken.
        """
        array = np.asarray(events)
        if array.dtype != CORE_EVENT or array.ndim != 1:
            raise DataError(
                f"events have dtype {array.dtype} and {array.ndim} dimensions",
                "give a one-dimensional array of dtype CORE_EVENT",
                "event-dtype",
            )
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        cdef Py_buffer content
        cdef size_t used = 0
        cdef int status
        PyObject_GetBuffer(array, &content, PyBUF_SIMPLE)
        try:
            self.begin()
            self.busy = True
            with nogil:
                status = self.push_batches(<const uint8_t *>content.buf, content.len // sizeof(es_event), &used)
            self.busy = False
        finally:
            PyBuffer_Release(&content)
        if status < 0:
            raise self.refusal(status, used, array)
        return used, status == ES_WINDOW

    cdef int push_batches(self, const uint8_t *content, size_t count, size_t *used) noexcept nogil:
        """Pushes copies: aligned, and nobody changes an event between its check and its use."""
        cdef es_event[BATCH] batch
        cdef size_t size, taken
        cdef int status = ES_OK
        while True:
            size = min(count - used[0], <size_t>BATCH)
            if size:
                memcpy(batch, content + used[0] * sizeof(es_event), size * sizeof(es_event))
            status = es_net_push(&self.net, batch, size, &taken)
            used[0] += taken
            if status != ES_OK or used[0] == count:
                return status

    def classify(self, values, Quantizer quantizer not None):
        """Scores of whole samples of a level input, each from the initial state to its end.

        Args:
            values: float32 or float64 (samples, ...), contiguous.

        Returns:
            int32 (samples, scores).

        Raises:
            DataError: a value is not finite.
        """
        cdef Py_ssize_t count = len(values), sample = 0
        if values.size != count * quantizer.neurons or values.dtype.char not in "fd":
            raise UsageError(f"{values.dtype} samples of {values.size} values in all", code="argument")
        scores = np.empty((count, self.model.output_size), np.int32)
        cdef int32_t[:, ::1] view = scores
        cdef bint single = values.dtype.char == "f"
        cdef const uint8_t *first
        cdef int status = ES_OK
        cdef uint32_t shape[3]
        cdef Py_buffer content
        es_input_shape(&self.model.model, shape)
        if quantizer.neurons != <Py_ssize_t>shape[0] * shape[1] * shape[2]:
            raise UsageError(f"samples of {quantizer.neurons} values", code="argument")
        PyObject_GetBuffer(values, &content, PyBUF_SIMPLE)
        try:
            self.begin()
            self.busy = True
            first = <const uint8_t *>content.buf
            with nogil:
                while status >= 0 and sample < count:
                    status = self.classify_one(first, single, quantizer, shape, &view[sample, 0], view.shape[1])
                    first += quantizer.neurons * (sizeof(float) if single else sizeof(double))
                    sample += 1
            self.busy = False
        finally:
            PyBuffer_Release(&content)
        if status == ES_ERR_VALUE:
            raise DataError("the input has NaN or infinite values", "clean the data", "input-nan")
        checked(status)
        return scores

    cdef int classify_one(
        self, const uint8_t *values, bint single, Quantizer quantizer, const uint32_t *shape,
        int32_t *scores, size_t count
    ) noexcept nogil:
        """One sample of floats or doubles."""
        cdef es_event[BATCH] batch
        cdef size_t used, size = 0, neuron = 0
        cdef uint32_t y, x, channel
        cdef int32_t change
        cdef int status = es_net_reset(&self.net)
        for y in range(shape[0]):
            for x in range(shape[1]):
                for channel in range(shape[2]):
                    if not quantizer.quantize(values, single, neuron, &change):
                        return ES_ERR_VALUE
                    neuron += 1
                    batch[size] = es_event(0, x, y, channel, <int16_t>change)
                    size += change != 0
                    if size == BATCH:
                        status = es_net_push(&self.net, batch, size, &used)
                        size = 0
                        if status < 0:
                            return status
        status = es_net_push(&self.net, batch, size, &used)
        if status >= 0:
            status = es_net_finish(&self.net)
        return status if status < 0 else es_net_output(&self.net, scores, count)

    cdef object refusal(self, int status, size_t number, object events):
        """The exception for an event that push refused."""
        if status == ES_ERR_STATE:
            return error_of(status)
        tick, x, y, channel, value = events[number].tolist()
        cdef uint32_t shape[3]
        es_input_shape(&self.model.model, shape)
        where = f"event {number} (tick {tick}, x {x}, y {y}, channel {channel}, value {value})"
        if status == ES_ERR_TIME:
            where += f" at open tick {self.net.tick}"
        elif status == ES_ERR_RANGE:
            where += f" on a {shape[1]} x {shape[0]} x {shape[2]} input"
        return error_of(status, where)

    def advance(self, tick):
        """Close ticks until `tick` is the open one.

        Returns:
            True when it stopped at the end of a window: read the output, call again.
        """
        if not 0 <= tick < 1 << 32:
            raise UsageError(f"tick {tick} is not a 32-bit number", "count ticks modulo 2**32", "argument")
        cdef uint32_t to_tick = tick
        cdef int status
        self.begin()
        self.busy = True
        with nogil:
            status = es_net_advance(&self.net, to_tick)
        self.busy = False
        if status == ES_ERR_TIME:
            raise error_of(status, f"tick {tick} at open tick {self.net.tick}")
        return checked(status) == ES_WINDOW

    def finish(self):
        """Close the open tick and the sample; then only output, state, statistics and reset."""
        self.begin()
        cdef int status
        self.busy = True
        with nogil:
            status = es_net_finish(&self.net)
        self.busy = False
        checked(status)

    @property
    def dense_passes(self):
        """How many dense passes were taken in place of single events, so far."""
        return self.bulk.dense_passes if self.net.pc != NULL else 0

    @property
    def decided(self):
        """After how many of its ticks the open window was decided (early exit); 0: it is not."""
        return self.net.decided

    def self_test(self):
        """Run the model's golden self-test, if it has one; resets the network.

        Raises:
            ModelError: a bit of the result differs.
        """
        scores = np.empty(self.model.output_size, np.int32)
        cdef int32_t[::1] view = scores
        cdef size_t count = view.shape[0]
        cdef int status
        self.begin()
        self.busy = True
        with nogil:
            status = es_net_self_test(&self.net, &view[0], count)
        self.busy = False
        checked(status)

    def output(self):
        """Scores of the last closed tick, flat int32: accumulators, levels or spike counts."""
        scores = np.empty(self.model.output_size, np.int32)
        cdef int32_t[::1] view = scores
        self.begin()
        checked(es_net_output(&self.net, &view[0], view.shape[0]))
        return scores

    def state(self, population):
        """Levels, membranes or accumulators of one population after the last closed tick, flat int32."""
        if not 0 <= population < self.model.population_count:
            raise UsageError(
                f"there is no population {population}", f"there are {self.model.population_count}", "argument"
            )
        values = np.empty(es_population_size(&self.model.model, population), np.int32)
        cdef int32_t[::1] view = values
        cdef uint32_t number = population
        self.begin()
        checked(es_net_state(&self.net, number, &view[0], view.shape[0]))
        return values

    def stats(self):
        """Counts since the last clear: events and synaptic operations, in all and by population."""
        populations = []
        cdef uint64_t events, synops
        cdef uint32_t number
        cdef es_stats stats
        for number in range(self.model.population_count):
            self.begin()
            checked(es_net_population_stats(&self.net, number, &events, &synops))
            populations.append({"events": events, "synops": synops})
        self.begin()
        stats = self.net.stats
        return {
            "input_events": stats.input_events,
            "events": stats.events,
            "synops": stats.synops,
            "ticks": stats.ticks,
            "windows": stats.windows,
            "populations": populations,
        }

    def clear_stats(self):
        """Zero all statistics."""
        self.begin()
        es_net_clear_stats(&self.net)
