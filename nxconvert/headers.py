"""Headers of many frames as values: what is the same in all of them once, what varies as a typed column.

A number is one only when the text is nothing else: ``1e-3`` and ``12`` are, ``12 13``, ``0x1f`` and ``1_000`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nxconvert.array import TEXT, Values
from nxconvert.dataclass import dataclass
from nxconvert.dissection import Entry
from nxconvert.record import Field

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII).fullmatch
_FLOAT = re.compile(r"(?ai)[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)").fullmatch
_INTEGERS, _FLOATS, _TEXTS = 0, 1, 2
_WIDEST = 15
"""Digits of an integer that any float holds."""
_LOWEST = -(2**63)
_DTYPES = (np.dtype(np.int64), np.dtype(np.float64), TEXT)


@dataclass(slots=True)
class Key:
    """What is known of one key after some headers.

    Attributes
    ----------
    name
        Its name; a second one of the same header has ``#2`` behind it.
    first
        The first value.
    unit
        The unit, empty when headers disagree.
    same
        Whether all values were the same.
    kind
        What holds all values: integers, floats or text.
    count
        How many headers had it.
    longest
        Bytes of the longest value as text.
    wide
        Whether some value is an integer that a float may not hold.
    """

    name: str
    first: str | int | float
    unit: str
    same: bool
    kind: int
    count: int = 0
    longest: int = 0
    wide: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return _DTYPES[self.kind]

    @property
    def attrs(self) -> dict[str, Any]:
        return {"units": self.unit} if self.unit else {}


class Keys:
    """The keys of many headers, learnt in one pass that keeps none of them."""

    def __init__(self) -> None:
        self.known: dict[str, Key] = {}
        self.headers = 0

    def add(self, header: Iterable[Entry]) -> None:
        """Learn from one header."""
        self.headers += 1
        known = self.known
        for name, value, unit in named(header):
            key = known.get(name)
            if key is None:
                wide = len(str(value)) > _WIDEST and _kind(value) == _INTEGERS
                known[name] = Key(name, value, unit, self.headers == 1, _kind(value), 1, _length(value), wide)
                continue
            key.count += 1
            if value == key.first and unit == key.unit and type(value) is type(key.first):
                continue
            if value != key.first or type(value) is not type(key.first):
                key.same = False
                if key.kind != _TEXTS:
                    kind = _kind(value)
                    key.wide = key.wide or (kind == _INTEGERS and len(str(value)) > _WIDEST)
                    key.kind = max(key.kind, kind)
                    if key.kind == _FLOATS and key.wide:
                        key.kind = _TEXTS
                key.longest = max(key.longest, _length(value))
            if unit != key.unit:
                key.unit = ""

    @property
    def constant(self) -> list[Key]:
        """Those that every header has, with one value."""
        return [key for key in self.known.values() if self._is_constant(key)]

    @property
    def varying(self) -> list[Key]:
        """All others."""
        return [key for key in self.known.values() if not self._is_constant(key)]

    def _is_constant(self, key: Key) -> bool:
        return key.same and key.count == self.headers

    def columns(
        self, headers: Sequence[Iterable[Entry]]
    ) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Return the values of the varying keys in some headers, by name: values, and whether each is missing."""
        varying = self.varying
        out = {key.name: (_empty(key, len(headers)), np.ones(len(headers), bool)) for key in varying}
        for row, header in enumerate(headers):
            for name, value, _ in named(header):
                if name in out:
                    values, missing = out[name]
                    values[row] = _of_kind(value, self.known[name].kind)
                    missing[row] = False
        return out


def named(header: Iterable[Entry]) -> Iterable[Entry]:
    """Give keys that come twice in a header names of their own."""
    entries = list(header)
    return entries if len({entry[0] for entry in entries}) == len(entries) else _numbered(entries)


def _numbered(entries: Sequence[Entry]) -> Iterator[Entry]:
    stated = {entry.key for entry in entries}
    seen: dict[str, int] = {}
    for entry in entries:
        n = seen.get(entry.key, 0) + 1
        while n > 1 and f"{entry.key}#{n}" in stated:
            n += 1
        seen[entry.key] = n
        yield entry if n == 1 else Entry(f"{entry.key}#{n}", entry.value, entry.unit)


