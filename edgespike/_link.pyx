# cython: boundscheck=False, wraparound=False
"""The link's C code for hosts: frames, event words, and a board inside this process.

The bytes are described in docs/link.md. The same source runs on boards.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove

from edgespike.errors import UsageError


cdef extern from "<stdbool.h>" nogil:
    ctypedef bint c_bool "bool"


cdef extern from "es_frame.h" nogil:
    ctypedef struct es_frame:
        uint8_t type
        uint8_t flags
        uint8_t major
        uint16_t sequence
        uint32_t word
        const uint8_t *payload
        uint32_t size

    ctypedef struct es_frame_writer:
        pass

    ctypedef struct es_frame_reader:
        uint32_t good
        uint32_t bad_crc
        uint32_t malformed
        uint32_t too_long

    enum:
        ES_PAYLOAD_MAX
        ES_FRAME_EXTRA
        ES_FRAME_EVENTS
        ES_LINK_MAJOR
        ES_LINK_MINOR

    size_t ES_FRAME_BOUND(size_t payload)
    void es_frame_begin(es_frame_writer *writer, uint8_t *out, uint8_t type, uint8_t flags, uint16_t sequence,
                        uint32_t word)
    void es_frame_add(es_frame_writer *writer, const void *bytes, size_t count)
    void es_frame_add_u8(es_frame_writer *writer, uint8_t value)
    void es_frame_add_u16(es_frame_writer *writer, uint16_t value)
    void es_frame_add_u32(es_frame_writer *writer, uint32_t value)
    size_t es_frame_end(es_frame_writer *writer)
    void es_frame_reader_init(es_frame_reader *reader, uint8_t *buffer, uint32_t capacity)
    bint es_frame_read(es_frame_reader *reader, const uint8_t *bytes, size_t count, size_t *used, es_frame *frame)


cdef extern from "edgespike.h" nogil:
    ctypedef struct es_event:
        uint32_t tick
        uint16_t x
        uint16_t y
        uint16_t channel
        int16_t value


cdef extern from "es_words.h" nogil:
    ctypedef struct es_words_layout:
        pass

    ctypedef struct es_words_form:
        uint8_t bytes
        uint8_t value_bits

    ctypedef struct es_words_reader:
        pass

    es_words_layout es_words_layout_of(uint32_t height, uint32_t width, uint32_t channels)
    size_t es_words_pack(es_words_layout layout, const es_event *events, size_t count, uint8_t *out, size_t room,
                         es_words_form *form, size_t *size)
    int es_words_open(es_words_reader *reader, es_words_layout layout, es_words_form form, uint32_t tick,
                      const uint8_t *words, size_t size)
    size_t es_words_read(es_words_reader *reader, es_event *events, size_t capacity)


cdef extern from "es_device.h" nogil:
    enum:
        ES_DEVICE_RESERVE

    ctypedef struct es_device_config:
        uint8_t *model
        uint32_t model_capacity
        uint8_t *arena
        uint32_t arena_capacity
        uint8_t *ring
        uint32_t ring_size
        uint8_t *frames
        uint16_t max_payload
        const char *name
        uint32_t boot_epoch
        void (*write)(void *context, const uint8_t *bytes, size_t count) noexcept nogil
        uint32_t (*clock_us)(void *context) noexcept nogil
        c_bool (*set_baud)(void *context, uint32_t baud, c_bool now) noexcept nogil
        uint32_t baud
        void *context

    ctypedef struct es_device:
        pass

    size_t ES_DEVICE_FRAME_BYTES(size_t payload)
    int es_device_init(es_device *device, const es_device_config *config)
    void es_device_receive(es_device *device, const uint8_t *bytes, size_t count)
    uint32_t es_device_room(const es_device *device)
    bint es_device_poll(es_device *device)


cdef extern from *:
    """
    #include <time.h>

    static uint32_t edgespike_clock_us(void *context)
    {
        struct timespec now;
        (void)context;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
    }
    """
    uint32_t edgespike_clock_us(void *context) noexcept nogil


PROTOCOL = (ES_LINK_MAJOR, ES_LINK_MINOR)


# ---- frames -----------------------------------------------------------------


def encode_frame(int type, int flags, int sequence, uint32_t word, bytes payload not None=b"") -> bytes:
    cdef size_t size = len(payload)
    if size > ES_PAYLOAD_MAX:
        raise ValueError(f"a payload of {size} bytes is longer than {ES_PAYLOAD_MAX}")
    cdef es_frame_writer writer
    cdef uint8_t *out = <uint8_t *>malloc(ES_FRAME_BOUND(size))
    if out == NULL:
        raise MemoryError
    try:
        es_frame_begin(&writer, out, <uint8_t>type, <uint8_t>flags, <uint16_t>sequence, word)
        es_frame_add(&writer, <const char *>payload, size)
        size = es_frame_end(&writer)
        return PyBytes_FromStringAndSize(<const char *>out, <Py_ssize_t>size)
    finally:
        free(out)


cdef class FrameReader:
    cdef es_frame_reader reader
    cdef uint8_t *buffer

    def __cinit__(self, uint32_t max_payload=ES_PAYLOAD_MAX):
        self.buffer = <uint8_t *>malloc(max_payload + ES_FRAME_EXTRA)
        if self.buffer == NULL:
            raise MemoryError
        es_frame_reader_init(&self.reader, self.buffer, max_payload + ES_FRAME_EXTRA)

    def __dealloc__(self):
        free(self.buffer)

    def feed(self, bytes data not None) -> list:
        cdef const uint8_t *at = <const uint8_t *><const char *>data
        cdef size_t left = len(data)
        cdef size_t used = 0
        cdef es_frame frame
        frames = []
        while left:
            if es_frame_read(&self.reader, at, left, &used, &frame):
                payload = PyBytes_FromStringAndSize(<const char *>frame.payload, frame.size)
                frames.append((frame.type, frame.flags, frame.major, frame.sequence, frame.word, payload))
            at += used
            left -= used
        return frames

    @property
    def good(self):
        return self.reader.good

    @property
    def bad_crc(self):
        return self.reader.bad_crc

    @property
    def malformed(self):
        return self.reader.malformed

    @property
    def too_long(self):
        return self.reader.too_long


# ---- event words --------------------------------------------------------------


def pack_events(const es_event[::1] events not None, shape, int max_payload, int sequence, uint32_t event, int sample,
                uint32_t stream):
    height, width, channels = shape
    if not 20 <= max_payload <= ES_PAYLOAD_MAX:
        raise ValueError(f"frames of {max_payload} bytes")
    cdef es_words_layout layout = es_words_layout_of(height, width, channels)
    cdef es_words_form form
    cdef es_frame_writer writer
    cdef uint8_t[ES_PAYLOAD_MAX] words
    cdef uint8_t[ES_PAYLOAD_MAX + 64] out
    cdef size_t at = 0, count = events.shape[0], packed, size
    frames = []
    while at < count:
        packed = es_words_pack(layout, &events[at], count - at, words, max_payload - 12, &form, &size)
        if packed == 0:
            break
        es_frame_begin(&writer, out, ES_FRAME_EVENTS, 0, <uint16_t>sequence, events[at].tick)
        es_frame_add_u32(&writer, event)
        es_frame_add_u16(&writer, <uint16_t>sample)
        es_frame_add_u8(&writer, form.bytes)
        es_frame_add_u8(&writer, form.value_bits)
        es_frame_add_u32(&writer, stream)
        es_frame_add(&writer, words, size)
        size = es_frame_end(&writer)
        frames.append((PyBytes_FromStringAndSize(<const char *>out, <Py_ssize_t>size), packed))
        at += packed
        event += <uint32_t>packed
        sequence += 1
    return frames


def unpack_words(bytes words not None, shape, int word_bytes, int value_bits, uint32_t tick) -> bytes:
    height, width, channels = shape
    cdef es_words_layout layout = es_words_layout_of(height, width, channels)
    cdef es_words_form form = es_words_form(word_bytes, value_bits)
    cdef es_words_reader reader
    cdef const uint8_t *data = <const uint8_t *><const char *>words
    cdef es_event[64] events
    cdef size_t count = 64
    if es_words_open(&reader, layout, form, tick, data, len(words)) != 0:
        raise ValueError("these are not event words")
    pieces = []
    while count == 64:
        count = es_words_read(&reader, events, 64)
        pieces.append(PyBytes_FromStringAndSize(<const char *>events, <Py_ssize_t>(count * sizeof(es_event))))
    return b"".join(pieces)


# ---- emulated board -------------------------------------------------------------

cdef enum:
    OUTPUT_PAUSE = 1 << 16  # the board waits when so much of what it sent was not read

cdef struct line:
    uint8_t *bytes  # that the board sent
    size_t used
    size_t capacity
    uint32_t baud
    bint has_clock
    uint32_t now


cdef void append_output(void *context, const uint8_t *data, size_t count) noexcept nogil:
    cdef line *out = <line *>context
    cdef size_t capacity = out.capacity
    cdef void *grown
    if count > capacity - out.used:
        while count > capacity - out.used:
            capacity *= 2
        grown = realloc(out.bytes, capacity)
        if grown == NULL:
            return  # as on a line that loses bytes
        out.bytes = <uint8_t *>grown
        out.capacity = capacity
    memcpy(out.bytes + out.used, data, count)
    out.used += count


cdef uint32_t emulated_clock_us(void *context) noexcept nogil:
    cdef line *out = <line *>context
    return out.now if out.has_clock else edgespike_clock_us(NULL)


cdef c_bool emulated_baud(void *context, uint32_t baud, c_bool now) noexcept nogil:
    if baud < 1200 or baud > 4000000:
        return False
    if now:
        (<line *>context).baud = baud
    return True


cdef class EmulatedBoard:
    cdef es_device device
    cdef es_device_config config
    cdef line out
    cdef void *model_block
    cdef void *arena_block
    cdef bytes name_bytes
    cdef bint gone
    cdef bint busy

    def __cinit__(self, *, uint32_t model_capacity=1 << 24, uint32_t arena_capacity=1 << 26,
                  name="emulated", uint32_t boot_epoch=1, uint16_t max_payload=1024, uint32_t ring_size=1 << 16,
                  uint32_t baud=921600):
        self.name_bytes = name.encode()
        self.model_block = calloc(1, <size_t>model_capacity + 16)
        self.arena_block = calloc(1, <size_t>arena_capacity + 16)
        self.config.ring = <uint8_t *>malloc(ring_size)
        self.config.frames = <uint8_t *>malloc(ES_DEVICE_FRAME_BYTES(max_payload))
        self.out.capacity = OUTPUT_PAUSE
        self.out.bytes = <uint8_t *>malloc(self.out.capacity)
        if NULL in (self.model_block, self.arena_block) or self.config.ring == NULL:
            raise MemoryError
        if self.config.frames == NULL or self.out.bytes == NULL:
            raise MemoryError
        self.config.model = <uint8_t *>((<uintptr_t>self.model_block + 15) & ~<uintptr_t>15)
        self.config.model_capacity = model_capacity
        self.config.arena = <uint8_t *>((<uintptr_t>self.arena_block + 15) & ~<uintptr_t>15)
        self.config.arena_capacity = arena_capacity
        self.config.ring_size = ring_size
        self.config.max_payload = max_payload
        self.config.name = self.name_bytes
        self.config.boot_epoch = boot_epoch
        self.config.write = append_output
        self.config.clock_us = emulated_clock_us
        self.config.set_baud = emulated_baud
        self.config.baud = self.out.baud = baud
        self.config.context = &self.out
        if es_device_init(&self.device, &self.config) != 0:
            raise ValueError("no board can be made with these sizes")

    def __dealloc__(self):
        free(self.model_block)
        free(self.arena_block)
        free(self.config.ring)
        free(self.config.frames)
        free(self.out.bytes)

    cdef int begin(self) except -1:
        """The last thing before the board is touched, while the GIL is held."""
        if self.gone:
            raise OSError(19, "the emulated board is gone")
        if self.busy:
            raise UsageError(
                "the emulated board is at work in another thread", "give each thread a board of its own", "busy"
            )
        return 0

    def write(self, bytes data not None) -> int:
        self.begin()
        cdef size_t room = es_device_room(&self.device)
        cdef size_t count = min(<size_t>len(data), room)
        es_device_receive(&self.device, <const uint8_t *><const char *>data, count)
        return count

    def read(self, size_t limit=1 << 20) -> bytes:
        self.begin()
        self.busy = True
        cdef uint32_t baud = self.out.baud
        with nogil:
            while self.out.used < OUTPUT_PAUSE and es_device_poll(&self.device) and self.out.baud == baud:
                pass
        self.busy = False
        cdef size_t count = min(limit, self.out.used)
        data = PyBytes_FromStringAndSize(<const char *>self.out.bytes, <Py_ssize_t>count)
        self.out.used -= count
        memmove(self.out.bytes, self.out.bytes + count, self.out.used)
        return data

    def reboot(self) -> None:
        self.begin()
        self.config.boot_epoch += 1
        self.out.used = 0
        self.out.baud = self.config.baud
        es_device_init(&self.device, &self.config)

    @property
    def baud(self) -> int:
        return self.out.baud

    def set_clock(self, uint32_t now_us) -> None:
        self.begin()
        self.out.has_clock = True
        self.out.now = now_us

    def vanish(self) -> None:
        self.gone = True
