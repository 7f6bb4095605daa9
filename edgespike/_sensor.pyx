# cython: boundscheck=False, wraparound=False
"""The sensor side's C code for hosts: filters of pixel events, encoders of samples.

The same source runs on boards. The GIL is kept: no other thread may use an object meanwhile.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint8_t

import numpy as np

from edgespike.errors import DataError, UsageError

cdef extern from "sensor/es_filter.h" nogil:
    ctypedef struct es_pixel_event:
        uint32_t time
        uint16_t x
        uint16_t y
        uint16_t polarity
        uint16_t reserved

    ctypedef struct es_filter_settings:
        uint16_t x
        uint16_t y
        uint16_t width
        uint16_t height
        uint16_t hot_events
        uint32_t background_us
        uint32_t refractory_us
        uint16_t downsample
        bint merge
        uint32_t rate

    enum:
        ES_FILTER_COUNT

    ctypedef struct es_filter:
        uint32_t removed[ES_FILTER_COUNT]

    size_t es_filter_memory(const es_filter_settings *settings)
    bint es_filter_init(es_filter *filter, const es_filter_settings *settings, void *memory)
    void es_filter_reset(es_filter *filter)
    bint es_filter_pass(es_filter *filter, es_pixel_event *event)

cdef extern from "edgespike.h" nogil:
    ctypedef struct es_event:
        uint32_t tick
        uint16_t x
        uint16_t y
        uint16_t channel
        int16_t value

cdef extern from "sensor/es_encode.h" nogil:
    ctypedef struct es_encode_settings:
        uint8_t code
        uint16_t columns
        uint16_t most
        int32_t threshold
        int32_t low
        int32_t high
        uint16_t steps
        uint16_t units
        int32_t width
        uint32_t period

    ctypedef struct es_encoder:
        pass

    size_t es_encode_memory(const es_encode_settings *settings)
    bint es_encode_init(es_encoder *encoder, const es_encode_settings *settings, void *memory)
    void es_encode_reset(es_encoder *encoder)
    void es_encode_sample(es_encoder *encoder, uint32_t tick, const int32_t *values)
    bint es_encode_next(es_encoder *encoder, es_event *event)

cdef extern from "sensor/es_window.h" nogil:
    ctypedef struct es_window_settings:
        uint16_t columns
        uint16_t length
        uint16_t hop
        int32_t deadband
        uint16_t width
        uint16_t channels
        uint32_t position_stride
        uint32_t column_stride
        uint16_t thresholds
        const int32_t *threshold
        int16_t first_level
        const int16_t *initial

    ctypedef struct es_window:
        pass

    size_t es_window_memory(const es_window_settings *settings)
    bint es_window_init(es_window *window, const es_window_settings *settings, void *memory)
    void es_window_reset(es_window *window)
    void es_window_restart(es_window *window)
    bint es_window_sample(es_window *window, const int32_t *values)
    bint es_window_next(es_window *window, uint32_t tick, es_event *event)

CAUSES = ("crop", "hot", "background", "refractory", "rate")

_PIXEL_EVENT = np.dtype(
    [("time", "<u4"), ("x", "<u2"), ("y", "<u2"), ("polarity", "<u2"), ("reserved", "<u2")]
)
_LARGEST = (1 << 30) - 1  # of a sample
_SENSOR_EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<u2"), ("value", "<i2")])
cdef enum:
    CHUNK = 1 << 14  # events


cdef packed struct sensor_event:  # _SENSOR_EVENT
    int64_t t
    uint16_t x
    uint16_t y
    uint16_t p
    int16_t value


cdef class Events:
    """A growing list of events, dtype _SENSOR_EVENT."""

    cdef list full
    cdef object rows
    cdef sensor_event[::1] view
    cdef Py_ssize_t count

    def __cinit__(self):
        self.full = []
        self.count = CHUNK

    cdef void add(self, int64_t time, es_event *event):
        if self.count == CHUNK:
            self.rows = np.empty(CHUNK, _SENSOR_EVENT)
            self.view = self.rows
            self.full.append(self.rows)
            self.count = 0
        cdef sensor_event *row = &self.view[self.count]
        row.t, row.x, row.y, row.p, row.value = time, event.x, event.y, event.channel, event.value
        self.count += 1

    cdef take(self):
        if not self.full:
            return np.empty(0, _SENSOR_EVENT)
        self.full.pop()
        events = np.concatenate([*self.full, self.rows[: self.count]])
        self.full, self.count = [], CHUNK
        return events


def _checked(samples, times, columns):
    """Samples as int32 (n, columns) and times as int64 (n,), contiguous."""
    samples, times = np.ascontiguousarray(samples), np.ascontiguousarray(times, np.int64)
    if samples.ndim != 2 or samples.shape[1] != columns or times.shape != samples.shape[:1]:
        raise DataError(
            f"samples of shape {samples.shape} and times of shape {times.shape}",
            f"give (n, {columns}) and (n,)",
            "sample-shape",
        )
    if samples.dtype.kind not in "iu":
        raise DataError(
            f"samples of type {samples.dtype}", "make them whole: edgespike.encoders.whole_numbers", "sample-type"
        )
    return np.clip(samples, -_LARGEST, _LARGEST).astype(np.int32), times


cdef class Encode:
    """An encoder of es_encode.h with its memory. Settings: fields of es_encode_settings; else 0."""

    cdef es_encoder encoder
    cdef uint16_t columns
    cdef void *memory

    def __cinit__(self, *, uint8_t code, uint16_t columns, uint32_t period, uint16_t most=0, int32_t threshold=0,
                  int32_t low=0, int32_t high=0, uint16_t steps=0, uint16_t units=0, int32_t width=0):
        cdef es_encode_settings settings = es_encode_settings(
            code, columns, most, threshold, low, high, steps, units, width, period)
        cdef size_t size = es_encode_memory(&settings)
        if size == 0:
            raise UsageError("these encoder settings make no sense", "see docs/sensors.md", "argument")
        self.columns = columns
        self.memory = PyMem_Calloc(1, size)
        if self.memory == NULL:
            raise MemoryError(f"no memory for {size} bytes")
        es_encode_init(&self.encoder, &settings, self.memory)

    def __dealloc__(self):
        PyMem_Free(self.memory)

    def reset(self):
        """Begin a new stream."""
        es_encode_reset(&self.encoder)

    def run(self, samples, times):
        """The events of samples (n, columns) at times (n,)."""
        values, at = _checked(samples, times, self.columns)
        cdef const int32_t[:, ::1] rows = values
        cdef const int64_t[::1] time = at
        cdef Events events = Events()
        cdef es_event event
        cdef Py_ssize_t number
        for number in range(rows.shape[0]):
            es_encode_sample(&self.encoder, 0, &rows[number, 0])
            while es_encode_next(&self.encoder, &event):
                events.add(time[number] + event.tick, &event)
        return events.take()


cdef class Slide:
    """A sliding window of es_window.h with its memory. Settings: fields of es_window_settings."""

    cdef es_window window
    cdef es_window_settings settings
    cdef const int32_t[:, ::1] threshold
    cdef const int16_t[::1] initial
    cdef void *memory

    def __cinit__(self, *, uint16_t columns, uint16_t length, uint16_t hop, int32_t deadband,
                  uint16_t width, uint16_t channels, uint32_t position_stride, uint32_t column_stride, threshold, int16_t first_level, initial):
        self.threshold, self.initial = threshold, initial
        self.settings = es_window_settings(
            columns, length, hop, deadband, width, channels, position_stride, column_stride,
            <uint16_t>self.threshold.shape[1], NULL, first_level, &self.initial[0])
        if self.threshold.shape[1]:
            self.settings.threshold = &self.threshold[0, 0]
        cdef size_t size = es_window_memory(&self.settings)
        if size == 0:
            raise UsageError("these window settings make no sense", "see docs/sensors.md", "argument")
        self.memory = PyMem_Calloc(1, size)
        if self.memory == NULL:
            raise MemoryError(f"no memory for {size} bytes")
        es_window_init(&self.window, &self.settings, self.memory)

    def __dealloc__(self):
        PyMem_Free(self.memory)

    def reset(self):
        """Begin a new stream."""
        es_window_reset(&self.window)

    def restart(self):
        """Samples were lost: fill the window anew."""
        es_window_restart(&self.window)

    def run(self, samples, times):
        """For each result that samples (n, columns) at times (n,) make due: its time, and the changes before it."""
        values, at = _checked(samples, times, self.settings.columns)
        cdef const int32_t[:, ::1] rows = values
        cdef const int64_t[::1] time = at
        cdef Events events = Events()
        cdef es_event event
        cdef Py_ssize_t number
        due = []
        for number in range(rows.shape[0]):
            if es_window_sample(&self.window, &rows[number, 0]):
                while es_window_next(&self.window, 0, &event):
                    events.add(time[number], &event)
                due.append((time[number], events.take()))
        return due


cdef class Filter:
    """The filters of es_filter.h with their memory.

    Args:
        settings: fields of es_filter_settings by name; what is missing is 0.

    Raises:
        UsageError: the settings make no sense.
    """

    cdef es_filter filter
    cdef void *memory

    def __cinit__(self, *, uint16_t x=0, uint16_t y=0, uint16_t width, uint16_t height, uint16_t hot_events=0,
                  uint32_t background_us=0, uint32_t refractory_us=0, uint16_t downsample=0, bint merge=False,
                  uint32_t rate=0):
        cdef es_filter_settings settings = es_filter_settings(
            x, y, width, height, hot_events, background_us, refractory_us, downsample, merge, rate)
        cdef size_t size = es_filter_memory(&settings)
        if size == 0:
            raise UsageError("these filter settings make no sense", "see docs/streams.md", "argument")
        self.memory = PyMem_Calloc(1, size)
        if self.memory == NULL:
            raise MemoryError(f"no memory for {size} bytes")
        es_filter_init(&self.filter, &settings, self.memory)

    def __dealloc__(self):
        PyMem_Free(self.memory)

    def reset(self):
        """Forget everything but what was removed."""
        es_filter_reset(&self.filter)

    @property
    def removed(self):
        """How many events each filter has removed, by cause."""
        return {cause: self.filter.removed[number] for number, cause in enumerate(CAUSES)}

    def run(self, events):
        """Events (fields t, x, y, p) that pass, a new array; times must not decrease from call to call."""
        pixels = np.zeros(len(events), _PIXEL_EVENT)
        pixels["time"] = events["t"] & 0xFFFFFFFF
        for ours, theirs in (("x", "x"), ("y", "y"), ("polarity", "p")):
            pixels[ours] = events[theirs]
        passed = np.zeros(len(events), np.uint8)
        cdef uint8_t[::1] bytes_of_pixels = pixels.view(np.uint8)
        cdef uint8_t[::1] mask = passed
        cdef size_t count = len(events), i
        cdef es_pixel_event *pixel
        if count:
            pixel = <es_pixel_event *>&bytes_of_pixels[0]
            for i in range(count):
                mask[i] = es_filter_pass(&self.filter, pixel + i)
        chosen = passed.view(np.bool_)
        out = events[chosen]
        for ours, theirs in (("x", "x"), ("y", "y"), ("polarity", "p")):
            out[theirs] = pixels[ours][chosen]
        return out
