"""The memo: one line of JSON that carries what has no place in a format, in its comment or header, and comes back.

    {"nxconvert": 1, "key": {...}, "mapping": "bliss", "columns": {NAME: {...}}, "header": {NAME: ...}, "grid": {...}}

A header value whose type JSON keeps (a float, an integer, a text, a boolean) stands as itself; another is an object
with ``value``, ``dtype`` and its attributes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nxconvert.array import TEXT, Array, Values, decode, is_text, named_type, type_name
from nxconvert.errors import InputError
from nxconvert.record import Field, Record, Role

VERSION = 1

_NATURAL = {"float64": float, "int64": int, "str": str, "bool": bool}


def describe(record: Record, lose: Callable[[str, str], None] = lambda name, why: None) -> dict[str, Any]:
    """Return the memo of a record.

    Parameters
    ----------
    record
        The record, as it is written.
    lose
        Called with the name and the reason for each value or attribute that JSON cannot carry.
    """
    memo: dict[str, Any] = {"nxconvert": VERSION}
    if record.key:
        memo["key"] = dict(record.key)
    if record.mapping:
        memo["mapping"] = record.mapping
    if record.grid:
        memo["grid"] = dict(record.grid)
    memo["columns"] = {f.name: _column(f, lose) for f in record.columns}
    rows = record.rows
    for f in record.columns:
        if f.shape[0] != rows:
            memo["rows"] = rows
            memo["columns"][f.name]["length"] = f.shape[0]
    header: dict[str, Any] = {}
    for f in record.header:
        try:
            header[f.name] = _header(f, lose)
        except TypeError as error:
            lose(f.name, str(error))
    memo["header"] = header
    return memo


def dumps(memo: Mapping[str, Any], comma: str = ",") -> str:
    """Write a memo as one line of ASCII; ``comma`` stands between its parts."""
    return json.dumps(memo, ensure_ascii=True, separators=(comma, ":"))


def loads(text: str) -> dict[str, Any] | None:
    """Read a memo; None when the text is none.

    Raises
    ------
    InputError
        When it is one, but damaged or of a later version.
    """
    if '"nxconvert"' not in text:
        return None
    with _whole():
        memo = json.loads(text)
    if not isinstance(memo, dict) or "nxconvert" not in memo:
        return None
    if not isinstance(memo["nxconvert"], int) or memo["nxconvert"] > VERSION:
        raise InputError("the header was written by a later nxconvert", "update nxconvert")
    with _whole():
        _check(memo)
    return memo


@contextmanager
def _whole() -> Iterator[None]:
    """Turn what goes wrong with a memo that is not as it was written into one error."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the line of JSON in the header is damaged: {reason}", "delete it to read plain values"
        ) from None


def _check(memo: Mapping[str, Any]) -> None:
    """Raise when a part of a memo is not of the kind that it must be, so that readers may rely on it."""
    for part in ("key", "columns", "header", "grid"):
        if not isinstance(memo.get(part) or {}, dict):
            raise TypeError(f"{part} is {type(memo[part]).__name__}")
    if not all(isinstance(v, str) for v in (memo.get("key") or {}).values()) or not isinstance(
        memo.get("mapping", ""), str
    ):
        raise TypeError("the key or the mapping is no text")
    for name, column in memo.get("columns", {}).items():
        if not isinstance(column, dict) or not isinstance(column.get("dtype"), str):
            raise TypeError(f"the column {name!r} has no data type")
    if grid := memo.get("grid"):
        rank = len([n for n in grid["shape"] if n >= 0])
        if not all(0 <= d < rank for span in grid["spans"].values() for d in span):
            raise ValueError("the grid spans dimensions that it has not")
        if not isinstance(grid.get("axes", {}), dict):
            raise TypeError("the axes of the grid are no names")


def _column(f: Field, lose: Callable[[str, str], None]) -> dict[str, Any]:
    out: dict[str, Any] = {"dtype": type_name(f.dtype)}
    out |= _about(f, lose)
    if f.item_shape:
        out["item"] = list(f.item_shape)
    if f.source:
        out["source"] = f.source
    return out


