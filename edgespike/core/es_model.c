/* The loader. It checks every rule of docs/format.md that running relies on, once
 * and in the file's order, so that nothing needs to be checked afterwards. Sizes
 * are compared by subtraction (size <= end - offset), which cannot wrap around. */
#include "es_internal.h"

enum { POPS, PROJ, PARM, WGTS, INIT, INPT, META, TEST, SECTION_COUNT };

static const char section_names[SECTION_COUNT][4] = {
    {'P', 'O', 'P', 'S'}, {'P', 'R', 'O', 'J'}, {'P', 'A', 'R', 'M'}, {'W', 'G', 'T', 'S'},
    {'I', 'N', 'I', 'T'}, {'I', 'N', 'P', 'T'}, {'M', 'E', 'T', 'A'}, {'T', 'E', 'S', 'T'},
};

static const uint8_t magic[8] = {0x89, 'E', 'S', 'G', '\r', '\n', 0x1A, '\n'};

static const uint32_t max_neurons = (uint32_t)1 << 24;

/* A part of the file under check. */
typedef struct es_span {
    const uint8_t *data;
    uint32_t size;
} es_span;

static bool contains(es_span span, uint64_t offset, uint64_t size)
{
    return offset <= span.size && size <= span.size - offset;
}

static bool is_zero(const void *data, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)data;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* ---- header and sections ----------------------------------------------- */

static const es_header *header_of(const uint8_t *data)
{
    return (const es_header *)(const void *)data;
}

static const es_section *sections_of(const uint8_t *data)
{
    return (const es_section *)(const void *)(data + sizeof(es_header));
}

/* The checksum covers the header, with zero in its own place, and the section table. */
static uint32_t header_crc(const uint8_t *data)
{
    es_header header;
    uint32_t crc;

    memcpy(&header, data, sizeof header);
    header.crc = 0;
    crc = es_crc32(0, &header, sizeof header);
    return es_crc32(crc, data + sizeof header, header.section_count * sizeof(es_section));
}

static int check_header(es_span file)
{
    const es_header *header = header_of(file.data);
    es_span known = {file.data, file.size < sizeof magic ? file.size : (uint32_t)sizeof magic};

    if (memcmp(known.data, magic, known.size) != 0)
        return ES_ERR_MAGIC;
    if (file.size < sizeof *header)
        return ES_ERR_TRUNCATED;
    if (header->major != ES_FORMAT_MAJOR)
        return ES_ERR_VERSION;
    if (file.size < header->file_size)
        return ES_ERR_TRUNCATED;
    if (file.size > header->file_size)
        return ES_ERR_HEADER;
    if (!contains(file, sizeof *header, header->section_count * sizeof(es_section)))
        return ES_ERR_HEADER;
    if (header->crc != header_crc(file.data))
        return ES_ERR_CRC;
    if (header->section_count < SECTION_COUNT)
        return ES_ERR_HEADER;
    if (header->minor == ES_FORMAT_MINOR && header->section_count != SECTION_COUNT)
        return ES_ERR_HEADER;
    if (header->population_count < 2 || header->population_count > 4096)
        return ES_ERR_HEADER;
    if (header->projection_count < 1 || header->projection_count > 16384)
        return ES_ERR_HEADER;
    if (header->reserved != 0 || !is_zero(header->reserved_2, sizeof header->reserved_2))
        return ES_ERR_HEADER;
    return ES_OK;
}

/* `end` is where the section before ends, and then where this one does. */
static int check_section(es_span file, const es_section *section, uint32_t *end)
{
    if (section->offset % ES_ALIGNMENT != 0)
        return ES_ERR_SECTION;
    if (section->offset < *end)
        return ES_ERR_SECTION;
    if (!contains(file, section->offset, section->size))
        return ES_ERR_SECTION;
    if (!is_zero(file.data + *end, section->offset - *end))
        return ES_ERR_SECTION;
    if (section->crc != es_crc32(0, file.data + section->offset, section->size))
        return ES_ERR_CRC;
    *end = section->offset + section->size;
    return ES_OK;
}

