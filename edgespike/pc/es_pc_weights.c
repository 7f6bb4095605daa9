/* Weights in the orders that the kernels take. */
#include "es_pc.h"

/* ---- weights as they lie in the file ------------------------------------ */

/* Weight `index` of a vector (docs/format.md, PROJ); `paired`: in the order for two accumulators in a word. */
static int32_t byte_weight(const int8_t *weights, uint32_t index, bool paired)
{
    const int8_t *low = weights + index / 4 * 4 + index % 4 / 2; /* of the pair */

    if (!paired)
        return weights[index];
    return index % 2 == 0 ? low[0] : low[2] + (low[0] < 0);
}

static int32_t half_weight(const uint8_t *weights, uint32_t index, uint32_t length, bool paired)
{
    uint32_t half = (length + 1) / 2;
    uint32_t byte = paired ? index / 2 : index % half;
    bool above = paired ? index % 2 != 0 : index >= half;

    return above ? (int8_t)weights[byte] >> 4 : (int8_t)(uint8_t)(weights[byte] << 4) >> 4;
}

static int32_t word_weight(const uint32_t *words, uint32_t index)
{
    return index % 2 == 0 ? (int16_t)words[index / 2] : (int16_t)((words[index / 2] + 0x8000u) >> 16);
}

static int32_t weight_at(const es_model *model, const es_projection *projection, uint32_t vector, uint32_t index,
                         uint32_t length)
{
    const uint8_t *weights = model->weights + projection->weight_offset;
    bool paired = model->populations[projection->target].accumulator_bytes == 2 && length % 2 == 0;

    if (projection->weight_bits == 4)
        return half_weight(weights + (size_t)vector * (projection->weight_stride / 2), index, length, paired);
    if (projection->weight_bits == 16)
        return word_weight((const uint32_t *)(const void *)weights + (size_t)vector * (projection->weight_stride / 2),
                           index);
    return byte_weight((const int8_t *)weights + (size_t)vector * projection->weight_stride, index, paired);
}

/* From a source channel at a kernel position to a target channel, or one of its group. Kernels are stored
 * from right to left. */
static int32_t weight_of(const es_model *model, const es_projection *projection, uint32_t channel, uint32_t position,
                         uint32_t target)
{
    uint32_t length = model->populations[projection->target].channels / projection->groups;
    uint32_t columns = projection->kernel[1];
    uint32_t positions = projection->kernel[0] * columns;
    uint32_t vector = (position / columns + 1) * columns - 1 - position % columns;

    return weight_at(model, projection, channel * positions + vector, target, length);
}

/* ---- as the kernels take them ------------------------------------------- */

/* From place `index` of a run of a window to a target channel. */
static int32_t weight_in_run(const es_model *model, const es_projection *projection, const es_pc_projection *plan,
                             uint32_t row, uint32_t column, uint32_t index, uint32_t target)
{
    uint32_t position = row * plan->window.kernel[1] + column + index / plan->channels;

    if (plan->flat)
        return weight_at(model, projection, index, target, model->populations[projection->target].channels);
    return weight_of(model, projection, index % plan->channels, position, target);
}

static void pack_dot(const es_model *model, const es_projection *projection, const es_pc_kernels *kernels,
                     es_pc_projection *plan)
{
    const es_pc_window *window = &plan->window;
    uint32_t targets = model->populations[projection->target].channels;
    uint32_t lanes = plan->blocks * ES_PC_BLOCK;
    bool whole = window->dilation[1] == 1;

    memset(plan->weights, 0, (size_t)plan->run_count * plan->groups * lanes * 4);
    memset(plan->totals, 0, lanes * sizeof *plan->totals);
    for (uint32_t run = 0; run < plan->run_count; run++) {
        uint32_t row = whole ? run : run / window->kernel[1];
        uint32_t column = whole ? 0 : run % window->kernel[1];
        plan->runs[run] = (row * window->dilation[0] * plan->width + column * window->dilation[1]) *
                          plan->channels * (4 / kernels->group);
        for (uint32_t i = 0; i < plan->run_length; i++)
            for (uint32_t target = 0; target < targets; target++) {
                int32_t weight = weight_in_run(model, projection, plan, row, column, i, target);
                size_t place = ((size_t)run * plan->groups + i / kernels->group) * lanes + target;
                place = place * kernels->group + i % kernels->group;
                if (weight > INT8_MAX || weight < INT8_MIN) /* as no converter writes it */
                    plan->way = ES_PC_NO_WAY;
                if (kernels->group == 4)
                    ((int8_t *)plan->weights)[place] = (int8_t)weight;
                else
                    ((int16_t *)(void *)plan->weights)[place] = (int16_t)weight;
                plan->totals[target] += weight;
            }
    }
}

static void pack_pairs(const es_model *model, const es_projection *projection, es_pc_projection *plan)
{
    uint32_t targets = model->populations[projection->target].channels;
    uint32_t columns = plan->window.kernel[1], pairs = (plan->channels + 1) / 2;
    uint32_t step = plan->position_step[1], place = 0;

    for (uint32_t first = 0; first < step; first++) /* positions that targets side by side take, backwards */
        for (uint32_t column = columns; column-- > 0;)
            if (column % step == first)
                plan->places[column] = place++;
    for (uint32_t row = 0; row < plan->window.kernel[0]; row++)
        for (uint32_t channel = 0; channel < 2 * pairs; channel++)
            for (uint32_t column = 0; column < columns; column++) {
                size_t vector = ((size_t)row * pairs + channel / 2) * columns + plan->places[column];
                int16_t *to = plan->pairs + vector * targets * 2 + channel % 2;
                for (uint32_t target = 0; target < targets; target++, to += 2)
                    *to = channel == plan->channels
                              ? 0
                              : (int16_t)weight_in_run(model, projection, plan, row, column, channel, target);
            }
}

static void pack_by_channel(const es_model *model, const es_projection *projection, es_pc_projection *plan)
{
    const es_pc_window *window = &plan->window;
    const int16_t *shorts = (const int16_t *)(const void *)(model->weights + projection->weight_offset);
    int16_t *weights = (int16_t *)(void *)plan->weights;

    for (uint32_t position = 0; position < plan->run_count; position++) {
        uint32_t row = position / window->kernel[1];
        uint32_t column = position % window->kernel[1];
        plan->runs[position] =
            (row * window->dilation[0] * plan->width + column * window->dilation[1]) * plan->channels;
        for (uint32_t i = 0; i < plan->lanes; i++) {
            int32_t weight = 1;
            if (projection->kind == ES_CONVOLUTION)
                weight = weight_of(model, projection, i % plan->channels, position, 0);
            else if (projection->kind == ES_ONE_TO_ONE)
                weight = shorts[i % plan->channels];
            weights[(size_t)position * plan->lanes + i] = (int16_t)weight;
        }
    }
}

void es_pc_pack(const es_model *model, const es_projection *projection, const es_pc_kernels *kernels,
                es_pc_projection *plan)
{
    if (plan->way == ES_PC_DOT) {
        pack_pairs(model, projection, plan);
        pack_dot(model, projection, kernels, plan);
    } else if (plan->way == ES_PC_BY_CHANNEL) {
        pack_by_channel(model, projection, plan);
    }
}
