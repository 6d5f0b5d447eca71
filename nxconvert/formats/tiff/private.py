"""What a TIFF's memo carries besides the common part: columns of scalars, missing frames, how values were cast."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from nxconvert.array import Array, Values, decode, is_text, named_type
from nxconvert.errors import InputError

KEY = "tiff"
_LONGEST = 1000


def packed(values: np.ndarray[Any, Any]) -> Any:
    """Return a column as JSON: its numbers when they are few and plain, else its compressed bytes in base 64."""
    if is_text(values.dtype):
        return decode(values).tolist()
    plain = values.dtype.kind in "biu" or (values.dtype.kind == "f" and values.dtype.itemsize <= 8)
    if plain and len(values) <= _LONGEST and (values.dtype.kind != "f" or np.isfinite(values).all()):
        return values.tolist()
    raw = zlib.compress(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes(), 6)
    return {"zlib": base64.b64encode(raw).decode("ascii"), "rows": len(values)}


def unpacked(value: Any, dtype: np.dtype[Any], where: str) -> np.ndarray[Any, Any]:
    """Return the column that ``packed`` made.

    Raises
    ------
    InputError
        When it is damaged.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        if isinstance(value, Mapping):
            raw = zlib.decompress(base64.b64decode(value["zlib"], validate=True))
            out = np.frombuffer(raw, dtype.newbyteorder("<"))
            if len(out) != value["rows"]:
                raise ValueError(f"{len(out)} rows for {value['rows']}")
            return _typed(out, dtype)
        if dtype.kind == "S":
            return np.array([v.encode("utf-8", "surrogateescape") for v in value], dtype)
        return _typed(np.array(value, dtype), dtype)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, zlib.error) as error:
        raise InputError(f"{where}: the column in the header is damaged: {error}") from None


def _typed(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    out = np.empty(values.shape, dtype)
    out[...] = values
    return out


class Restored(Array):
    """Frames as they were before they were cast for the file: ``stored * scale + offset``, in the first dtype.

    It is not exact to the bit: the file holds as many steps as its integers have.
    """

    __slots__ = ("_array", "_dtype", "_offset", "_scale")

    def __init__(self, array: Array, about: Mapping[str, Any], dtype: np.dtype[Any]) -> None:
        self._array, self._dtype = array, dtype
        self._scale, self._offset = about.get("scale"), about.get("offset", 0.0)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def read(self, box: tuple[slice, ...] | None = None) -> np.ndarray[Any, Any]:
        values = self._array.read(box)
        if self._scale is not None:
            values = values.astype(np.float64) * float(self._scale) + float(self._offset)
            if self._dtype.kind in "iu":
                limits = np.iinfo(self._dtype)
                values = np.clip(np.rint(values), limits.min, limits.max)
                # the float nearest to the largest 64-bit integer lies beyond it
                over = values >= float(limits.max)
                out = np.where(over, 0, values).astype(self._dtype)
                out[over] = limits.max
                return out
        return _typed(values, self._dtype)


def frames_as_before(array: Array, about: Mapping[str, Any], name: str) -> Array:
    """Return the frames with the dtype that they had, by the memo of their column."""
    try:
        dtype = named_type(about["dtype"])
    except (KeyError, TypeError):
        raise InputError(f"the type of {name!r} in the header is damaged") from None
    if dtype == array.dtype and dtype.metadata is None and "cast" not in about:
        return array
    return Restored(array, about.get("cast", {}), dtype)


def mask_of(rows: Any, n: int) -> Values | None:
    """Return the mask of the rows that a memo lists as missing."""
    if not rows:
        return None
    mask = np.zeros(n, bool)
    mask[[r for r in rows if isinstance(r, int) and 0 <= r < n]] = True
    return Values(mask)
