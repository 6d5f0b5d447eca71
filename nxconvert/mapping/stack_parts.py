"""What records of a stack have for one of its rules, and what holds all of it: types, units, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from nxconvert.array import Array, decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import UsageError
from nxconvert.mapping.model import Rule
from nxconvert.mapping.stated import EXACT_DTYPES
from nxconvert.record import Field

Numbers = np.ndarray[Any, Any]

LOOKED_AT = 16 << 20
"""Bytes of frames that are looked at at once."""


@dataclass
class Column:
    """What one record has for one rule: values, or the place of its frames."""

    values: Numbers | None
    gone: Numbers | None
    attrs: Mapping[str, Any]
    dtype: np.dtype[Any]
    item: tuple[int, ...] = ()
    path: str = ""
    source: str = ""
    whole: tuple[int, int] | None = None
    """The lowest and highest value of frames of floats that are whole numbers, all of them."""


def shared_attrs(columns: Sequence[Column], rule: Rule) -> dict[str, Any]:
    """Return the attributes that all parts have, and refuse units that differ."""
    units = {str(c.attrs["units"]) for c in columns if c.attrs.get("units")}
    if len(units) > 1:
        raise UsageError(
            f"{columns[0].source}: {rule.file.field} of one stack is in {', '.join(sorted(units))}",
            f"state units: in {rule.where}",
        )
    first = columns[0].attrs
    same = {k: v for k, v in first.items() if all(k in c.attrs and np.array_equal(c.attrs[k], v) for c in columns)}
    return {**same, "units": units.pop()} if units else same


def one_type(values: list[Numbers], columns: Sequence[Column], rule: Rule) -> list[Numbers]:
    """Return columns in a type that holds all of them."""
    kinds = {is_text(c.dtype) for c in columns}
    if kinds == {True}:
        return values
    if len(kinds) > 1:
        raise UsageError(
            f"{columns[0].source}: {rule.file.field} is text in one record of a stack and numbers in another"
        )
    dtype = np.result_type(*(v.dtype for v in values))
    for v, c in zip(values, columns, strict=True):
        if not np.array_equal(v.astype(dtype).astype(v.dtype), v, equal_nan=v.dtype.kind == "f"):
            raise UsageError(
                f"{c.source}: {rule.file.field} has values that no {dtype.name} holds", "state another dtype"
            )
    return [v.astype(dtype) for v in values]


def frames_type(columns: Sequence[Column], rule: Rule, main: Column) -> np.dtype[Any]:
    """Return the type of a view: that of the main record when it holds all values, else one that does."""
    stated = np.dtype(rule.file.dtype) if rule.file.dtype in EXACT_DTYPES else main.dtype
    if all(_holds(stated, c) for c in columns):
        return stated
    dtype = np.result_type(*(c.dtype for c in columns))
    for c in columns:
        if rule.file.dtype or not _holds(dtype, c):
            raise UsageError(
                f"{c.source}: frames of {', '.join(sorted({c.dtype.name for c in columns}))} do not all fit "
                f"{(stated if rule.file.dtype else dtype).name}, the type of the stack",
                "state a wider dtype, or write the records without a stack",
            )
    return dtype


def _holds(dtype: np.dtype[Any], column: Column) -> bool:
    """Tell whether a type holds all values of frames."""
    other = column.dtype
    if dtype.kind == "f" and other.kind in "iu":
        return bool(8 * other.itemsize <= np.finfo(dtype).nmant + 1)
    if dtype.kind in "iu" and column.whole is not None:
        limits = np.iinfo(dtype)
        return int(limits.min) <= column.whole[0] and column.whole[1] <= int(limits.max)
    return bool(np.can_cast(other, dtype, "safe"))


def whole_numbers(frames: Array) -> tuple[int, int] | None:
    """Return the lowest and highest value of frames when all are whole numbers, else None."""
    low, high = 0, 0
    size = max(1, frames.dtype.itemsize * (frames.size // max(1, frames.shape[0])))
    step = max(1, LOOKED_AT // size)
    for start in range(0, frames.shape[0], step):
        values = frames.read((slice(start, min(start + step, frames.shape[0])),))
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            return None
        low, high = min(low, int(values.min(initial=0))), max(high, int(values.max(initial=0)))
    return low, high


def times_of(f: Field | None, rows: int) -> Numbers | None:
    """Return when each row was taken, as numbers; None when that is not known of all."""
    if (
        f is None
        or (f.per_row and (f.item_shape or f.shape[0] != rows))
        or (not f.per_row and f.shape not in ((), (1,)))
    ):
        return None
    if f.mask is not None and f.mask.read().any():
        return None
    values = f.values.read()
    numbers = _seconds(decode(values).reshape(-1)) if is_text(f.dtype) else values.reshape(-1)
    if numbers is None or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        return None
    out = numbers.astype(np.float64)
    return out if f.per_row else np.full(rows, out[0])


def _seconds(texts: Numbers) -> Numbers | None:
    """Return the seconds of times as ISO 8601 writes them; None when one is none."""
    try:
        return np.array([datetime.fromisoformat(str(t)).timestamp() for t in texts])
    except (ValueError, OverflowError, OSError):
        return None
