"""Records as pandas DataFrames, and back.

Columns of scalars become columns of the frame; what else a record knows is in the frame's ``attrs``, as plain Python
values, so that ``pandas.concat`` and ``to_parquet`` can deal with it::

    {"key": {"scan": "1.1"}, "units": {"energy": "keV"}, "header": {"title": "ascan ..."}, "nxconvert": {...}}

``attrs["nxconvert"]`` has the types, roles, axes and attributes that a frame has no place for; a column or value that
was changed to another type keeps its new one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nxconvert import memo
from nxconvert.array import TEXT, Values, as_array, decode, is_text, named_type
from nxconvert.errors import InputError
from nxconvert.record import Field, Record, by_name

if TYPE_CHECKING:
    import pandas as pd

_NULLABLE = frozenset("bhilqBHILQfd?")
"""Types of numbers that pandas has with missing values, by their character in numpy."""


def to_pandas(record: Record) -> pd.DataFrame:
    """Make a DataFrame of a record; see ``Record.to_pandas``."""
    import pandas as pd

    chosen = [f for f in record.columns if not f.item_shape and _fits(f.dtype)]
    columns = _columns(record, chosen)
    frame = pd.DataFrame(columns, index=pd.RangeIndex(record.rows or _length(columns)))
    left = [f.name for f in record.columns if f not in chosen]
    frame.attrs.update(_attrs(record, {n: str(s.dtype) for n, s in columns.items()}))
    if left:
        frame.attrs["left_out"] = left
    return frame


def _fits(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" or is_text(dtype)


def _length(columns: Mapping[str, pd.Series[Any]]) -> int:
    return max((len(c) for c in columns.values()), default=0)


def _columns(record: Record, chosen: list[Field]) -> dict[str, pd.Series[Any]]:
    """Read columns in one pass; each with its mask of missing rows."""
    values: dict[str, list[np.ndarray[Any, Any]]] = {f.name: [] for f in chosen}
    missing: dict[str, list[np.ndarray[Any, Any]]] = {f.name: [] for f in chosen}
    for block in record.blocks([f.name for f in chosen]) if chosen else ():
        for f in chosen:
            part = block.columns[f.name]
            short = block.rows - len(part)
            data = np.ma.getdata(part)
            filler: np.ndarray[Any, Any] = np.full(short, "", dtype=object) if is_text(f.dtype) else np.zeros(short)
            data = np.concatenate([decode(data), filler]) if is_text(f.dtype) else _lengthened(data, short)
            values[f.name].append(data)
            missing[f.name].append(np.concatenate([np.ma.getmaskarray(part), np.ones(short, dtype=bool)]))
    out: dict[str, pd.Series[Any]] = {}
    for f in chosen:
        plain = np.dtype(object) if is_text(f.dtype) else np.dtype(f.dtype.newbyteorder("=").str)
        data = np.concatenate(values[f.name]) if values[f.name] else np.empty(0, plain)
        mask = np.concatenate(missing[f.name]) if missing[f.name] else np.empty(0, bool)
        out[f.name] = _series(data.astype(plain, copy=False), mask)
    return out


def _lengthened(data: np.ndarray[Any, Any], short: int) -> np.ndarray[Any, Any]:
    return np.concatenate([data, np.zeros(short, data.dtype)]) if short else data


def _series(data: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> pd.Series[Any]:
    """Make a column; with missing values a nullable one, in which NaN stays a number."""
    import pandas as pd

    if not mask.any():
        whole: pd.Series[Any] = pd.Series(data, dtype=data.dtype)
        return whole
    if data.dtype.char in _NULLABLE:
        kinds: dict[str, Any] = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
        array: Any = kinds.get(data.dtype.kind, pd.arrays.IntegerArray)(data, mask)
        nullable: pd.Series[Any] = pd.Series(array)
        return nullable
    held = data.astype(object)
    held[mask] = pd.NA
    objects: pd.Series[Any] = pd.Series(held, dtype=object)
    return objects


def _attrs(record: Record, held: Mapping[str, str]) -> dict[str, Any]:
    """Return all but the columns' values; ``held`` names the type that pandas has for each column."""

    def lose(name: str, why: str) -> None:
        warnings.warn(f"{record.source}: {name} is not in the DataFrame: {why}", stacklevel=5)

    said = memo.describe(record, lose)
    about = {n: c | {"held": held[n]} for n, c in said["columns"].items() if n in held}
    header: dict[str, Any] = {}
    for name, value in said["header"].items():
        header[name] = value["value"] if isinstance(value, dict) else value
        if isinstance(value, dict):
            about[name] = {k: v for k, v in value.items() if k != "value"}
    rest = {k: v for k, v in said.items() if k not in ("columns", "header", "key")}
    named = {f.name: f.attrs.get("units") for f in record.fields.values() if f.name in held or f.name in header}
    units = {name: value for name, value in named.items() if isinstance(value, str)}
    return {"key": dict(record.key), "units": units, "header": header, "nxconvert": rest | {"fields": about}}


