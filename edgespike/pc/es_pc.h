/* Populations in bulk: how a PC computes what the core computes event by event.
 *
 * Only for hosts with vector instructions: compiled into the Python extension, where ES_PC is
 * defined; firmware and exports have none of it. Where much of a population changes in a tick, all
 * of its levels are computed at once, and their differences go to the targets as one dense pass
 * (dot products of bytes or shorts) instead of as single events. All sums are exact integers,
 * so the bits, the events and the synaptic operations counted are the same either way, and
 * only the cheaper of the two is taken. What this does not know it leaves to the core.
 */
#ifndef ES_PC_H
#define ES_PC_H

#include "es_internal.h"

/* ---- kernels: one table for each kind of processor ---------------------- */

enum { ES_PC_BLOCK = 16 }; /* target channels that a dot product yields at once */

/* A dense pass to one row of target pixels. Sizes and distances in bytes. */
typedef struct es_pc_dot {
    const uint8_t *source;   /* the first pixel's window */
    const uint8_t *weights;  /* [runs][groups][blocks][ES_PC_BLOCK][group] */
    const uint32_t *runs;    /* where the pieces of a window that lie together begin, from its start */
    uint32_t run_count;
    uint32_t groups;         /* of 4 bytes, in a run */
    uint32_t blocks;
    uint32_t pixels;
    uint32_t pixel_step;     /* from one pixel's window to the next */
} es_pc_dot;

/* How accumulators become levels, by neuron of a row. `low` and `high` are the least and the greatest
 * number with the least and the greatest level.
 *
 * `quick`: with n levels above the least and |low| + n * step + step <= 2^21 for all neurons, and the
 * reciprocal the next float above 1 / step, the quotient of a number x = k * step + r, counted from
 * low, needs no correction. x is exact in a float, or so great that its level is the last anyway. The
 * product is at least k, since k is a float; and with relative errors of 2^-22 and 2^-24 it is less
 * than (k + 1 - 1 / step) * (1 + 1.3 * 2^-22), which is less than k + 1. */
typedef struct es_pc_steps {
    const int32_t *step;
    const int32_t *low;
    const int32_t *high;
    const float *reciprocal;
    float most; /* levels above the least */
    uint32_t shift;
    bool quick;
} es_pc_steps;

/* What changed in a row. */
typedef struct es_pc_change {
    uint32_t count;
    int32_t least;
    int32_t greatest;
} es_pc_change;

typedef struct es_pc_kernels {
    const char *name;
    bool (*is_available)(void);
    uint32_t group; /* differences in 4 bytes: 4 of a byte each, or 2 */
    int32_t lowest; /* number that a byte can hold: 0 or -128 */
    double dense;   /* nanoseconds of a dense pass for each 16 targets and 4 bytes of differences, roughly */

    /* sums [pixels][blocks][ES_PC_BLOCK] = the dot products */
    void (*dot)(const es_pc_dot *dot, int32_t *sums);

    /* Accumulators of 16 bits that lie two in a word (es_accumulator), as shorts. */
    void (*unpair)(int16_t *values, const uint32_t *accumulators, uint32_t count);

    /* Stored levels of accumulators of 16 or 32 bits. */
    void (*levels_16)(const es_pc_steps *steps, const int16_t *accumulators, uint8_t *levels, uint32_t count);
    void (*levels_32)(const es_pc_steps *steps, const int32_t *accumulators, uint8_t *levels, uint32_t count);

    /* maxima[i] = max(maxima[i], values[i]) */
    void (*maximum)(uint8_t *maxima, const uint8_t *values, uint32_t count);

    /* differences = now - told; told = now */
    es_pc_change (*differences)(int16_t *differences, uint8_t *told, const uint8_t *now, uint32_t count);

    /* How many differ from 0. */
    uint32_t (*count)(const int16_t *differences, uint32_t count);

    /* bytes = values, clipped to least .. least + 255, less `base`. */
    void (*narrow)(uint8_t *bytes, const int16_t *values, int32_t least, int32_t base, uint32_t count);

    /* The same of what lies outside -128 .. 127: by how much it does. */
    void (*narrow_rest)(uint8_t *bytes, const int16_t *values, int32_t base, uint32_t count);

    /* sums[i] = over all runs, values[run + i] * weights[i], the weights of the next run `step` further on. */
    void (*windows)(int32_t *sums, const int16_t *values, const uint32_t *runs, uint32_t run_count,
                    const int16_t *weights, uint32_t step, uint32_t count);

    /* accumulators += sums + base * totals; those of 16 bits two in a word */
    void (*add_16)(uint32_t *accumulators, const int32_t *sums, const int32_t *totals, int32_t base, uint32_t count);
    void (*add_32)(uint32_t *accumulators, const int32_t *sums, const int32_t *totals, int32_t base, uint32_t count);
} es_pc_kernels;

