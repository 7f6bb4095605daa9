#include "edgespike.h"

const char *es_error_message(int code)
{
#define ES_ERROR_CASE(name, number, family, slug, message) \
    case number:                                           \
        return message;
    switch (code) {
    case ES_OK:
        return "no error";
    case ES_WINDOW:
        return "a window closed";
        ES_ERROR_LIST(ES_ERROR_CASE)
    default:
        return "unknown error";
    }
#undef ES_ERROR_CASE
}