static int check_sections(es_span file, es_span spans[SECTION_COUNT])
{
    const es_header *header = header_of(file.data);
    const es_section *sections = sections_of(file.data);
    uint32_t end = (uint32_t)(sizeof *header + header->section_count * sizeof *sections);

    for (uint32_t i = 0; i < header->section_count; i++) {
        int status = check_section(file, &sections[i], &end);
        if (status != ES_OK)
            return status;
        if (i >= SECTION_COUNT) /* of a newer minor version */
            continue;
        if (memcmp(sections[i].name, section_names[i], sizeof section_names[i]) != 0)
            return ES_ERR_SECTION;
        spans[i].data = file.data + sections[i].offset;
        spans[i].size = sections[i].size;
    }
    if (end != file.size)
        return ES_ERR_SECTION;
    if (spans[POPS].size != header->population_count * sizeof(es_population))
        return ES_ERR_SECTION;
    if (spans[PROJ].size != header->projection_count * sizeof(es_projection))
        return ES_ERR_SECTION;
    if (spans[INPT].size < sizeof(es_input))
        return ES_ERR_SECTION;
    return ES_OK;
}

/* ---- populations ------------------------------------------------------- */

static bool accumulator_bytes_are_valid(const es_population *population)
{
    uint8_t bytes = population->accumulator_bytes;

    switch (population->kind) {
    case ES_ACTIVATION:
    case ES_ACCUMULATOR:
        return bytes == 4 || (bytes == 2 && population->channels % 2 == 0);
    case ES_INTEGRATE_AND_FIRE:
        return bytes == 4;
    default:
        return bytes == 0;
    }
}

/* Those of an event-counting input depend on its saturation: check_input. */
static bool level_bytes_are_valid(const es_population *population, const es_input *input)
{
    switch (population->kind) {
    case ES_LEVEL_INPUT:
    case ES_ACTIVATION:
    case ES_MAX_POOL:
        if (population->kind == ES_LEVEL_INPUT && input->counts_events)
            return population->level_bytes == (input->saturation <= UINT8_MAX ? 1 : 2);
        return population->level_bytes ==
               (population->level_max - population->level_min <= UINT8_MAX ? 1 : 2);
    default:
        return population->level_bytes == 0;
    }
}

static bool level_range_is_valid(const es_population *population)
{
    if (population->level_min < INT16_MIN || population->level_max > INT16_MAX)
        return false;
    if (population->level_min > population->level_max)
        return false;
    if (population->kind == ES_ACCUMULATOR)
        return population->level_min == 0 && population->level_max == 0;
    if (population->kind == ES_INTEGRATE_AND_FIRE) /* more than one spike a tick only if they subtract */
        return population->level_min == 0 &&
               (population->level_max <= 1 || population->reset == ES_RESET_SUBTRACT);
    return true;
}

/* Adaptation, refractory ticks and a delayed reset need a synaptic current. */
static bool flags_are_valid(const es_population *population)
{
    const uint8_t known =
        ES_FLAG_DRIVEN | ES_FLAG_CURRENT | ES_FLAG_ADAPTATION | ES_FLAG_RESET_DELAYED;
    bool delayed = (population->flags & ES_FLAG_RESET_DELAYED) != 0;

    if (!es_has_currents(population) &&
        (es_has_adaptation(population) || delayed || population->refractory != 0 || population->current_rounding != 0))
        return false;
    if (!es_has_adaptation(population) && population->adaptation_rounding != 0)
        return false;
    return population->flags <= known && !(delayed && population->refractory != 0);
}

static bool spiking_fields_are_valid(const es_population *population)
{
    if (population->kind != ES_INTEGRATE_AND_FIRE)
        return (population->flags == 0 || population->kind == ES_ACTIVATION) && population->refractory == 0 &&
               population->current_rounding == 0 && population->adaptation_rounding == 0 &&
               is_zero(&population->compare, 12); /* to membrane_max */
    return flags_are_valid(population) && population->compare <= ES_FIRES_FROM &&
           population->reset <= ES_RESET_SUBTRACT && population->rounding <= ES_DECAY_TOWARD_ZERO &&
           population->current_rounding <= ES_DECAY_TOWARD_ZERO &&
           population->adaptation_rounding <= ES_DECAY_TOWARD_ZERO && population->readout <= ES_READ_FIRST &&
           population->membrane_min <= 0 && population->membrane_max >= 0;
}

