/* What changed, pixel by pixel: the weights of all events of a pixel at once, to a row of targets at a time. */
#include "es_pc.h"

/* Lists the differences of a pixel, two channels in a term. Returns their number. */
static uint32_t list_terms(es_pc_term *terms, const int16_t *differences, uint32_t channels, uint32_t vector_step)
{
    uint32_t count = 0;

    for (uint32_t channel = 0; channel + 1 < channels; channel += 2) {
        uint32_t pair;
        memcpy(&pair, differences + channel, sizeof pair);
        terms[count].vector = channel / 2 * vector_step;
        terms[count].pair = pair;
        count += pair != 0;
    }
    if (channels % 2 != 0 && differences[channels - 1] != 0) {
        int16_t last[2] = {0, 0};
        last[0] = differences[channels - 1];
        memcpy(&terms[count].pair, last, sizeof last);
        terms[count++].vector = channels / 2 * vector_step;
    }
    return count;
}

/* ---- every source channel to every target channel ------------------------- */

static void scatter_pixel(es_net *net, uint32_t number, es_pc_taps down, es_pc_taps across, const int16_t *differences)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_population *target = &net->model->populations[projection->target];
    uint32_t *accumulators = (uint32_t *)(void *)es_buffer_of(net, projection->target, ES_ACCUMULATORS);
    uint32_t channels = target->channels, columns = plan->window.kernel[1];
    size_t row_weights = (size_t)((plan->channels + 1) / 2) * columns * channels * 2;
    uint32_t term_count = list_terms(net->pc->terms, differences, plan->channels, columns * channels);
    uint32_t together = plan->target_step[1] == 1 ? across.count : 1;
    bool paired = target->accumulator_bytes == 2;

    if (term_count == 0)
        return;
    for (uint32_t row = 0; row < down.count; row++) {
        uint32_t y = down.target + row * plan->target_step[0];
        const int16_t *weights = plan->pairs + (down.position - row * plan->position_step[0]) * row_weights;
        for (uint32_t tap = 0; tap < across.count; tap += together) {
            uint32_t x = across.target + tap * plan->target_step[1];
            uint32_t place = plan->places[across.position - tap * plan->position_step[1]];
            size_t neuron = ((size_t)y * target->width + x) * channels;
            net->pc->plan->kernels->scatter_terms(accumulators + (paired ? neuron / 2 : neuron),
                                                  weights + (size_t)place * channels * 2, net->pc->terms, term_count,
                                                  together * channels, paired);
            es_pc_mark(net, projection->target, y, x, x + together);
        }
    }
}

/* ---- every channel to its own --------------------------------------------- */

static void add_pixel(es_net *net, uint32_t number, es_pc_taps down, es_pc_taps across, const int16_t *differences)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_population *target = &net->model->populations[projection->target];
    uint32_t *accumulators = (uint32_t *)(void *)es_buffer_of(net, projection->target, ES_ACCUMULATORS);
    uint32_t channels = target->channels, here = 0;
    bool paired = target->accumulator_bytes == 2;
    es_pc_windows windows = {differences, NULL, &here, 1, 0, channels, 1, 0, paired};

    for (uint32_t row = 0; row < down.count; row++)
        for (uint32_t tap = 0; tap < across.count; tap++) {
            uint32_t y = down.target + row * plan->target_step[0], x = across.target + tap * plan->target_step[1];
            uint32_t position = (down.position - row * plan->position_step[0]) * plan->window.kernel[1] +
                                across.position - tap * plan->position_step[1];
            size_t neuron = ((size_t)y * target->width + x) * channels;
            windows.weights = (const int16_t *)(const void *)plan->weights + (size_t)position * plan->lanes;
            es_pc_mark(net, projection->target, y, x, x + 1);
            net->pc->plan->kernels->windows(&windows, accumulators + (paired ? neuron / 2 : neuron));
        }
}

/* ---- all pixels ----------------------------------------------------------- */

static bool changes(const int16_t *differences, uint32_t channels)
{
    int16_t all = 0;

    for (uint32_t channel = 0; channel < channels; channel++)
        all |= differences[channel];
    return all != 0;
}

void es_pc_scatter(es_net *net, uint32_t number)
{
    const es_projection *projection = &net->model->projections[number];
    const es_pc_projection *plan = &net->pc->plan->projections[number];
    const es_population *source = &net->model->populations[projection->source];
    const es_pc *pc = net->pc;

    if (plan->flat) {
        scatter_pixel(net, number, plan->down[0], plan->across[0], pc->differences);
        return;
    }
    for (uint32_t y = 0; y < source->height; y++)
        for (uint32_t x = pc->rows[y].first; x < pc->rows[y].end; x++) {
            const int16_t *differences = pc->differences + ((size_t)y * source->width + x) * source->channels;
            if (plan->way == ES_PC_DOT)
                scatter_pixel(net, number, plan->down[y], plan->across[x], differences);
            else if (changes(differences, source->channels))
                add_pixel(net, number, plan->down[y], plan->across[x], differences);
        }
}
