"""What copies of HDF5 objects are made with: properties, types, raw attributes and chunks like the original has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from h5py import h5, h5a, h5d, h5g, h5p, h5s, h5t, h5z

from nxconvert.errors import InputError
from nxconvert.formats.hdf5 import check
from nxconvert.formats.hdf5.dataset import H5Dataset
from nxconvert.formats.hdf5.layout import asked


def same_order(old: h5p.PropGCID) -> h5p.PropGCID:
    """Return creation properties of a group that keeps the order of its links and attributes as another does.

    The other's own properties would do but for HDF5, which takes the address of its heap of links from them.
    """
    new = h5p.create(h5p.GROUP_CREATE)
    new.set_link_creation_order(old.get_link_creation_order())
    new.set_attr_creation_order(old.get_attr_creation_order())
    return new


def refers(type_id: h5t.TypeID) -> bool:
    """Tell whether values of a type hold references."""
    return any(t.get_class() == h5t.REFERENCE for t in _inside(type_id))


def proxied(type_id: h5t.TypeID) -> bool:
    """Tell whether values of a type lie outside of the dataset: of variable length, or references."""
    return any(
        t.get_class() in (h5t.REFERENCE, h5t.VLEN) or (t.get_class() == h5t.STRING and t.is_variable_str())
        for t in _inside(type_id)
    )


def special(type_id: h5t.TypeID) -> bool:
    """Tell whether a type has a name in its file, or holds references."""
    return bool(type_id.committed()) or refers(type_id)


def _inside(type_id: h5t.TypeID) -> Iterator[h5t.TypeID]:
    pending = [type_id]
    while pending:
        here = pending.pop()
        yield here
        kind = here.get_class()
        if kind in (h5t.ARRAY, h5t.VLEN):
            pending.append(here.get_super())
        elif kind == h5t.COMPOUND:
            pending.extend(here.get_member_type(i) for i in range(here.get_nmembers()))


def attributes_of(id: Any) -> Iterator[h5a.AttrID]:
    """Open the attributes, in the order of their creation where it is known."""
    order = h5.INDEX_NAME
    plist = id.get_create_plist() if isinstance(id, h5g.GroupID | h5d.DatasetID) else None
    if plist is not None and plist.get_attr_creation_order() & h5p.CRT_ORDER_TRACKED:
        order = h5.INDEX_CRT_ORDER
    for index in range(h5a.get_num_attrs(id)):
        yield h5a.open(id, index=index, index_type=order, order=h5.ITER_INC)


def move_attribute(attr: h5a.AttrID, new: h5a.AttrID, type_id: h5t.TypeID) -> None:
    """Copy the value of an attribute, byte for byte where nothing of it lies elsewhere."""
    if proxied(type_id):
        values = np.empty(attr.shape, np.dtype(attr.dtype))
        attr.read(values)
        new.write(values)
        return
    values = np.empty(attr.get_space().get_simple_extent_npoints(), f"V{type_id.get_size()}")
    attr.read(values, type_id)
    new.write(values, type_id)


def plain_chunks(plist: h5p.PropDCID, type_id: h5t.TypeID) -> bool:
    """Tell whether a dataset's chunks are moved one by one.

    ``H5Ocopy`` writes the pipelines of some old files so that they cannot be read again. It is needed where a filter is
    not known here, as nothing can be created with it.
    """
    codes = [int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())]
    known = all(code <= check.OWN_FILTERS and h5z.filter_avail(code) for code in codes)
    return plist.get_layout() == h5d.CHUNKED and not proxied(type_id) and known


def move_chunks(source: h5d.DatasetID, made: h5d.DatasetID) -> None:
    """Copy stored chunks; those that do not exist stay so."""
    found: list[tuple[int, ...]] = []
    source.chunk_iter(lambda c: found.append(tuple(c.chunk_offset)))
    for offset in found:
        mask, raw = source.read_direct_chunk(offset)
        made.write_direct_chunk(offset, raw, mask)


def nothing_stored(node: H5Dataset) -> bool:
    """Tell whether nothing was ever stored for a dataset that is not in chunks: all of it is the fill value."""
    plist = node.id.get_create_plist()
    contiguous = plist.get_layout() == h5d.CONTIGUOUS and not plist.get_external_count()
    return contiguous and node.id.get_space_status() == h5d.SPACE_STATUS_NOT_ALLOCATED


def without_layout(plist: h5p.PropDCID, type_id: h5t.TypeID) -> h5p.PropDCID:
    """Return creation properties of a dataset that is stored in one piece, with the same fill value."""
    new = h5p.create(h5p.DATASET_CREATE)
    same_fill(plist, new, type_id)
    return new


def as_source(node: H5Dataset, plist: h5p.PropDCID, type_id: h5t.TypeID) -> h5p.PropDCID | None:
    """Return how to store the values of a virtual dataset as its first source does, or None when that has no chunks."""
    for index in range(plist.get_virtual_count() if plist.get_layout() == h5d.VIRTUAL else 0):
        filename, path = plist.get_virtual_filename(index), plist.get_virtual_dsetname(index)
        try:
            file = node.file if filename == "." else node.file.external(filename, node.source, check.SOURCE)
            source = file.resolve("/" + path.lstrip("/"), node.source)
        except InputError:
            continue
        if not isinstance(source, H5Dataset) or not source.id.get_type().equal(type_id):
            return None
        old = source.id.get_create_plist()
        missing = len(node.shape) - len(source.shape)
        if old.get_layout() != h5d.CHUNKED or missing < 0 or 0 in node.shape:
            return None
        check.readable(source)
        if source.foreign:
            check.register_filters()
        new = without_layout(plist, type_id)
        chunk = (1,) * missing + tuple(old.get_chunk())
        new.set_chunk(tuple(min(c, n) for c, n in zip(chunk, node.shape, strict=True)))
        for n in range(old.get_nfilters()):
            code, flags, parameters, _ = old.get_filter(n)
            new.set_filter(code, flags, asked(code, tuple(parameters)))
        return new
    return None


def same_fill(old: h5p.PropDCID, new: h5p.PropDCID, type_id: h5t.TypeID) -> None:
    """Give a fill value over that the user of the source set."""
    if old.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED or proxied(type_id):
        return
    try:
        fill = np.zeros((), np.dtype(type_id.dtype))
    except TypeError:
        return
    old.get_fill_value(fill)
    new.set_fill_value(fill)


def maximum(id: h5d.DatasetID) -> tuple[int | None, ...]:
    """Return how far a dataset may grow, None where there is no end."""
    space = id.get_space()
    if space.get_simple_extent_type() != h5s.SIMPLE:
        return ()
    return tuple(None if n == h5s.UNLIMITED else n for n in space.get_simple_extent_dims(True))


def source_space(plist: h5p.PropDCID, index: int) -> h5s.SpaceID:
    """Return what a virtual dataset takes of a source; HDF5 does not tell the shape of what is taken whole."""
    space = plist.get_virtual_srcspace(index)
    taken = plist.get_virtual_vspace(index)
    if space.get_select_type() != h5s.SEL_ALL or not taken.shape:
        return space
    if taken.get_select_type() == h5s.SEL_HYPERSLABS and taken.is_regular_hyperslab():
        _, _, count, block = taken.get_regular_hyperslab()
        if h5s.UNLIMITED in count and h5s.UNLIMITED not in block:
            return h5s.create_simple(tuple(int(n) for n in block))  # each block is a source of its own
    try:
        low, high = taken.get_select_bounds()
        points = taken.get_select_npoints()
    except (RuntimeError, ValueError):  # without an end
        return space
    count = tuple(int(b) - int(a) + 1 for a, b in zip(low, high, strict=True))
    return h5s.create_simple(count if math.prod(count) == points else (points,))