def from_pandas(frame: pd.DataFrame) -> Record:
    """Make a record of a DataFrame; see ``Record.from_pandas``."""
    if any(name is not None for name in frame.index.names):
        attrs = frame.attrs
        frame = frame.reset_index()
        frame.attrs = attrs
    known = frame.attrs.get("nxconvert", {})
    about: Mapping[str, Any] = known.get("fields", {})
    units: Mapping[str, str] = frame.attrs.get("units", {})
    fields = [_field(_name(label), frame.iloc[:, i], about, units) for i, label in enumerate(frame.columns)]
    header = frame.attrs.get("header", {})
    fields += [_header_field(str(name), value, about, units) for name, value in header.items()]
    grid = known.get("grid") if len(frame) == _points(known.get("grid")) else None
    return Record(dict(frame.attrs.get("key", {})), by_name(fields), "DataFrame", known.get("mapping", ""), grid)


def _points(grid: Mapping[str, Any] | None) -> int:
    count = 1
    for n in (grid or {}).get("shape", ()):
        count *= int(n)
    return count if grid else -1


def _name(label: Any) -> str:
    return "/".join(str(p) for p in label if str(p)) if isinstance(label, tuple) else str(label)


def _described(name: str, about: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, Any]:
    """Return a field's attributes, role and axes; units as the frame has them now."""
    out = memo.about(about.get(name, {}))
    attrs = out["attrs"]
    if name in units or isinstance(attrs.get("units"), str):
        attrs = {k: v for k, v in attrs.items() if k != "units"}
    out["attrs"] = ({"units": str(units[name])} if name in units else {}) | attrs
    return out


def _field(name: str, series: pd.Series[Any], about: Mapping[str, Any], units: Mapping[str, str]) -> Field:
    said = about.get(name, {})
    ours = said.get("held") == str(series.dtype)
    values, missing = _values(name, series, nan=ours and named_type(said["dtype"]).kind in "fc")
    if ours:
        values = _restored(values, said["dtype"])
    mask = Values(missing) if missing.any() else None
    return Field(name, Values(values, values.dtype), per_row=True, mask=mask, **_described(name, about, units))


def _values(name: str, series: pd.Series[Any], *, nan: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a column's values with zero or an empty text for what is missing, and what is missing.

    Parameters
    ----------
    name, series
        The column.
    nan
        Whether NaN is a number among objects, as in a column that was made here; else it says that a value is missing.

    Raises
    ------
    InputError
        When the column is of a type that a record does not hold.
    """
    import pandas as pd

    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        series = series.astype(object)
        dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biufc":
        return series.to_numpy(), np.zeros(len(series), dtype=bool)
    missing = np.asarray(series.isna(), dtype=bool)
    if nan and dtype == object:
        missing = np.array([v is pd.NA for v in series], dtype=bool)
    number = getattr(dtype, "numpy_dtype", None)
    if number is not None and np.dtype(number).kind in "biuf":
        array: Any = series.array
        return array.to_numpy(dtype=number, na_value=number.type(0)), missing
    there = [v for v, m in zip(series, missing, strict=True) if not m]
    if all(isinstance(v, str) for v in there):
        held = ["" if m else v for v, m in zip(series, missing, strict=True)]
        return as_array(np.array(held, dtype=object), TEXT), missing
    if all(isinstance(v, bool | np.bool_) for v in there):
        return np.array([bool(v) if not m else False for v, m in zip(series, missing, strict=True)]), missing
    if all(isinstance(v, int | float | complex | np.number) and not isinstance(v, bool) for v in there):
        filled = [0 if m else v for v, m in zip(series, missing, strict=True)]
        return np.array(filled), missing
    raise InputError(
        f"the column {name!r} holds {dtype}, which a record does not hold",
        "make numbers or text of it, e.g. with .astype(str)",
    )


def _restored(values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Give values the type that they had in the record."""
    dtype = named_type(name)
    if is_text(values.dtype) and not is_text(dtype):
        return np.zeros(len(values), dtype)  # an object column in which everything is missing
    if dtype.kind == "S":
        raw = [v.encode("utf-8", "surrogateescape") for v in values]
        if any(len(v) > dtype.itemsize for v in raw):
            return values  # a longer text was put in
        out = np.empty(len(raw), dtype=dtype)
        out[...] = raw
        return out
    if is_text(dtype) and dtype != TEXT:
        return as_array([v.encode("utf-8", "surrogateescape") for v in values], dtype)
    return as_array(values, dtype)


def _header_field(name: str, value: Any, about: Mapping[str, Any], units: Mapping[str, str]) -> Field:
    described = _described(name, about, units)
    said = about.get(name, {})
    if "dtype" in said:
        restored = memo.header_fields({"header": {name: {**said, "value": value}}}, "DataFrame")[0]
        return Field(name, restored.values, source="DataFrame", **described)
    return Field(name, Values(value, TEXT if isinstance(value, str) else None), source="DataFrame", **described)