/* What only an activation may have: a table, and a shift. The table's place is checked with the parameters. */
static bool table_fields_are_valid(const es_population *population)
{
    if (population->table_count == 0 && (population->table_offset != 0 || population->index_min != 0))
        return false;
    if (population->kind != ES_ACTIVATION)
        return population->table_count == 0 && population->level_shift == 0;
    return population->level_shift <= 15 &&
           population->flags <= (population->table_count == 0 ? 0 : ES_FLAG_TABLE_BY_CHANNEL);
}

static bool shape_is_valid(const es_population *population)
{
    uint64_t neurons = (uint64_t)population->height * population->width * population->channels;

    return neurons >= 1 && neurons <= max_neurons;
}

static bool population_is_valid(const es_model *model, const es_population *population)
{
    bool first = population == model->populations;
    bool last = population + 1 == model->populations + model->population_count;

    if (!last && population->kind == ES_INTEGRATE_AND_FIRE &&
        (population->readout != ES_READ_SPIKES || population->level_max == 0))
        return false;
    return population->kind <= ES_INTEGRATE_AND_FIRE && es_is_input(population) == first &&
           shape_is_valid(population) && spiking_fields_are_valid(population) && table_fields_are_valid(population) &&
           level_range_is_valid(population) && level_bytes_are_valid(population, model->input) &&
           accumulator_bytes_are_valid(population) &&
           (population->budget == 0 || population->kind == ES_SPIKE_INPUT) &&
           population->reserved == 0;
}

static int check_populations(const es_model *model)
{
    for (uint32_t i = 0; i < model->population_count; i++)
        if (!population_is_valid(model, &model->populations[i]))
            return ES_ERR_POPULATION;
    return ES_OK;
}

/* ---- input ------------------------------------------------------------- */

/* Before the rest, because it says what population 0 holds. */

static bool event_counts_are_valid(const es_model *model, es_span section)
{
    const es_input *input = model->input;
    const es_population *population = &model->populations[0];
    const int16_t *table = es_input_table(model);
    uint32_t entries = population->channels * (input->saturation + 1u);

    if (population->kind != ES_LEVEL_INPUT || input->polarities < 1 || input->polarities > 2 ||
        population->channels != (uint32_t)input->slices * input->polarities)
        return false;
    if (input->slice_ticks < 1 || input->window_ticks != (uint64_t)input->slices * input->slice_ticks)
        return false;
    if (input->saturation < 1 || input->saturation > INT16_MAX ||
        section.size - sizeof *input != (uint64_t)entries * sizeof *table)
        return false;
    for (uint32_t i = 0; i < entries; i++)
        if (table[i] < population->level_min || table[i] > population->level_max)
            return false;
    return true;
}

static bool early_exit_is_valid(const es_model *model)
{
    const es_input *input = model->input;
    uint64_t ticks = (uint64_t)input->exit_every * input->exit_first;

    if (input->exit_every == 0)
        return input->exit_first == 0 && input->exit_margin == 0;
    return input->exit_first >= 1 && input->exit_margin >= 1 && es_output_size(model) >= 2 &&
           ticks < (input->window_ticks != 0 ? input->window_ticks : (uint32_t)1 << 31);
}

static int check_input(const es_model *model, es_span section)
{
    const es_input *input = model->input;

    if (input->counts_events > 1 || !early_exit_is_valid(model))
        return ES_ERR_INPUT;
    if (input->sensor_height != model->populations[0].height ||
        input->sensor_width != model->populations[0].width || input->tick_us < 1)
        return ES_ERR_INPUT;
    if (input->counts_events)
        return event_counts_are_valid(model, section) ? ES_OK : ES_ERR_INPUT;
    if (input->polarities != 0 || input->slices != 0 || input->slice_ticks != 0 || input->saturation != 0)
        return ES_ERR_INPUT;
    return section.size == sizeof *input ? ES_OK : ES_ERR_INPUT;
}

/* ---- projections ------------------------------------------------------- */

static bool has_window(const es_projection *projection)
{
    return projection->kind == ES_CONVOLUTION || projection->kind == ES_SUM_POOL ||
           projection->kind == ES_MAX_POOL_WINDOW;
}

static bool window_fields_are_valid(const es_projection *projection)
{
    if (!has_window(projection))
        return is_zero(projection->kernel, 16); /* to padding */
    for (int axis = 0; axis < 2; axis++)
        if (!projection->kernel[axis] || !projection->stride[axis] || !projection->dilation[axis])
            return false;
    return true;
}

