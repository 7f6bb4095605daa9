/* Early exit: whether the scores decide a window before it ends. */
#include "es_internal.h"

uint32_t es_ticks_to_look(const es_net *net)
{
    const es_input *input = net->model->input;
    uint32_t closed = net->tick - net->window_start;
    uint32_t next = closed / input->exit_every + 1;

    return (next < input->exit_first ? input->exit_first : next) * input->exit_every - closed;
}

/* Whether the best score is as far ahead of the second as early exit asks. */
static bool is_ahead(const es_net *net)
{
    uint32_t last = net->model->population_count - 1u;
    int32_t best = INT32_MIN, second = INT32_MIN;

    for (uint32_t neuron = 0; neuron < es_output_size(net->model); neuron++) {
        int32_t score = es_neuron_score(net, last, neuron);
        if (score > best) {
            second = best;
            best = score;
        } else if (score > second) {
            second = score;
        }
    }
    return (uint32_t)best - (uint32_t)second >= net->model->input->exit_margin;
}

void es_look(es_net *net)
{
    const es_input *input = net->model->input;
    const es_population *output = &net->model->populations[net->model->population_count - 1];
    uint32_t closed = net->tick - net->window_start;

    if (closed % input->exit_every != 0 || closed / input->exit_every < input->exit_first ||
        closed == input->window_ticks)
        return;
    /* scores that change in silence: membranes that decay */
    net->look = es_has_stamps(output) && output->readout == ES_READ_MEMBRANE;
    if (is_ahead(net))
        net->decided = closed;
}
