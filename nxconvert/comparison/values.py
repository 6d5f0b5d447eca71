"""Where two arrays differ, block by block: the first place with both values, how many, and by how much.

Exactly means: equal bits, so 0.0 is not -0.0; but NaN is NaN, whatever its payload. Text of any kind (fixed or of any
length, ASCII or UTF-8) compares as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nxconvert.array import Array, decode, enum_of, is_number, is_text, type_name
from nxconvert.dataclass import dataclass
from nxconvert.tree import Ref

Values = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between A and B.

    Attributes
    ----------
    where
        Path of a node, or name of a field; an attribute is ``PATH@NAME``, an item ``PATH[3, 0]``.
    kind
        ``missing`` (in one of them), ``type``, ``shape``, ``value``, ``attribute``, ``link`` or ``role``.
    a, b
        What is there in A and in B, in words; empty where nothing is.
    note
        How many values differ, and by how much.
    """

    where: str
    kind: str
    a: str = ""
    b: str = ""
    note: str = ""

    def __str__(self) -> str:
        if not self.b or not self.a:
            said = f"only in {'A' if self.a else 'B'}: {self.a or self.b}"
        else:
            said = f"{self.a} in A, {self.b} in B"
        kind = f"{self.kind} " if self.kind in ("type", "shape", "role") else ""
        return f"{self.where}: {kind}{said}{f' ({self.note})' if self.note else ''}"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far numbers may be apart: ``|a - b| <= atol + rtol * max(|a|, |b|)``.

    With neither, numbers must be equal bit by bit and of the same type. With one, 1 and 1.0 are equal, and so are
    0.0 and -0.0.
    """

    rtol: float = 0.0
    atol: float = 0.0

    @property
    def exact(self) -> bool:
        return not self.rtol and not self.atol


EXACT = Tolerance()


def type_of(dtype: np.dtype[Any]) -> str:
    """Name a type for a comparison; bytes whose encoding is not stated are ASCII, as HDF5 has it."""
    return type_name(dtype).replace(":ascii", "")


def same_type(a: np.dtype[Any], b: np.dtype[Any], tolerance: Tolerance) -> bool:
    """Tell whether two types are equal; with a tolerance all types of numbers are."""
    if not tolerance.exact and _numeric(a) and _numeric(b) and enum_of(a) == enum_of(b):
        return True
    return type_of(a) == type_of(b)


def _numeric(dtype: np.dtype[Any]) -> bool:
    return is_number(dtype) or dtype.kind == "c"


def comparable(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Tell whether values of two types can be compared at all."""
    if a.names is not None or b.names is not None:
        return a.names == b.names and all(comparable(a[n].base, b[n].base) for n in a.names or ())
    if is_text(a) or is_text(b):
        return is_text(a) and is_text(b)
    return (_numeric(a) and _numeric(b)) or (a.kind == b.kind and (a.kind != "V" or a.itemsize == b.itemsize))


Same = Callable[[Any, Any], bool]
"""Tells whether two objects that are no values, such as references into a file, are equal."""


def plainly_same(a: Any, b: Any) -> bool:
    """Compare objects that know how they are compared.

    Raises
    ------
    TypeError
        When one is a reference that only its file can follow.
    """
    if all(v is None or isinstance(v, Ref | str | bytes | bool | int | float) for v in (a, b)):
        return bool(a == b)
    raise TypeError(f"values of type {type(a).__name__} cannot be compared")


def unequal(a: Values, b: Values, tolerance: Tolerance = EXACT, same: Same = plainly_same) -> Values:
    """Tell for each item whether it differs.

    Parameters
    ----------
    a, b
        Arrays of one shape whose types are ``comparable``.
    tolerance
        How far numbers may be apart.
    same
        Compares objects such as references.

    Returns
    -------
    numpy.ndarray
        Booleans of that shape.

    Raises
    ------
    TypeError
        When items are of a kind that cannot be compared, such as references into a file.
    """
    if a.dtype.names is not None:
        out = np.zeros(a.shape, dtype=bool)
        for name in a.dtype.names:
            part = unequal(a[name], b[name], tolerance, same)
            out |= part.reshape(*a.shape, -1).any(axis=-1) if part.ndim > a.ndim else part
        return out
    if is_text(a.dtype):
        return np.asarray(decode(a) != decode(b), dtype=bool).reshape(a.shape)
    kind = a.dtype.kind
    if kind == "O":
        return _unequal_objects(a, b, tolerance, same)
    if kind in "VmM" or (a.dtype == b.dtype and (not a.size or _bits(a, b))):
        return np.zeros(a.shape, dtype=bool) if not a.size or _bits(a, b) else _unequal_bytes(a, b)
    if kind == "c" or b.dtype.kind == "c":
        return unequal(a.real, b.real, tolerance) | unequal(a.imag, b.imag, tolerance)
    if not tolerance.exact:
        return _apart(a, b, tolerance)
    if kind == "f" and b.dtype.kind == "f":
        alike = (np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b)))
        return np.asarray(~alike)
    return np.asarray(a != b, dtype=bool)


