/* A network at work in bulk: its memory, and its initial state. */
#include "es_pc.h"

static size_t image_start(const es_net *net)
{
    return (size_t)net->model->population_count * (ES_BUFFER_KINDS * sizeof(uint32_t) + sizeof(es_population_stats));
}

static size_t image_size(const es_net *net)
{
    uint32_t size = 0;

    es_arena_size(net->model, (es_plan)net->plan, &size);
    return size - image_start(net);
}

static size_t rounded(size_t bytes)
{
    return (bytes + 127) / 64 * 64; /* dot products read some bytes beyond the end */
}

size_t es_pc_size(const es_pc_plan *plan, const es_net *net)
{
    es_pc pc;

    return rounded(image_size(net)) + rounded(plan->greatest * sizeof *pc.differences) +
           2 * rounded(plan->tallest * sizeof *pc.rows) + rounded(plan->padded * sizeof(int16_t)) +
           rounded(plan->greatest) + rounded((plan->greatest / 2 + 1) * sizeof *pc.terms) +
           rounded(plan->blocks * ES_PC_BLOCK * sizeof *pc.bias);
}

static void *cut_off(uint8_t **memory, size_t bytes)
{
    void *place = *memory;

    *memory += rounded(bytes);
    return place;
}

void es_pc_attach(es_pc *pc, es_net *net, const es_pc_plan *plan, void *memory)
{
    uint8_t *rest = (uint8_t *)memory;

    memset(memory, 0, es_pc_size(plan, net));
    memset(pc, 0, sizeof *pc);
    pc->plan = plan;
    pc->eagerness = 1.0;
    pc->image = (uint8_t *)cut_off(&rest, image_size(net));
    pc->differences = (int16_t *)cut_off(&rest, plan->greatest * sizeof *pc->differences);
    pc->rows = (es_pc_row *)cut_off(&rest, plan->tallest * sizeof *pc->rows);
    pc->reached = (es_pc_row *)cut_off(&rest, plan->tallest * sizeof *pc->reached);
    pc->padded = (uint8_t *)cut_off(&rest, plan->padded * sizeof(int16_t));
    pc->now = (uint8_t *)cut_off(&rest, plan->greatest);
    pc->terms = (es_pc_term *)cut_off(&rest, (plan->greatest / 2 + 1) * sizeof *pc->terms);
    pc->bias = (int32_t *)cut_off(&rest, plan->blocks * ES_PC_BLOCK * sizeof *pc->bias);
    for (size_t y = 0; y < plan->tallest; y++)
        pc->rows[y].first = UINT32_MAX;
    memcpy(pc->image, net->arena + image_start(net), image_size(net));
    net->pc = pc;
}

bool es_pc_open(es_net *net)
{
    if (!net->pc)
        return false;
    memcpy(net->arena + image_start(net), net->pc->image, image_size(net));
    for (uint32_t number = 0; number < net->model->population_count; number++)
        net->pending = net->pending || es_works_every_tick(&net->model->populations[number]);
    return true;
}