/* Whether every target has a source in its window, along one axis. */
static bool windows_have_sources(const es_projection *projection, int axis, uint32_t sources,
                                 uint32_t targets)
{
    int32_t dilation = projection->dilation[axis];

    for (int64_t target = 0; target < targets; target++) {
        int64_t start = target * projection->stride[axis] - projection->padding[axis];
        int32_t skipped = start < 0 ? ((int32_t)-start + dilation - 1) / dilation : 0;
        if (skipped >= projection->kernel[axis] || start + (int64_t)skipped * dilation >= sources)
            return false;
    }
    return true;
}

static bool max_pool_is_valid(const es_projection *projection, const es_population *source,
                              const es_population *target)
{
    return es_has_levels(source) && source->channels == target->channels &&
           source->level_min == target->level_min && source->level_max == target->level_max &&
           windows_have_sources(projection, 0, source->height, target->height) &&
           windows_have_sources(projection, 1, source->width, target->width);
}

/* Whether the shapes of source and target go with the kind. */
static bool shapes_are_valid(const es_projection *projection, const es_population *source,
                             const es_population *target)
{
    switch (projection->kind) {
    case ES_DENSE:
        return target->height == 1 && target->width == 1;
    case ES_CONVOLUTION:
        return projection->groups >= 1 && source->channels % projection->groups == 0 &&
               target->channels % projection->groups == 0;
    case ES_SUM_POOL:
        return source->channels == target->channels;
    case ES_ONE_TO_ONE:
        return source->height == target->height && source->width == target->width &&
               source->channels == target->channels;
    default:
        return max_pool_is_valid(projection, source, target);
    }
}

static bool weights_are_valid(es_span weights, const es_projection *projection, const es_population *source,
                              const es_population *target)
{
    static const uint8_t bits[] = {8, 8, 0, 16, 0};
    uint64_t vectors = 1;
    uint32_t length = target->channels, stride = projection->weight_stride;
    uint32_t room; /* like them in elements, or in bytes that hold two */
    bool halves = projection->weight_bits == 4, paired = target->accumulator_bytes == 2;
    bool is_special = bits[projection->kind] == 8 && (halves || (projection->weight_bits == 16 && paired));

    if (projection->weight_bits != bits[projection->kind] && !is_special)
        return false;
    if (projection->weight_bits == 0)
        return projection->weight_offset == 0 && projection->weight_stride == 0;
    if (projection->kind == ES_DENSE)
        vectors = es_neuron_count(source);
    if (projection->kind == ES_CONVOLUTION) {
        vectors = (uint64_t)source->channels * projection->kernel[0] * projection->kernel[1];
        length /= projection->groups;
    }
    if (projection->weight_offset % ES_ALIGNMENT != 0 || projection->weight_offset > weights.size)
        return false;
    if (stride % (halves ? 2 : 4) != 0)
        return false;
    if (is_special && paired && length % 2 != 0)
        return false;
    if (halves) {
        length = (length + 1) / 2;
        stride /= 2;
    } else if (projection->weight_bits == 8) {
        length = (length + 3) & ~3u;
    }
    room = (weights.size - projection->weight_offset) >> (projection->weight_bits == 16);
    return stride >= length && length <= room && vectors - 1 <= (room - length) / stride;
}

/* Max pools take windows, all other kinds of target take sums. */
static bool ends_are_valid(const es_projection *projection, const es_population *source,
                           const es_population *target)
{
    if (source->kind == ES_ACCUMULATOR)
        return false;
    if (projection->kind == ES_MAX_POOL_WINDOW)
        return target->kind == ES_MAX_POOL;
    return es_has_accumulators(target);
}