def _bits(a: Values, b: Values) -> bool:
    """Tell whether two arrays of one type are equal byte for byte, which most that are compared are."""
    left, right = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    return bool(np.array_equal(left.view(np.uint8), right.view(np.uint8)))


def _unequal_bytes(a: Values, b: Values) -> Values:
    def items(values: Values) -> Values:
        flat = np.ascontiguousarray(values).reshape(-1)
        return flat.view(np.uint8).reshape(len(flat), flat.dtype.itemsize)

    return np.asarray((items(a) != items(b)).any(axis=1)).reshape(a.shape)


def _unequal_objects(a: Values, b: Values, tolerance: Tolerance, same: Same) -> Values:
    out = np.zeros(a.shape, dtype=bool)
    for index in np.ndindex(a.shape):
        x, y = a[index], b[index]
        if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
            out[index] = x.shape != y.shape or bool(unequal(x, y, tolerance, same).any())
        else:
            out[index] = not same(x, y)
    return out


def _apart(a: Values, b: Values, tolerance: Tolerance) -> Values:
    kind = np.result_type(a.dtype, b.dtype, np.float64)
    x, y = a.astype(kind), b.astype(kind)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(x - y) <= tolerance.atol + tolerance.rtol * np.maximum(np.abs(x), np.abs(y))
    near &= np.isfinite(x) & np.isfinite(y)
    return np.asarray(~(near | (a == b) | (np.isnan(x) & np.isnan(y))))


class Tally:
    """Counts what differs in two arrays, one block after the other.

    Attributes
    ----------
    count, total
        How many values differ, of how many.
    """

    def __init__(self, tolerance: Tolerance = EXACT, same: Same = plainly_same) -> None:
        self.tolerance, self.same = tolerance, same
        self.count = self.total = 0
        self.largest = 0.0
        self._first: tuple[tuple[int, ...], str, str] | None = None

    def add(self, a: Values, b: Values, place: Callable[[tuple[int, ...]], tuple[int, ...]]) -> None:
        """Take a block.

        Parameters
        ----------
        a, b
            Values of one shape.
        place
            Turns an index in the block into one in the array.
        """
        wrong = unequal(a, b, self.tolerance, self.same)
        self.total += wrong.size
        count = int(np.count_nonzero(wrong))
        if not count:
            return
        self.count += count
        if self._first is None:
            index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
            self._first = (place(index), shown(a[index]), shown(b[index]))
        if is_number(a.dtype) and is_number(b.dtype):
            with np.errstate(invalid="ignore", over="ignore"):
                apart = np.abs(a[wrong].astype(np.float64) - b[wrong].astype(np.float64))
            self.largest = max(self.largest, float(apart.max(initial=0.0, where=np.isfinite(apart))))

    def found(self, where: str, kind: str = "value") -> Difference | None:
        """Return the difference, or None when there is none."""
        if self._first is None:
            return None
        index, a, b = self._first
        at = f"[{', '.join(map(str, index))}]" if index else ""
        note = f"{self.count:,} of {self.total:,} values differ" if self.total > 1 else ""
        if self.largest and self.total > 1:
            note += f", by up to {self.largest:.3g}"
        return Difference(f"{where}{at}", kind, a, b, note)


def shown(value: Any, width: int = 60) -> str:
    """Write a value in a line of at most ``width`` characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, np.ndarray):
        flat = value.reshape(-1)[:5]
        text = f"[{', '.join(shown(v) for v in flat)}{', ...' if value.size > 5 else ''}]"
    elif isinstance(value, np.generic) and not isinstance(value, np.str_ | np.void):
        text = str(value)
    elif isinstance(value, np.void) and value.dtype.names:
        text = f"({', '.join(f'{n}={shown(value[n])}' for n in value.dtype.names)})"
    elif isinstance(value, np.void):
        text = f"0x{value.tobytes()[:width].hex()}"
    elif isinstance(value, str):
        text = repr(str(value))
    else:
        text = value.path if isinstance(value, Ref) else str(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def array_difference(
    where: str, a: Array, b: Array, tolerance: Tolerance, budget: int, same: Same = plainly_same
) -> Difference | None:
    """Compare the values of two arrays of one shape, box by box within a budget of bytes."""
    from nxconvert.engine.transfer import boxes

    tally = Tally(tolerance, same)
    for box in boxes(a, budget // 4):
        start = tuple(s.start for s in box)
        tally.add(
            a.read(box),
            b.read(box),
            lambda index, start=start: tuple(i + s for i, s in zip(index, start, strict=True)),  # type: ignore[misc]
        )
    return tally.found(where)
