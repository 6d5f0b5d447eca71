/* A dataset of one number or short text, opened, read with its attributes and closed in one call: a file of a scan has hundreds of
   them, and each of the some twenty calls through h5py costs as much as HDF5's own work.

   The functions of HDF5 are those of the very library that h5py uses, found by name while the program runs, since two
   libraries must not work on one file. Facts: the HDF5 reference manual; identifiers are of 64 bits since HDF5 1.10. */
#include "common.h"

typedef int64_t hid_t;

enum { KINDS = 10, ATTRIBUTES = 4, NAME = 64, TEXT = 256 };
enum { SCALAR = 0, ALL = 0, DEFAULT = 0, BY_NAME = 0, INCREASING = 0, DATASET = 5 };

/* In the order of FUNCTIONS in formats/hdf5/small.py. */
typedef struct {
    hid_t (*open)(hid_t, const char *, hid_t);
    int (*close)(hid_t);
    int (*kind_of)(hid_t);
    hid_t (*dataset_type)(hid_t);
    hid_t (*dataset_space)(hid_t);
    uint64_t (*offset)(hid_t);
    int (*read)(hid_t, hid_t, hid_t, hid_t, hid_t, void *);
    int (*close_type)(hid_t);
    int (*close_space)(hid_t);
    int (*same_type)(hid_t, hid_t);
    int (*is_variable)(hid_t);
    int (*extent)(hid_t);
    int (*count)(hid_t);
    hid_t (*attribute)(hid_t, const char *, int, int, uint64_t, hid_t, hid_t);
    hid_t (*attribute_type)(hid_t);
    hid_t (*attribute_space)(hid_t);
    int64_t (*attribute_name)(hid_t, size_t, char *);
    int (*read_attribute)(hid_t, hid_t, void *);
    int (*close_attribute)(hid_t);
    int (*reclaim)(hid_t, hid_t, hid_t, void *);
    int (*characters)(hid_t);
    hid_t types[KINDS]; /* the numbers that are known, as they are stored */
} Functions;

typedef struct {
    hid_t id;       /* the object, open, when it is not such a dataset; or less than 0 */
    int32_t kind;   /* which of the types; from KINDS on a text, by its character set */
    int32_t count;  /* of the attributes */
    uint8_t value[8];
    char text[TEXT];
    char names[ATTRIBUTES][NAME];
    char texts[ATTRIBUTES][TEXT];
} Small;

/* Copy a text of any length that was read, if there is room, and free it. */
static int copied(const Functions *h, hid_t type, hid_t space, char *text, char *out)
{
    size_t size = text ? strlen(text) : 0;
    int good = size < TEXT;
    if (good) memcpy(out, text ? text : "", size + 1);
    h->reclaim(type, space, DEFAULT, &text);
    return good;
}

static int attribute(const Functions *h, hid_t id, int index, Small *out)
{
    hid_t a = h->attribute(id, ".", BY_NAME, INCREASING, (uint64_t)index, DEFAULT, DEFAULT);
    if (a < 0) return 0;
    hid_t type = h->attribute_type(a), space = h->attribute_space(a);
    int good = 0;
    int64_t n = h->attribute_name(a, NAME, out->names[index]);
    if (type >= 0 && space >= 0 && n >= 0 && n < NAME && h->extent(space) == SCALAR && h->is_variable(type) > 0) {
        char *text = NULL;
        if (h->read_attribute(a, type, &text) >= 0) good = copied(h, type, space, text, out->texts[index]);
    }
    if (type >= 0) h->close_type(type);
    if (space >= 0) h->close_space(space);
    h->close_attribute(a);
    return good;
}

static int value(const Functions *h, hid_t id, hid_t type, hid_t space, Small *out)
{
    if (h->is_variable(type) > 0) {
        char *text = NULL;
        int set = h->characters(type);
        out->kind = KINDS + set;
        return (set == 0 || set == 1) && h->read(id, type, ALL, ALL, DEFAULT, &text) >= 0
            && copied(h, type, space, text, out->text);
    }
    int kind = 0;
    while (kind < KINDS && h->same_type(type, h->types[kind]) <= 0) kind++;
    out->kind = kind;
    return kind < KINDS && h->read(id, type, ALL, ALL, DEFAULT, out->value) >= 0;
}

static int small(const Functions *h, hid_t id, Small *out)
{
    if (h->kind_of(id) != DATASET || h->offset(id) == UINT64_MAX) return 0; /* not here, or not in one piece */
    hid_t space = h->dataset_space(id);
    if (space < 0) return 0;
    hid_t type = h->extent(space) == SCALAR ? h->dataset_type(id) : -1;
    int good = type >= 0 && value(h, id, type, space, out);
    h->close_space(space);
    if (type >= 0) h->close_type(type);
    if (!good) return 0;
    out->count = h->count(id);
    if (out->count < 0 || out->count > ATTRIBUTES) return 0;
    for (int i = 0; i < out->count; i++)
        if (!attribute(h, id, i, out)) return 0;
    return 1;
}

/* Open what a link of a group leads to. Return whether it is a small dataset: it is closed again then. */
EXPORT int nx_hdf5_small(const Functions *h, int64_t group, const char *name, Small *out)
{
    out->id = h->open(group, name, DEFAULT);
    if (out->id < 0 || !small(h, out->id, out)) return 0;
    h->close(out->id);
    return 1;
}