static bool projection_is_valid(const es_model *model, es_span weights, const es_projection *projection)
{
    const es_population *source, *target;

    if (projection->kind > ES_MAX_POOL_WINDOW || projection->reserved != 0 ||
        !is_zero(projection->reserved_2, sizeof projection->reserved_2))
        return false;
    if (projection->source >= model->population_count || projection->target >= model->population_count)
        return false;
    if (projection->source >= projection->target ? projection->delay == 0 || projection->target == 0
                                                 : projection->delay != 0 && projection->kind == ES_MAX_POOL_WINDOW)
        return false;
    source = &model->populations[projection->source];
    target = &model->populations[projection->target];
    return projection->shift <= (target->kind == ES_INTEGRATE_AND_FIRE ? 15 : 0) &&
           (projection->groups == 0 || projection->kind == ES_CONVOLUTION) &&
           ends_are_valid(projection, source, target) && window_fields_are_valid(projection) &&
           shapes_are_valid(projection, source, target) &&
           weights_are_valid(weights, projection, source, target);
}

static bool are_in_order(const es_projection *before, const es_projection *after)
{
    return before->source < after->source ||
           (before->source == after->source && before->target <= after->target);
}

static int check_projections(const es_model *model, es_span weights)
{
    for (uint32_t i = 0; i < model->projection_count; i++) {
        const es_projection *projection = &model->projections[i];
        if (!projection_is_valid(model, weights, projection))
            return ES_ERR_PROJECTION;
        if (i > 0 && !are_in_order(projection - 1, projection))
            return ES_ERR_PROJECTION;
    }
    return ES_OK;
}

/* ---- the graph --------------------------------------------------------- */

static uint32_t count_incoming(const es_model *model, uint32_t number)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < model->projection_count; i++)
        count += model->projections[i].target == number;
    return count;
}

/* How many projections, from number `first` on, leave a population. */
static uint32_t count_outgoing(const es_model *model, uint32_t number, uint32_t first)
{
    uint32_t end = first;

    while (end < model->projection_count && model->projections[end].source == number)
        end++;
    return end - first;
}

static int check_graph(const es_model *model)
{
    uint32_t next = 0;

    for (uint32_t number = 0; number < model->population_count; number++) {
        const es_population *population = &model->populations[number];
        bool last = number + 1u == model->population_count;
        uint32_t incoming = count_incoming(model, number);
        uint32_t outgoing = count_outgoing(model, number, next);
        if (population->projection_count != outgoing || (outgoing == 0 && !last))
            return ES_ERR_POPULATION;
        if (population->first_projection != (outgoing == 0 ? 0 : next))
            return ES_ERR_POPULATION;
        if (number > 0 && (incoming == 0 || (incoming > 1 && population->kind == ES_MAX_POOL)))
            return ES_ERR_PROJECTION;
        next += outgoing;
    }
    return ES_OK;
}

/* The exact size of the one-shot plan is checked by es_net_init, where there is
 * memory to make it. */
static int check_arena(const es_model *model)
{
    const es_header *header = header_of(model->data);
    bool timed = model->populations[0].kind == ES_SPIKE_INPUT || model->input->exit_every != 0;

    if (header->streaming_bytes != es_arena_fixed(model, ES_PLAN_STREAMING, NULL))
        return ES_ERR_HEADER;
    for (uint32_t i = 0; i < model->population_count; i++)
        timed = timed || model->populations[i].kind == ES_INTEGRATE_AND_FIRE;
    for (uint32_t i = 0; i < model->projection_count; i++)
        timed = timed || model->projections[i].delay != 0;
    if (timed)
        return header->one_shot_bytes == 0 ? ES_OK : ES_ERR_HEADER;
    if (header->one_shot_bytes < es_arena_fixed(model, ES_PLAN_ONE_SHOT, NULL))
        return ES_ERR_HEADER;
    return ES_OK;
}

/* ---- parameters -------------------------------------------------------- */

static uint32_t parameter_arrays(const es_population *population)
{
    if (population->kind == ES_INTEGRATE_AND_FIRE)
        return 4u + (es_has_currents(population) ? 2u : 0u) + (es_has_adaptation(population) ? 2u : 0u);
    return population->kind == ES_ACTIVATION ? 1 : 0;
}

static bool are_within(const int32_t *values, uint32_t count, int32_t least, int32_t greatest)
{
    for (uint32_t i = 0; i < count; i++)
        if (values[i] < least || values[i] > greatest)
            return false;
    return true;
}

