# cython: boundscheck=False, wraparound=False
"""The sensor side's C code for hosts: filters of pixel events. The same source runs on boards."""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint8_t

import numpy as np

from edgespike.errors import UsageError

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

CAUSES = ("crop", "hot", "background", "refractory", "rate")

_PIXEL_EVENT = np.dtype(
    [("time", "<u4"), ("x", "<u2"), ("y", "<u2"), ("polarity", "<u2"), ("reserved", "<u2")]
)


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
            for i in range(count):  # the GIL is kept: no other thread may use the filter meanwhile
                mask[i] = es_filter_pass(&self.filter, pixel + i)
        chosen = passed.view(np.bool_)
        out = events[chosen]
        for ours, theirs in (("x", "x"), ("y", "y"), ("polarity", "p")):
            out[theirs] = pixels[ours][chosen]
        return out
