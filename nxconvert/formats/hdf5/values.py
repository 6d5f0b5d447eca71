"""What HDF5 stores, as numpy has it: types, texts, attributes, references."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5i, h5r, h5s, h5t

from nxconvert.array import decode, is_text
from nxconvert.formats.hdf5.damage import DAMAGE
from nxconvert.tree import Ref

_TEXTS = {
    cset: (dtype := h5py.string_dtype(encoding), h5t.py_create(dtype))
    for cset, encoding in ((h5t.CSET_ASCII, "ascii"), (h5t.CSET_UTF8, "utf-8"))
}
"""Type in numpy and in memory of text of any length, by character set."""

_NATIVE = {dtype: h5t.py_create(dtype) for dtype in map(np.dtype, "bhilqBHILQfd")}

_DTYPES: dict[bytes, np.dtype[Any]] = {}
"""Types in numpy of types in HDF5, by their encoding: to make one takes as long as to read a number."""

MANY_TYPES = 1000
"""How many of them are kept."""


def dtype_of(type_id: h5t.TypeID) -> np.dtype[Any]:
    """Return the type in numpy of a type in HDF5.

    Raises
    ------
    TypeError, ValueError, KeyError
        When it has no like in numpy.
    """
    try:
        key = type_id.encode()
    except DAMAGE:
        key = b""
    known = _DTYPES.get(key)
    if known is not None:
        return known
    made: np.dtype[Any] = np.dtype(type_id.dtype)
    if key:
        if len(_DTYPES) >= MANY_TYPES:
            _DTYPES.clear()
        _DTYPES[key] = made
    return made


def memory_type(dtype: np.dtype[Any], id: h5d.DatasetID | h5a.AttrID) -> h5t.TypeID | None:
    """Return the HDF5 type of values in memory, None where h5py makes it of the numpy array that receives them.

    Plain numbers have theirs made once. Of arrays within elements numpy makes further dimensions, and opaque bytes
    have a tag that numpy does not know.
    """
    if dtype.kind == "V" and dtype.names is None:
        return h5t.py_create(dtype) if dtype.subdtype is not None else id.get_type()
    return _NATIVE.get(dtype) if dtype.metadata is None else None


def text_of(raw: bytes | str) -> str:
    """Return a name or text; bytes that are no UTF-8 survive as surrogates."""
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw


def bytes_of(name: str) -> bytes:
    """Return what HDF5 has of a name."""
    return name.encode("utf-8", "surrogateescape")


class UnknownTypeError(Exception):
    """An attribute's type has no like in numpy."""


def attribute(attr: h5a.AttrID, file: h5f.FileID) -> Any:
    """Read an attribute: text as ``str`` or an array of them, numbers as numpy has them, references as ``Ref``."""
    space = attr.get_space()
    kind = space.get_simple_extent_type()
    type_id = attr.get_type()
    if isinstance(type_id, h5t.TypeStringID) and type_id.is_variable_str():
        dtype, memory = _TEXTS[type_id.get_cset()]
        if kind == h5s.SCALAR:
            text: Any = np.empty((), dtype)
            attr.read(text, memory)
            return text_of(text[()])
    else:
        try:
            dtype = dtype_of(type_id)
        except (TypeError, ValueError) as error:
            raise UnknownTypeError(str(error)) from None
        memory = memory_type(dtype, attr)
    if kind == h5s.NULL:
        return h5py.Empty(dtype)
    values = np.empty(() if kind == h5s.SCALAR else space.get_simple_extent_dims(), dtype)
    if values.size:
        attr.read(values, memory)
    if is_text(dtype):
        values = decode(values)
    elif dtype.metadata and "ref" in dtype.metadata:
        refs = np.empty(values.shape, dtype=object)
        for index in np.ndindex(values.shape):
            refs[index] = reference(values[index], file)
        values = refs
    return values[()] if values.ndim == 0 else values


def reference(ref: Any, file: h5f.FileID) -> Ref | None:
    """Return what a reference of a file leads to: None when it is null, an empty path when nothing is there."""
    if not ref:
        return None
    try:
        name = h5i.get_name(h5r.dereference(ref, file))
        region = _region(h5r.get_region(ref, file)) if isinstance(ref, h5r.RegionReference) else None
    except (ValueError, RuntimeError, KeyError):
        return Ref("")  # it leads nowhere
    return Ref(text_of(name or b""), region)


def _region(space: h5s.SpaceID) -> tuple[tuple[int, ...], ...]:
    """Return the corners of the boxes, or the points, that a region is made of."""
    if space.get_select_type() == h5s.SEL_HYPERSLABS:
        corners = space.get_select_hyper_blocklist().reshape(-1, space.get_simple_extent_ndims())
    elif space.get_select_type() == h5s.SEL_POINTS:
        corners = space.get_select_elem_pointlist()
    else:
        return ()
    return tuple(tuple(int(n) for n in corner) for corner in corners)
