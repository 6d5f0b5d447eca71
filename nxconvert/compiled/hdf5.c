/* A dataset of one number, opened, read with its attributes and closed in one call: a file of a scan has hundreds of
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
    hid_t types[KINDS]; /* the numbers that are known, as they are stored */
} Functions;

typedef struct {
    hid_t id;       /* the object, open, when it is not such a dataset; or less than 0 */
    int32_t kind;   /* which of the types */
    int32_t count;  /* of the attributes */
    uint8_t value[8];
    char names[ATTRIBUTES][NAME];
    char texts[ATTRIBUTES][TEXT];
} Small;

static int attribute(const Functions *h, hid_t id, int index, Small *out)
{
    hid_t a = h->attribute(id, ".", BY_NAME, INCREASING, (uint64_t)index, DEFAULT, DEFAULT);
    if (a < 0) return 0;
    hid_t type = h->attribute_type(a), space = h->attribute_space(a);
    int good = 0;
    int64_t n = h->attribute_name(a, NAME, out->names[index]);
    if (type >= 0 && space >= 0 && n >= 0 && n < NAME && h->extent(space) == SCALAR && h->is_variable(type) > 0) {
        char *text = NULL;
        if (h->read_attribute(a, type, &text) >= 0) {
            size_t size = text ? strlen(text) : 0;
            good = size < TEXT;
            if (good) memcpy(out->texts[index], text ? text : "", size + 1);
            h->reclaim(type, space, DEFAULT, &text);
        }
    }
    if (type >= 0) h->close_type(type);
    if (space >= 0) h->close_space(space);
    h->close_attribute(a);
    return good;
}

static int small(const Functions *h, hid_t id, Small *out)
{
    if (h->kind_of(id) != DATASET || h->offset(id) == UINT64_MAX) return 0; /* not here, or not in one piece */
    hid_t space = h->dataset_space(id);
    if (space < 0) return 0;
    int extent = h->extent(space);
    h->close_space(space);
    if (extent != SCALAR) return 0;
    hid_t type = h->dataset_type(id);
    if (type < 0) return 0;
    int kind = KINDS;
    while (kind-- > 0 && h->same_type(type, h->types[kind]) <= 0) { }
    int good = kind >= 0 && h->read(id, type, ALL, ALL, DEFAULT, out->value) >= 0;
    h->close_type(type);
    if (!good) return 0;
    out->kind = kind;
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