/* Decays and what adapts are 0 to 2^30; the driven flag says whether some drive is not 0. */
static bool spiking_parameters_are_valid(const es_population *population, const int32_t *values)
{
    const int32_t one = (int32_t)1 << 30;
    uint32_t count = population->parameter_count;
    bool quiet = are_within(values + (size_t)2 * count, count, 0, 0);

    if (!are_within(values + count, count, 0, one))
        return false;
    if (es_has_currents(population)) {
        if (!are_within(values + (size_t)4 * count, count, 0, one))
            return false;
        quiet = quiet && are_within(values + (size_t)5 * count, count, 0, 0);
    }
    if (es_has_adaptation(population) && !are_within(values + (size_t)6 * count, 2 * count, 0, one))
        return false;
    return es_is_driven(population) != quiet;
}

/* Every entry of an activation's table is a level. */
static bool table_is_valid(es_span parameters, const es_population *population)
{
    uint32_t rows = population->flags & ES_FLAG_TABLE_BY_CHANNEL ? population->channels : 1u;
    uint32_t entries = rows * population->table_count;
    uint32_t most = (uint32_t)(population->level_max - population->level_min);
    const uint8_t *table = parameters.data + population->table_offset;

    if (population->table_offset % sizeof(uint32_t) != 0 ||
        !contains(parameters, population->table_offset, (uint64_t)entries * population->level_bytes))
        return false;
    for (uint32_t i = 0; i < entries; i++)
        if (es_stored_level(table, population->level_bytes, i) > most)
            return false;
    return true;
}

static bool parameters_are_valid(const es_model *model, es_span parameters, const es_population *population)
{
    uint32_t arrays = parameter_arrays(population);
    uint32_t count = population->parameter_count;
    const int32_t *values;

    if (arrays == 0)
        return population->parameter_offset == 0 && count == 0;
    if (count != population->channels && count != es_neuron_count(population))
        return false;
    if (population->parameter_offset % sizeof *values != 0)
        return false;
    if (!contains(parameters, population->parameter_offset, (uint64_t)count * arrays * sizeof *values))
        return false;
    values = es_parameters(model, population); /* steps or thresholds */
    if (!are_within(values, count, 1, INT32_MAX))
        return false;
    if (population->kind == ES_ACTIVATION)
        return !es_has_table(population) || table_is_valid(parameters, population);
    return spiking_parameters_are_valid(population, values);
}

static int check_parameters(const es_model *model, es_span parameters)
{
    for (uint32_t i = 0; i < model->population_count; i++)
        if (!parameters_are_valid(model, parameters, &model->populations[i]))
            return ES_ERR_PARAMETER;
    return ES_OK;
}

/* ---- initial state ----------------------------------------------------- */

static bool are_below(const uint16_t *values, uint32_t count, uint32_t limit)
{
    for (uint32_t i = 0; i < count; i++)
        if (values[i] >= limit)
            return false;
    return true;
}

/* Whether the table lies in the section, and its maps in the table. */
static bool initial_table_is_valid(const es_model *model, es_span initial, const es_population *population)
{
    uint32_t maps = 4u + 2u * ((uint32_t)population->height + population->width);
    uint32_t offset = population->initial_offset;
    const uint16_t *numbers;
    es_initial table;
    uint32_t values_end;

    if (offset % ES_ALIGNMENT != 0 || !contains(initial, offset, maps))
        return false;
    numbers = (const uint16_t *)(const void *)(model->initial + offset);
    if (numbers[0] < 1 || numbers[0] > population->height || numbers[1] < 1 || numbers[1] > population->width)
        return false;
    table = es_initial_of(model, population);
    if (!contains(initial, offset, table.size))
        return false;
    values_end = table.accumulators + table.row_count * table.column_count * population->channels *
                                          population->accumulator_bytes;
    return are_below(table.rows, population->height, table.row_count) &&
           are_below(table.columns, population->width, table.column_count) &&
           is_zero(table.table + maps, table.accumulators - maps) &&
           is_zero(table.table + values_end, table.levels - values_end);
}

static int32_t initial_accumulator(const es_population *population, const es_initial *table, uint32_t index)
{
    return es_accumulator(population, table->table + table->accumulators, index);
}

static uint32_t initial_stored_level(const es_population *population, const es_initial *table, uint32_t index)
{
    return es_stored_level(table->table + table->levels, population->level_bytes, index);
}

/* A level of the source of a max pool. */
static int32_t initial_level(const es_model *model, const es_population *source, uint32_t index,
                             uint32_t channel)
{
    es_initial table = es_initial_of(model, source);
    uint32_t stored = initial_stored_level(source, &table, index);

    return source == model->populations ? es_input_level(model, channel, stored)
                                        : source->level_min + (int32_t)stored;
}

