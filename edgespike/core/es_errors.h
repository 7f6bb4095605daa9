/* The one list of error codes: the C enum, the C messages and the Python
 * exceptions are all made from it.
 *
 * ES_ERROR(NAME, CODE, FAMILY, SLUG, MESSAGE)
 *   FAMILY  MODEL   the model file cannot be used
 *           DATA    an input event or sample cannot be used
 *           BUDGET  something does not fit
 *           USAGE   calls came in an order that makes no sense
 *           LINK    the peer sent a frame or a command that makes no sense
 */
#ifndef ES_ERRORS_H
#define ES_ERRORS_H

#define ES_ERROR_LIST(ES_ERROR)                                                                   \
    ES_ERROR(ES_ERR_TRUNCATED, -1, MODEL, "model-truncated", "the model file is cut short")       \
    ES_ERROR(ES_ERR_MAGIC, -2, MODEL, "model-magic", "this is not an edgespike model file")       \
    ES_ERROR(ES_ERR_VERSION, -3, MODEL, "model-version", "the model file has another major format version") \
    ES_ERROR(ES_ERR_CRC, -4, MODEL, "model-crc", "the model file is corrupted (checksum mismatch)") \
    ES_ERROR(ES_ERR_SECTION, -5, MODEL, "model-section", "a section of the model file is missing, misplaced or of the wrong size") \
    ES_ERROR(ES_ERR_POPULATION, -6, MODEL, "model-population", "a population record is invalid")  \
    ES_ERROR(ES_ERR_PROJECTION, -7, MODEL, "model-projection", "a projection record is invalid")  \
    ES_ERROR(ES_ERR_PARAMETER, -8, MODEL, "model-parameter", "a neuron parameter is out of range") \
    ES_ERROR(ES_ERR_INITIAL, -9, MODEL, "model-initial", "an initial state table is invalid")     \
    ES_ERROR(ES_ERR_INPUT, -10, MODEL, "model-input", "the input description is invalid")         \
    ES_ERROR(ES_ERR_TEST, -11, MODEL, "model-test", "the golden self-test section is invalid")    \
    ES_ERROR(ES_ERR_ALIGN, -12, USAGE, "align", "the model or the arena is not aligned to 16 bytes") \
    ES_ERROR(ES_ERR_ENDIAN, -13, USAGE, "endian", "big-endian machines are not supported")        \
    ES_ERROR(ES_ERR_ARENA, -14, BUDGET, "arena-too-small", "the arena is smaller than the model needs") \
    ES_ERROR(ES_ERR_MODEL_SIZE, -15, BUDGET, "model-too-large", "the model is larger than the memory kept for it") \
    ES_ERROR(ES_ERR_TIME, -16, DATA, "event-time", "an event goes backwards in time")             \
    ES_ERROR(ES_ERR_RANGE, -17, DATA, "event-range", "an event lies outside the input")           \
    ES_ERROR(ES_ERR_VALUE, -18, DATA, "event-value", "an event's value leaves the input's range") \
    ES_ERROR(ES_ERR_TICK_FULL, -19, DATA, "tick-full", "one tick has more input than the overflow proof allows") \
    ES_ERROR(ES_ERR_STATE, -20, USAGE, "state", "this call is not allowed in the present state")  \
    ES_ERROR(ES_ERR_ARGUMENT, -21, USAGE, "argument", "an argument is out of range")              \
    ES_ERROR(ES_ERR_DIGEST, -22, MODEL, "self-test", "the golden self-test gave another result")  \
    ES_ERROR(ES_ERR_FRAME, -23, LINK, "frame", "a frame is malformed")                            \
    ES_ERROR(ES_ERR_COMMAND, -24, LINK, "command", "a command is unknown or out of order")        \
    ES_ERROR(ES_ERR_NO_MODEL, -25, LINK, "no-model", "the board holds no model")                  \
    ES_ERROR(ES_ERR_UPLOAD, -26, LINK, "upload", "a model upload has a gap or another hash")               \
    ES_ERROR(ES_ERR_HEADER, -27, MODEL, "model-header", "the header of the model file is invalid") \
    ES_ERROR(ES_ERR_LEFT_OUT, -28, MODEL, "left-out", "this build of the core leaves out what is needed")

#endif
