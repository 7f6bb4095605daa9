/* Populations in bulk: how a PC computes what the core computes event by event.
 *
 * Only for hosts with vector instructions: compiled into the Python extension, where ES_PC is
 * defined; firmware and exports have none of it. The touched part of each row of a population is
 * evaluated at once. What changed goes to the targets of each projection either as a dense pass, the
 * dot products of all windows that reach a change, or pixel by pixel, the weights of all its events
 * at once: whichever costs less. All sums are exact integers, so the bits, the events and the
 * synaptic operations counted are the same either way. What this does not know it leaves to the core.
 */
#ifndef ES_PC_H
#define ES_PC_H

#include "es_internal.h"

/* ---- kernels: one table for each kind of processor ---------------------- */

enum { ES_PC_BLOCK = 16 }; /* target channels that a dot product yields at once */

/* A dense pass to pixels of one row of targets. Sizes and distances in bytes. */
typedef struct es_pc_dot {
    const uint8_t *source;   /* the first pixel's window */
    const uint8_t *weights;  /* [runs][groups][blocks][ES_PC_BLOCK][group] */
    const uint32_t *runs;    /* where the pieces of a window that lie together begin, from its start */
    const int32_t *bias;     /* [blocks][ES_PC_BLOCK]: what every pixel gets beside */
    uint32_t run_count;
    uint32_t groups;         /* of 4 bytes, in a run */
    uint32_t blocks;
    uint32_t channels;       /* of the target: so many of the blocks' sums there are */
    uint32_t pixels;
    uint32_t pixel_step;     /* from one pixel's window to the next */
    bool paired;             /* accumulators of 16 bits, two in a word (es_accumulator); channels are even */
} es_pc_dot;

/* The same where every target channel has one source channel. Distances in differences. */
typedef struct es_pc_windows {
    const int16_t *source;
    const int16_t *weights;  /* [runs][weight_step] */
    const uint32_t *runs;
    uint32_t run_count;
    uint32_t weight_step;
    uint32_t channels;
    uint32_t pixels;
    uint32_t pixel_step;
    bool paired;
} es_pc_windows;

/* The differences of two source channels, as shorts, and where the weights of both begin. */
typedef struct es_pc_term {
    uint32_t vector; /* in pairs of shorts */
    uint32_t pair;
} es_pc_term;

/* How accumulators become levels, by neuron of a row. `low` and `high` are the least and the greatest
 * number with the least and the greatest level.
 *
 * `quick`: with n levels above the least and |low| + n * step + step <= 2^21 for all neurons, and the
 * reciprocal the next float above 1 / step, the quotient of a number x = k * step + r, counted from
 * low, needs no correction. x is exact in a float, or so great that its level is the last anyway. The
 * product is at least k, since k is a float; and with relative errors of 2^-22 and 2^-24 it is less
 * than (k + 1 - 1 / step) * (1 + 1.3 * 2^-22), which is less than k + 1. */
typedef struct es_pc_steps {
    const float *reciprocal;
    const float *offset; /* quick: step / 2 - low */
    const int32_t *step; /* else, like the next two */
    const int32_t *low;
    const int32_t *high;
    float most; /* levels above the least */
    uint32_t shift;
    bool quick;
} es_pc_steps;

/* How many differ, and the range of the differences. */
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
    double dense;   /* nanoseconds, roughly, of a dense pass for each 16 targets and 4 bytes of differences */
    double scatter; /* of an event for each target that it reaches */

    /* accumulators [pixels][channels] += bias + the dot products */
    void (*dot)(const es_pc_dot *dot, uint32_t *accumulators);
    void (*windows)(const es_pc_windows *windows, uint32_t *accumulators);

    /* accumulators[i] += over all terms, the products of their pair with weights[2 * (vector + i)] and the
     * next one. Some weights beyond the last one are read. */
    void (*scatter_terms)(uint32_t *accumulators, const int16_t *weights, const es_pc_term *terms,
                          uint32_t term_count, uint32_t count, bool paired);

    /* differences = the stored levels of accumulators (of 16 bits, two in a word) - told; told = these levels */
    es_pc_change (*tell_16)(const es_pc_steps *steps, const uint32_t *accumulators, uint8_t *told,
                            int16_t *differences, uint32_t count);
    es_pc_change (*tell_32)(const es_pc_steps *steps, const uint32_t *accumulators, uint8_t *told,
                            int16_t *differences, uint32_t count);

    /* differences = now - told; told = now */
    es_pc_change (*differences)(int16_t *differences, uint8_t *told, const uint8_t *now, uint32_t count);

    /* maxima[i] = max(maxima[i], values[i]) */
    void (*maximum)(uint8_t *maxima, const uint8_t *values, uint32_t count);

    /* maxima [pixels][channels] of `columns` columns, `column_step` apart, from one pixel's to the next's `pixel_step` */
    void (*pool)(uint8_t *maxima, const uint8_t *values, uint32_t columns, uint32_t column_step, uint32_t pixels,
                 uint32_t pixel_step, uint32_t channels);

    /* The sum of reached[i] where differences[i] is not 0. Sums of 2^15 of them have 31 bits. */
    uint64_t (*reach)(const int16_t *differences, const uint16_t *reached, uint32_t count);

    /* bytes = values, clipped to least .. least + 255, less `base`. */
    void (*narrow)(uint8_t *bytes, const int16_t *values, int32_t least, int32_t base, uint32_t count);

    /* The same of what lies outside -128 .. 127: by how much it does. */
    void (*narrow_rest)(uint8_t *bytes, const int16_t *values, int32_t base, uint32_t count);
} es_pc_kernels;