/* One neuron: where it is, and where its values are in the table. */
typedef struct es_place {
    uint32_t y;
    uint32_t x;
    uint32_t channel;
    uint32_t neuron;
    uint32_t index;
} es_place;

static int32_t initial_maximum(const es_model *model, const es_population *population, const es_place *place)
{
    const es_projection *projection = es_first_incoming(model, (uint32_t)(population - model->populations));
    const es_population *source = &model->populations[projection->source];
    es_initial table = es_initial_of(model, source);
    es_window down = es_window_of(projection, 0, place->y, source->height);
    es_window across = es_window_of(projection, 1, place->x, source->width);
    int32_t maximum = INT32_MIN;

    for (uint32_t y = down.first; y < down.end; y += down.step) {
        for (uint32_t x = across.first; x < across.end; x += across.step) {
            uint32_t index = es_initial_index(&table, y, x, source->channels) + place->channel;
            int32_t level = initial_level(model, source, index, place->channel);
            maximum = level > maximum ? level : maximum;
        }
    }
    return maximum;
}

static bool neuron_is_at_rest(const es_model *model, const es_population *population, const es_initial *table,
                              const es_place *place)
{
    int32_t parameter = 0, value, level;

    if (population->parameter_count > 0) /* step or threshold */
        parameter = es_parameters(model, population)[place->neuron % population->parameter_count];
    switch (population->kind) {
    case ES_LEVEL_INPUT:
        level = (int32_t)initial_stored_level(population, table, place->index);
        return level <= (model->input->counts_events ? 0 : population->level_max - population->level_min);
    case ES_ACTIVATION:
        value = initial_accumulator(population, table, place->index);
        return initial_stored_level(population, table, place->index) ==
               es_level(model, population, place->channel, value, parameter);
    case ES_MAX_POOL:
        level = population->level_min + (int32_t)initial_stored_level(population, table, place->index);
        return level == initial_maximum(model, population, place);
    case ES_INTEGRATE_AND_FIRE:
        value = initial_accumulator(population, table, place->index);
        return value >= population->membrane_min && value <= population->membrane_max &&
               (es_is_driven(population) || !es_fires(population, value, parameter));
    default: /* an accumulator may hold anything */
        return true;
    }
}

static bool population_is_at_rest(const es_model *model, const es_population *population)
{
    es_initial table = es_initial_of(model, population);
    es_place place = {0, 0, 0, 0, 0};

    for (place.y = 0; place.y < population->height; place.y++) {
        for (place.x = 0; place.x < population->width; place.x++) {
            place.index = es_initial_index(&table, place.y, place.x, population->channels);
            for (place.channel = 0; place.channel < population->channels; place.channel++) {
                if (!neuron_is_at_rest(model, population, &table, &place))
                    return false;
                place.neuron++;
                place.index++;
            }
        }
    }
    return true;
}

static int check_initial(const es_model *model, es_span initial)
{
    for (uint32_t i = 0; i < model->population_count; i++) {
        const es_population *population = &model->populations[i];
        if (population->kind == ES_SPIKE_INPUT) {
            if (population->initial_offset != 0)
                return ES_ERR_INITIAL;
        } else if (!initial_table_is_valid(model, initial, population) ||
                   !population_is_at_rest(model, population)) {
            return ES_ERR_INITIAL;
        }
    }
    return ES_OK;
}

/* ---- self-test --------------------------------------------------------- */

/* It ends soon: where a tick of silence may be work (then there is no one-shot plan) it has few of them too. */
static int check_test(const es_model *model, es_span section)
{
    const es_test *test = (const es_test *)(const void *)section.data;
    uint32_t last = model->input->window_ticks - 1u; /* no window: any */
    uint32_t tick = 0;

    if (section.size == 0)
        return ES_OK;
    if (section.size < sizeof *test || test->reserved != 0 || test->score_count != es_output_size(model))
        return ES_ERR_TEST;
    if (test->event_count > ES_TEST_MOST || section.size != sizeof *test + test->event_count * sizeof(es_event))
        return ES_ERR_TEST;
    if (header_of(model->data)->one_shot_bytes == 0 && last >= ES_TEST_MOST)
        last = ES_TEST_MOST - 1u;
    for (uint32_t i = 0; i < test->event_count; i++) {
        const es_event *event = &es_test_events(test)[i];
        if (event->tick < tick || event->tick > last || !es_input_contains(model, event))
            return ES_ERR_TEST;
        tick = event->tick;
    }
    return ES_OK;
}