def value_field(key: Key, source: str, name: str = "") -> Field:
    """Return a key that never varies as a header value."""
    value, dtype = _of_kind(key.first, key.kind), key.dtype
    if isinstance(value, str) and ("\0" in value or encoded(value) != value.encode("utf-8", "ignore")):
        value = encoded(value)  # what text of any length cannot hold
        dtype = fixed_text(len(value))
    return Field(name or key.name, Values(value, dtype), attrs=key.attrs, source=f"{source}::{key.name}")


def header_fields(headers: Sequence[Iterable[Entry]], source: str) -> list[Field]:
    """Return the headers of all frames of a record as fields.

    Parameters
    ----------
    headers
        One for each row.
    source
        The file, for messages.
    """
    keys = Keys()
    for header in headers:
        keys.add(header)
    columns = keys.columns(headers)
    fields = []
    for key in keys.known.values():
        if key.name not in columns:
            fields.append(value_field(key, source))
            continue
        values, missing = columns[key.name]
        mask = Values(missing) if missing.any() else None
        where = f"{source}::{key.name}"
        fields.append(Field(key.name, Values(values, key.dtype), True, attrs=key.attrs, mask=mask, source=where))
    return fields


def unfolded(header: Iterable[Entry], pairs: Mapping[str, tuple[str, str]]) -> Iterator[Entry]:
    """Replace keys that hold names and keys that hold their values, word by word, with an entry for each name.

    Parameters
    ----------
    header
        One header.
    pairs
        By the key of the names: the key of the values, and a template with ``{name}`` for the entries' keys.

    Yields
    ------
    Entry
        Pairs whose words are not equal in number are left as they are.
    """
    entries = list(header)
    paired = pairs.keys() | {values for values, _ in pairs.values()}
    found = {entry.key: str(entry.value).split() for entry in entries if entry.key in paired}
    whole = {
        names: (values, template)
        for names, (values, template) in pairs.items()
        if names in found and len(found[names]) == len(found.get(values, ()))
    }
    values = {v for v, _ in whole.values()}
    for entry in entries:
        if entry.key in whole:
            key, template = whole[entry.key]
            for name, value in zip(found[entry.key], found[key], strict=True):
                yield Entry(template.replace("{name}", name), value)
        elif entry.key not in values:
            yield entry


def encoded(text: str) -> bytes:
    """Return a text as the bytes that a file had."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def fixed_text(length: int) -> np.dtype[Any]:
    """Return the dtype of text of so many bytes."""
    return np.dtype(f"S{max(1, length)}", metadata={"h5py_encoding": "utf-8"})


def _kind(value: str | float) -> int:
    if isinstance(value, str):
        if _INTEGER(value):
            return _INTEGERS if len(value) < 19 or _LOWEST <= int(value[:40]) < -_LOWEST else _TEXTS
        return _FLOATS if _FLOAT(value) and _is_held(value) else _TEXTS
    if isinstance(value, int):
        return _INTEGERS if -(2**63) <= value < 2**63 else _TEXTS
    return _FLOATS


def _is_held(text: str) -> bool:
    """Tell whether a float holds a number: not when it is too large, or so small that nothing is left of it."""
    value = float(text)
    if value == 0:
        return not text.lower().partition("e")[0].strip("+-0.")
    return value - value == 0 or "n" in text.lower()


def _length(value: str | float) -> int:
    return len(value) if isinstance(value, str) and value.isascii() else len(encoded(str(value)))


def _of_kind(value: str | float, kind: int) -> Any:
    return str(value) if kind == _TEXTS else float(value) if kind == _FLOATS else int(value)


def _empty(key: Key, rows: int) -> np.ndarray[Any, Any]:
    if key.kind == _TEXTS:
        out = np.empty(rows, TEXT)
        out[:] = ""
        return out
    return np.full(rows, np.nan if key.kind == _FLOATS else 0, key.dtype)