def _about(f: Field, lose: Callable[[str, str], None]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if f.attrs:
        kept: dict[str, Any] = {}
        for name, value in f.attrs.items():
            try:
                kept[name] = _attribute(value)
            except TypeError as error:
                lose(f"{f.name}@{name}", str(error))
        if "units" in kept and isinstance(kept["units"], str):
            out["units"] = kept.pop("units")
        if kept:
            out["attrs"] = kept
    if f.role:
        out["role"] = str(f.role)
    if f.guessed:
        out["guessed"] = True
    if f.of:
        out["of"] = f.of
    if f.axes:
        out["axes"] = list(f.axes)
    return out


def _attribute(value: Any) -> Any:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype == object and all(isinstance(v, str) for v in array.flat):
        return {"value": array.tolist(), "dtype": "str"}
    return {"value": _jsonable(array), "dtype": type_name(array.dtype)}


def _header(f: Field, lose: Callable[[str, str], None]) -> Any:
    values = f.values.read()
    dtype = f.dtype
    if is_text(dtype):
        values = decode(values)
    kind = type_name(dtype)
    value: Any = values.item() if values.ndim == 0 else None
    about = _about(f, lose)
    natural = type(value) is _NATURAL.get(kind) and not (isinstance(value, float) and not math.isfinite(value))
    if natural and not about:
        return value
    return {
        "value": value if natural else _jsonable(values),
        "dtype": kind,
        **({"shape": list(f.shape)} if 0 in f.shape else {}),
        **about,
    }


def _jsonable(values: np.ndarray[Any, Any]) -> Any:
    if values.dtype == object and all(isinstance(v, str) for v in values.flat):
        return values.tolist()
    kind = values.dtype.kind
    if kind == "S":
        return decode(values).tolist()
    if kind in "biu":
        return values.tolist()
    if kind == "f":
        if values.dtype.itemsize > 8:
            return np.frompyfunc(str, 1, 1)(values).tolist() if values.ndim else str(values[()])
        if np.isfinite(values).all():
            return values.astype(np.float64).tolist()
        return (
            np.frompyfunc(_number, 1, 1)(values.astype(np.float64)).tolist() if values.ndim else _number(float(values))
        )
    if kind == "c":
        return np.frompyfunc(lambda v: str(complex(v)), 1, 1)(values).tolist() if values.ndim else str(complex(values))
    raise TypeError(f"text has no place for values of type {type_name(values.dtype)}")


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def header_fields(memo: Mapping[str, Any], source: str) -> list[Field]:
    """Return the header fields that a memo carries.

    Raises
    ------
    InputError
        When one of them is damaged.
    """
    with _whole():
        return [_header_field(name, value, source) for name, value in memo.get("header", {}).items()]


def _header_field(name: str, value: Any, source: str) -> Field:
    if not isinstance(value, dict):
        return Field(name, Values(value, TEXT if isinstance(value, str) else None), source=source)
    dtype = named_type(value["dtype"])
    array = _from_json(value["value"], dtype)
    if "shape" in value:
        array = array.reshape(value["shape"])
    return Field(name, Values(array, dtype), source=source, **about(value))


def _from_json(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind == "S":
        encoded = np.array(value, dtype=object)
        raw = [v.encode("utf-8", "surrogateescape") for v in encoded.flat]
        return np.array(raw, dtype=dtype).reshape(encoded.shape).view(dtype)
    if dtype.kind in "fc" and dtype.itemsize > 8:
        strings = np.array(value, dtype=object)
        return np.array([dtype.type(v) for v in strings.flat], dtype=dtype).reshape(strings.shape)
    if dtype.kind == "c":
        strings = np.array(value, dtype=object)
        return np.array([complex(v) for v in strings.flat], dtype=dtype).reshape(strings.shape)
    return np.array(value, dtype=dtype)


def about(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a memo says of a field, as arguments of ``Field``.

    Raises
    ------
    InputError
        When it is damaged.
    """
    with _whole():
        return _about_field(value)


def _about_field(value: Mapping[str, Any]) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    if "units" in value:
        attrs["units"] = value["units"]
    for name, attribute in value.get("attrs", {}).items():
        if isinstance(attribute, dict):
            dtype = named_type(attribute["dtype"])
            array = _from_json(attribute["value"], dtype)
            attrs[name] = array[()] if array.ndim == 0 else array
        else:
            attrs[name] = attribute
    return {
        "attrs": attrs,
        "role": Role(value["role"]) if value.get("role") else None,
        "guessed": bool(value.get("guessed", False)),
        "of": value.get("of"),
        "axes": tuple(value.get("axes", ())),
    }


def column_fields(
    memo: Mapping[str, Any], arrays: Mapping[str, Array], order: Iterable[str], source: str
) -> list[Field]:
    """Return the per-row fields of the arrays, described by the memo where it knows them."""
    known = memo.get("columns", {})
    return [
        Field(name, arrays[name], per_row=True, source=f"{source}::{name}", **about(known.get(name, {})))
        for name in order
    ]