/* ---- open -------------------------------------------------------------- */

static bool is_little_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;

    memcpy(&first, &one, 1);
    return first == 1;
}

static void fill(es_model *model, es_span file, const es_span spans[SECTION_COUNT])
{
    model->data = file.data;
    model->size = file.size;
    model->populations = (const es_population *)(const void *)spans[POPS].data;
    model->projections = (const es_projection *)(const void *)spans[PROJ].data;
    model->input = (const es_input *)(const void *)spans[INPT].data;
    model->parameters = spans[PARM].data;
    model->weights = spans[WGTS].data;
    model->initial = spans[INIT].data;
    model->metadata = spans[META].data;
    model->test = spans[TEST].data;
    model->metadata_size = spans[META].size;
    model->test_size = spans[TEST].size;
    model->population_count = header_of(file.data)->population_count;
    model->projection_count = header_of(file.data)->projection_count;
}

static bool needs_what_is_left_out(const es_model *model)
{
    for (uint32_t i = 0; i < model->population_count; i++) {
        const es_population *population = &model->populations[i];
        if (population->kind == ES_INTEGRATE_AND_FIRE && !ES_WITH_SPIKING)
            return true;
        if ((population->flags & ES_FLAG_CURRENT) && !ES_WITH_CURRENTS)
            return true;
        if (population->table_count != 0 && !ES_WITH_TABLES)
            return true;
        if (population->accumulator_bytes == 2 && !ES_WITH_PAIRS)
            return true;
    }
    for (uint32_t i = 0; i < model->projection_count; i++) {
        if (model->projections[i].delay != 0 && !ES_WITH_DELAYS)
            return true;
        if (model->projections[i].weight_bits == 4 && !ES_WITH_INT4)
            return true;
    }
    return model->input->exit_every != 0 && !ES_WITH_EARLY_EXIT;
}

int es_model_open(es_model *model, const void *data, size_t size)
{
    es_span file = {(const uint8_t *)data, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size};
    es_span spans[SECTION_COUNT];
    int status;

    if (!is_little_endian())
        return ES_ERR_ENDIAN;
    if (data == NULL)
        return ES_ERR_ARGUMENT;
    if ((uintptr_t)data % ES_ALIGNMENT != 0)
        return ES_ERR_ALIGN;
    if ((status = check_header(file)) != ES_OK || (status = check_sections(file, spans)) != ES_OK)
        return status;
    fill(model, file, spans);
    if (needs_what_is_left_out(model))
        return ES_ERR_LEFT_OUT;
    if (!ES_WITH_CHECKS)
        return ES_OK;
    if ((status = check_populations(model)) != ES_OK || (status = check_input(model, spans[INPT])) != ES_OK ||
        (status = check_projections(model, spans[WGTS])) != ES_OK ||
        (status = check_graph(model)) != ES_OK || (status = check_arena(model)) != ES_OK ||
        (status = check_parameters(model, spans[PARM])) != ES_OK ||
        (status = check_initial(model, spans[INIT])) != ES_OK)
        return status;
    return check_test(model, spans[TEST]);
}

uint32_t es_population_size(const es_model *model, uint32_t population)
{
    return population < model->population_count ? es_neuron_count(&model->populations[population]) : 0;
}

uint32_t es_output_size(const es_model *model)
{
    return es_population_size(model, model->population_count - 1u);
}

void es_input_shape(const es_model *model, uint32_t shape[3])
{
    const es_population *input = &model->populations[0];

    shape[0] = input->height;
    shape[1] = input->width;
    shape[2] = model->input->counts_events ? 2 : input->channels;
}

uint32_t es_tick_us(const es_model *model)
{
    return model->input->tick_us;
}

uint32_t es_window_ticks(const es_model *model)
{
    return model->input->window_ticks;
}

const uint8_t *es_model_source_hash(const es_model *model)
{
    return header_of(model->data)->source_hash;
}
