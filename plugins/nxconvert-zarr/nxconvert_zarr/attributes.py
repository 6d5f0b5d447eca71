"""Attributes as the JSON that Zarr keeps, and back: JSON has fewer types than HDF5, so the exact ones are noted.

A note is the attribute ``nxconvert`` of a node: ``types`` of attributes that JSON does not tell, and for a group or an
array what else Zarr has no place for; see ``read`` and ``write``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nxconvert.array import TEXT, as_array, decode, is_text, named_type, type_name
from nxconvert.errors import InputError
from nxconvert.tree import Ref

NOTE = "nxconvert"

OME = frozenset({"ome", "multiscales", "omero", "plate", "well", "image-label", "labels", "bioformats2raw.layout"})
"""Attributes that OME-Zarr reads as JSON: their text is written as what it says."""

_NATURAL = {"bool": bool, "int64": int, "float64": float}


class JsonText(str):
    """The text of an attribute that is an object or a mixed list in JSON; written to Zarr as that again."""

    __slots__ = ()


def to_json(attrs: Mapping[str, Any], lose: Callable[[str, str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Turn attributes into JSON.

    Parameters
    ----------
    attrs
        Attributes of a node.
    lose
        Called with the name and the reason for each that JSON cannot carry.

    Returns
    -------
    tuple
        The attributes, and the types that JSON does not tell.
    """
    out: dict[str, Any] = {}
    types: dict[str, Any] = {}
    for name, value in attrs.items():
        if name == NOTE:
            lose(name, "nxconvert keeps its own notes under this name")
            continue
        try:
            out[name], kind = _plain(name, value)
        except TypeError as error:
            lose(name, str(error))
            continue
        if kind is not None:
            types[name] = kind
    return out, types


def _plain(name: str, value: Any) -> tuple[Any, Any]:
    if isinstance(value, str):
        return _text(name, value), None
    if isinstance(value, Ref):
        if value.region is not None:
            raise TypeError("Zarr has no references to regions")
        return value.path, "reference"
    if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex | list | tuple):
        raise TypeError(f"JSON has no {type(value).__name__}")
    array = as_array(value)
    kind = type_name(array.dtype)
    if array.dtype == object and not is_text(array.dtype):
        if all(isinstance(v, Ref) and v.region is None for v in array.flat):
            return [v.path for v in array.flat], {"dtype": "reference", "shape": list(array.shape)}
        raise TypeError("JSON has no such objects")
    if array.dtype.names is not None or array.dtype.kind not in "biufcSO":
        raise TypeError(f"JSON has no {kind}")
    plain = _listed(array)
    natural = (kind in _NATURAL and bool(np.isfinite(array).all())) or kind == "str"
    if 0 in array.shape:
        return plain, {"dtype": kind, "shape": list(array.shape)}
    return plain, None if natural and (array.shape or kind != "str") else kind


def _text(name: str, value: str) -> Any:
    if isinstance(value, JsonText) or (name in OME and value[:1] in ("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _listed(array: np.ndarray[Any, Any]) -> Any:
    if is_text(array.dtype):
        return decode(array).tolist()
    if array.dtype.kind in "biu":
        return array.tolist()
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8 and np.isfinite(array).all():
        return array.astype(np.float64).tolist()
    return np.frompyfunc(_spelled, 1, 1)(array).tolist() if array.ndim else _spelled(array[()])


def _spelled(value: Any) -> str:
    """Write a number as text: JSON has neither NaN nor complex ones."""
    if isinstance(value, complex | np.complexfloating):
        return str(complex(value))
    return str(value) if isinstance(value, np.longdouble) else repr(float(value))


def from_json(attrs: Mapping[str, Any], types: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give attributes their types back; those of another program get the natural ones.

    Raises
    ------
    InputError
        When a value is not of the type that is noted.
    """
    out: dict[str, Any] = {}
    for name, value in attrs.items():
        if name == NOTE:
            continue
        if name not in types:
            out[name] = natural(value)
            continue
        try:
            out[name] = _typed(value, types[name])
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise InputError(f"{where}@{name} is damaged: {error}") from None
    return out


def _typed(value: Any, kind: Any) -> Any:
    name = kind["dtype"] if isinstance(kind, dict) else kind
    if name == "reference":
        if isinstance(value, str):
            return Ref(value)
        refs = np.empty(len(value), dtype=object)
        refs[:] = [Ref(str(v)) for v in value]
        return refs.reshape(kind["shape"])
    dtype = named_type(name)
    array = from_text(np.array(value, dtype=object), dtype)
    if isinstance(kind, dict):
        array = array.reshape(kind["shape"])
    return array[()] if array.ndim == 0 else array


def from_text(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Cast objects as JSON has them, numbers spelled as text among them, to a dtype."""
    out = np.empty(array.shape, dtype)
    if is_text(dtype) and dtype != TEXT:
        values: list[Any] = [str(v).encode("utf-8", "surrogateescape") for v in array.flat]
    elif dtype.kind == "c":
        values = [complex(v) for v in array.flat]
    elif dtype.kind == "f" and dtype.itemsize > 8:
        values = [dtype.type(v) for v in array.flat]
    elif dtype.kind == "f":
        values = [float(v) for v in array.flat]
    elif dtype == TEXT:
        values = [str(v) for v in array.flat]
    else:
        values = list(array.flat)
    for index, value in zip(np.ndindex(array.shape), values, strict=True):
        out[index] = value
    return out


def natural(value: Any) -> Any:
    """Return a JSON value as a tree has it: text, a number, an array of either; else the text of the JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        array = _array(value)
        return JsonText(json.dumps(value)) if array is None else array
    dtype = _dtype([value])
    return JsonText(json.dumps(value)) if dtype is None else np.array(value, dtype)[()]


def _array(value: list[Any]) -> np.ndarray[Any, Any] | None:
    """Return nested lists as an array, None when they are none."""
    flat = _flat(value)
    dtype = _dtype(flat)
    return as_array(np.array(value, dtype=object), dtype) if flat and dtype is not None and _regular(value) else None


def _dtype(flat: list[Any]) -> np.dtype[Any] | None:
    """Return the type that all of some JSON values have."""
    kinds = {type(v) for v in flat}
    if kinds == {str}:
        return TEXT
    if kinds == {bool}:
        return np.dtype(bool)
    if kinds == {int}:
        return np.dtype(np.int64) if all(-(2**63) <= v < 2**63 for v in flat) else None
    return np.dtype(np.float64) if kinds and kinds <= {int, float} else None


def _flat(value: list[Any]) -> list[Any]:
    out: list[Any] = []
    for v in value:
        out.extend(_flat(v) if isinstance(v, list) else [v])
    return out


def _regular(value: Any) -> bool:
    """Tell whether nested lists are those of an array."""
    if not any(isinstance(v, list) for v in value):
        return True
    if not all(isinstance(v, list) for v in value) or len({len(v) for v in value}) > 1 or not value[0]:
        return False
    return all(_regular(v) for v in value)