/* Tables, the fastest first; ends with NULL. */
extern const es_pc_kernels *const es_pc_paths[];

/* ---- what is worked out once for a model (es_pc_plan.c) ----------------- */

enum { ES_PC_NO_WAY, ES_PC_DOT, ES_PC_BY_CHANNEL, ES_PC_MARK };

/* A dense projection sees its source as one pixel; one to one is a window of one pixel. */
typedef struct es_pc_window {
    uint32_t kernel[2];
    uint32_t stride[2];
    uint32_t dilation[2];
    uint32_t padding[2];
} es_pc_window;

/* The targets of a row (column) of sources: `count` of them, from one to the next target_step on, and
 * position_step back in the kernel. */
typedef struct es_pc_taps {
    uint32_t target;
    uint32_t position;
    uint32_t count;
} es_pc_taps;

typedef struct es_pc_projection {
    uint8_t way;
    bool flat;         /* the source is seen as one pixel */
    es_pc_window window;
    uint32_t channels; /* of a source pixel */
    uint32_t height;   /* of the source with its margins, where a window may lie */
    uint32_t width;
    uint32_t run_count;
    uint32_t run_length; /* differences in a run */
    uint32_t groups;
    uint32_t blocks;
    uint32_t lanes;    /* weights of a window of BY_CHANNEL: those of a row of targets where its windows lie together */
    uint32_t *runs;    /* DOT: in bytes; BY_CHANNEL: in differences, by kernel position */
    uint8_t *weights;  /* DOT: as es_pc_dot; BY_CHANNEL: int16 [kernel positions][lanes] */
    int32_t *totals;   /* DOT: sums of all weights that lead to a target channel */
    int16_t *pairs;    /* DOT: [kernel rows][pairs of channels][columns][target channels][2], as es_pc_term */
    uint32_t *places;  /* of the kernel's columns in `pairs`: targets side by side have theirs side by side */
    es_pc_taps *down;  /* by source row and column */
    es_pc_taps *across;
    uint32_t target_step[2];
    uint32_t position_step[2];
    uint16_t *reached; /* target columns, by place in a source row; NULL where all reach as many as the first column */
    uint32_t length;   /* targets that an event reaches in a target pixel */
    double fixed;      /* nanoseconds of a dense pass, roughly, */
    double by_pixel;   /* and for each pixel of the target */
    double by_changed_pixel; /* of a pixel whose events go by themselves, */
    double by_event;         /* and for each of these */
} es_pc_projection;

typedef struct es_pc_population {
    bool evaluated; /* in bulk */
    bool sent;      /* in bulk: all its projections have a way */
    bool whole_rows; /* parameters by row position; else by neuron */
    es_pc_steps steps;
} es_pc_population;

typedef struct es_pc_plan {
    const es_pc_kernels *kernels;
    es_pc_population *populations;
    es_pc_projection *projections;
    size_t size; /* bytes of all of it */
    size_t greatest; /* neurons of a population */
    size_t tallest;  /* rows of a population */
    size_t padded;   /* differences of a source with its margins, at most */
    size_t blocks;   /* of target channels, at most */
} es_pc_plan;

/* Works out the plan in `memory`, or only its size where that is NULL. */
void es_pc_plan_make(es_pc_plan *plan, const es_model *model, const es_pc_kernels *kernels, void *memory);

/* Weights of a projection in the orders that the kernels take (es_pc_weights.c). */
void es_pc_pack(const es_model *model, const es_projection *projection, const es_pc_kernels *kernels,
                es_pc_projection *plan);

/* ---- a network at work -------------------------------------------------- */

/* The pixels of a row from the first that changed to the last. */
typedef struct es_pc_row {
    uint32_t first;
    uint32_t end;
    uint32_t changed; /* neurons in it */
} es_pc_row;

typedef struct es_pc {
    const es_pc_plan *plan;
    uint8_t *image;        /* of the arena's buffers at the initial state */
    int16_t *differences;  /* of the population at work; 0 between populations */
    es_pc_row *rows;       /* of it; empty between populations */
    es_pc_row *reached;    /* rows of the targets of a dense pass; `changed` does not count */
    uint8_t *padded;
    uint8_t *now;
    es_pc_term *terms;
    int32_t *bias;
    double eagerness;      /* a dense pass is taken where it costs less than this times the events */
    uint64_t dense_passes; /* taken so far */
} es_pc;

/* Sends what changed in a population to all targets, and forgets it (es_pc_send.c). Counts synops unless
 * these are counted already. */
void es_pc_send(es_net *net, uint32_t number, es_pc_change change, bool counted);

/* Finds the target pixels that what changed reaches, row by row. Returns their number (es_pc_pass.c). */
uint32_t es_pc_find_reached(const es_net *net, uint32_t projection);

/* All that changed to these targets, as a dense pass (es_pc_pass.c). */
void es_pc_pass(es_net *net, uint32_t projection, es_pc_change change);

/* All that changed to the targets of a projection, pixel by pixel (es_pc_scatter.c). */
void es_pc_scatter(es_net *net, uint32_t projection);

/* Marks target pixels of a row. */
void es_pc_mark(const es_net *net, uint32_t number, uint32_t y, uint32_t first, uint32_t end);

/* Bytes that a network needs beside its arena. */
size_t es_pc_size(const es_pc_plan *plan, const es_net *net);

/* From now on the network, just opened, computes in bulk. `memory` is aligned to 64. */
void es_pc_attach(es_pc *pc, es_net *net, const es_pc_plan *plan, void *memory);

#endif