/* Tables, the fastest first; ends with NULL. */
extern const es_pc_kernels *const es_pc_paths[];

/* ---- what is worked out once for a model (es_pc_plan.c) ----------------- */

enum { ES_PC_NO_WAY, ES_PC_DOT, ES_PC_BY_CHANNEL, ES_PC_MARK };

typedef struct es_pc_projection {
    uint8_t way;
    uint32_t height; /* of the source with its margins, where a window may lie */
    uint32_t width;
    uint32_t channels;
    uint32_t top; /* margins */
    uint32_t left;
    uint32_t run_count;
    uint32_t run_length; /* differences in a run */
    uint32_t groups;
    uint32_t blocks;
    uint32_t lanes;    /* sums of a row of targets */
    uint32_t *runs;    /* DOT: in bytes; BY_CHANNEL: in differences, by kernel position */
    uint8_t *weights;  /* DOT: as es_pc_dot; BY_CHANNEL: int16 [kernel positions][target row] */
    int32_t *totals;   /* DOT: sums of all weights that lead to a target, by lane */
    uint16_t *down;    /* target rows that a source row reaches */
    uint16_t *across;  /* target columns that a source column reaches */
    uint32_t length;   /* targets that an event reaches in a target pixel */
    double cost;       /* of a dense pass, in nanoseconds, roughly */
} es_pc_projection;

typedef struct es_pc_population {
    bool evaluated; /* in bulk, where much was touched */
    bool sent;      /* in bulk: all its projections have a way */
    bool whole_rows; /* parameters by row position; else by neuron */
    bool quick;      /* see es_pc_steps */
    int32_t *step;
    int32_t *low;
    int32_t *high;
    float *reciprocal;
    double reach;  /* targets of an event, on average */
    double cost;   /* of a dense pass through all its projections */
} es_pc_population;

typedef struct es_pc_plan {
    const es_pc_kernels *kernels;
    es_pc_population *populations;
    es_pc_projection *projections;
    size_t size; /* bytes of all of it */
    size_t greatest; /* neurons of a population */
    size_t tallest;  /* rows of a population */
    size_t padded;   /* differences of a source with its margins, at most */
    size_t row;      /* sums of a row of targets, at most */
} es_pc_plan;

/* Works out the plan in `memory`, or only its size where that is NULL. */
void es_pc_plan_make(es_pc_plan *plan, const es_model *model, const es_pc_kernels *kernels, void *memory);

/* ---- a network at work (es_pc.c) ---------------------------------------- */

typedef struct es_pc {
    const es_pc_plan *plan;
    uint8_t *image;        /* of the arena's buffers at the initial state */
    int16_t *noted;        /* differences of the input */
    int16_t *differences;
    uint32_t *changed;     /* by row */
    uint8_t *now;
    uint8_t *padded;
    int32_t *sums;
    double eagerness;      /* a dense pass is taken where it costs less than this times the events */
    uint64_t dense_passes; /* taken so far */
} es_pc;

/* All that changed in a population goes to all targets, as dense passes (es_pc_pass.c). Counts nothing. */
void es_pc_pass(es_net *net, uint32_t number, const int16_t *differences, es_pc_change change);

/* Bytes that a network needs beside its arena. */
size_t es_pc_size(const es_pc_plan *plan, const es_net *net);

/* From now on the network, just opened, computes in bulk. `memory` is aligned to 64. */
void es_pc_attach(es_pc *pc, es_net *net, const es_pc_plan *plan, void *memory);

#endif
