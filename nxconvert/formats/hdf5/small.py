"""Datasets of one number or short text, read at once when they are opened: a scan has hundreds of motors.

They are opened, read with their attributes and closed by one call of the compiled library. What it does not know, or
where it is not there, is opened as everything else.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from h5py import h5d, h5i, h5t, string_dtype
from h5py._objects import phil

from nxconvert import compiled

_FUNCTIONS = (
    "H5Oopen",
    "H5Oclose",
    "H5Iget_type",
    "H5Dget_type",
    "H5Dget_space",
    "H5Dget_offset",
    "H5Dread",
    "H5Tclose",
    "H5Sclose",
    "H5Tequal",
    "H5Tis_variable_str",
    "H5Sget_simple_extent_type",
    "H5Aget_num_attrs",
    "H5Aopen_by_idx",
    "H5Aget_type",
    "H5Aget_space",
    "H5Aget_name",
    "H5Aread",
    "H5Aclose",
    "H5Dvlen_reclaim",
    "H5Tget_cset",
)
"""Functions of HDF5, in the order in which the compiled library wants them."""

_TYPES = {
    "<f8": h5t.IEEE_F64LE,
    "<f4": h5t.IEEE_F32LE,
    "i1": h5t.STD_I8LE,
    "u1": h5t.STD_U8LE,
    "<i2": h5t.STD_I16LE,
    "<u2": h5t.STD_U16LE,
    "<i4": h5t.STD_I32LE,
    "<u4": h5t.STD_U32LE,
    "<i8": h5t.STD_I64LE,
    "<u8": h5t.STD_U64LE,
}
_DTYPES = [np.dtype(name) for name in _TYPES]
_TEXT_DTYPES = [string_dtype("ascii"), string_dtype("utf-8")]
_ATTRIBUTES, _NAME, _TEXT = 4, 64, 256


class _Found(ctypes.Structure):
    """What the compiled library finds; ``Small`` in hdf5.c."""

    _fields_ = (
        ("id", ctypes.c_int64),
        ("kind", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("value", ctypes.c_uint8 * 8),
        ("text", ctypes.c_char * _TEXT),
        ("names", ctypes.c_char * _NAME * _ATTRIBUTES),
        ("texts", ctypes.c_char * _TEXT * _ATTRIBUTES),
    )


class Small(NamedTuple):
    """A dataset of one number or text, with its attributes, each a text."""

    dtype: np.dtype[Any]
    value: bytes
    attrs: dict[bytes, bytes]


class _Opener:
    """Opens objects; one for the process, used while h5py's lock is held."""

    def __init__(self, function: Any, table: Any) -> None:
        self._function, self._table, self._found = function, table, _Found()
        self._out = ctypes.byref(self._found)

    def open(self, group: Any, name: bytes) -> Small | Any | None:
        """Open what a link leads to: a small dataset, an object of h5py, or None where that fails."""
        found = self._found
        with phil:
            small = self._function(self._table, group.id, name, self._out)
            if not small:
                return h5i.wrap_identifier(found.id) if found.id >= 0 else None
            texts = {found.names[i].value: found.texts[i].value for i in range(found.count)}
            if found.kind >= len(_DTYPES):
                return Small(_TEXT_DTYPES[found.kind - len(_DTYPES)], found.text, texts)
            dtype = _DTYPES[found.kind]
            return Small(dtype, bytes(found.value)[: dtype.itemsize], texts)


@cache
def opener() -> _Opener | None:
    """Return what opens objects; None where the compiled library, or a function of HDF5, cannot be found."""
    library = compiled.library()
    if library is None or sys.platform == "win32":
        return None
    hdf5 = ctypes.CDLL(h5d.__file__)  # its functions are found through the module of h5py that is linked with it
    try:
        pointers = [ctypes.cast(getattr(hdf5, name), ctypes.c_void_p).value or 0 for name in _FUNCTIONS]
    except AttributeError:
        return None
    table = (ctypes.c_int64 * (len(pointers) + len(_TYPES)))(*pointers, *(t.id for t in _TYPES.values()))
    return _Opener(library.nx_hdf5_small, table)
