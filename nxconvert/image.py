"""A file of images as records, by its dissection: frames that are read one by one, headers as values and columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nxconvert import memo
from nxconvert.array import Array, Box, Values, as_array, decode, full_box, is_text, named_type
from nxconvert.dissection import Content, Dissection, Entry, FileContent, Frame, pixels
from nxconvert.errors import InputError
from nxconvert.format import Location, Policy, Records, Report
from nxconvert.headers import header_fields
from nxconvert.record import Field, Record, Role, by_name

FRAME = "data"
"""The name of the frames of a file that does not say it."""

MEMO = "nxconvert"
"""The key of the memo in the header of the first frame."""


class ImageRecords(Records):
    """The records of a file of images: one for each shape and type of its frames.

    Parameters
    ----------
    dissect
        The format's.
    content
        The file's bytes, when they are in memory.

    Raises
    ------
    InputError
        When the file is damaged.
    """

    def __init__(
        self,
        location: Location,
        policy: Policy,
        report: Report,
        dissect: Callable[[Content], Dissection],
        content: Content | None = None,
    ) -> None:
        self.path, self.policy, self.report = location.path, policy, report
        self.content = content or FileContent(self.path)
        try:
            self.found = dissect(self.content)
            self.groups = grouped(self.found.frames)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.content.close()

    def keys(self) -> list[Mapping[str, str]]:
        return [self._key(numbers) for numbers in self.groups]

    def _key(self, numbers: Sequence[int]) -> Mapping[str, str]:
        if len(self.groups) > 1:
            return {"frames": ",".join(map(str, numbers)) if len(numbers) < 5 else f"{numbers[0]}-{numbers[-1]}"}
        key = (self._memo(numbers) or {}).get("key", {})
        return dict(key)

    def _memo(self, numbers: Sequence[int]) -> dict[str, Any] | None:
        for entry in self.found.frames[numbers[0]].header:
            if entry.key == MEMO:
                return memo.loads(str(entry.value))
        return None

    def __iter__(self) -> Iterator[Record]:
        for numbers in self.groups:
            frames = StoredFrames(self.content, self.found, numbers, self.policy.memory)
            headers = [[*self.found.header, *self.found.frames[n].header] for n in numbers]
            known = self._memo(numbers)
            if known is not None and len(self.groups) == 1 and known.get("frames"):
                yield described(known, headers, frames, str(self.path))
                continue
            fields = header_fields(headers, str(self.path))
            attrs = {"interpretation": "rgb-image" if len(frames.shape) == 4 else "image"}
            where = f"{self.path}::{FRAME}"
            data = Field(FRAME, frames, True, role=Role.SIGNAL, guessed=True, attrs=attrs, source=where)
            fields = [f for f in fields if f.name != FRAME]
            yield Record(self._key(numbers), by_name([*fields, data]), source=str(self.path))


def grouped(frames: Sequence[Frame]) -> list[list[int]]:
    """Return the numbers of the frames of each shape and type, in the order of the first ones."""
    groups: dict[Any, list[int]] = {}
    for number, frame in enumerate(frames):
        groups.setdefault((frame.shape, frame.dtype.str), []).append(number)
    return list(groups.values())


class StoredFrames(Array):
    """Some frames of a file, which have one shape and type.

    Parameters
    ----------
    content
        The file's bytes.
    found
        What it is made of.
    numbers
        The frames, by row.
    budget
        Bytes that one of them may take.
    """

    __slots__ = ("_content", "_found", "_native", "_numbers")

    def __init__(self, content: Content, found: Dissection, numbers: Sequence[int], budget: int) -> None:
        self._content, self._found, self._numbers = content, found, numbers
        first = found.frames[numbers[0]]
        self._native = first.dtype.newbyteorder("=")
        if first.nbytes > budget:
            raise InputError(f"{content.name}: a frame takes {first.nbytes:,} bytes", "give more with --memory")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._numbers), *self._found.frames[self._numbers[0]].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._native

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *inner = full_box(box, self.shape)
        out = np.empty((max(0, rows.stop - rows.start), *self.shape[1:]), self._native)
        for i in range(len(out)):
            out[i] = pixels(self._content, self._found, self._numbers[rows.start + i])
        return out[(slice(None), *inner)]


def described(known: Mapping[str, Any], headers: Sequence[Iterable[Entry]], frames: Array, source: str) -> Record:
    """Return the record that a memo describes, whose columns are in the headers of the frames as ``cell`` wrote them.

    Raises
    ------
    InputError
        When the memo is damaged, or the file's frames are no longer those that it was written with.
    """
    name = str(known["frames"])
    rows = [{entry.key: str(entry.value) for entry in header} for header in headers]
    try:
        columns = known["columns"]
        if columns[name].get("length", known.get("rows", len(rows))) != len(rows):
            raise ValueError(f"{len(rows)} frames are there")
        fields = memo.header_fields(known, source)
        for column, facts in columns.items():
            dtype = named_type(facts["dtype"])
            where = f"{source}::{column}"
            if column == name:
                array: Array = frames if dtype == frames.dtype else Values(frames.read().astype(dtype), dtype)
                gone = [row.get(_MISSING) == "frame" for row in rows]
            else:
                n = facts.get("length", len(rows))
                cells = [row.get(safe_key(column)) for row in rows[:n]]
                gone = [value is None for value in cells]
                array = Values(_parsed(cells, dtype, tuple(facts.get("item", ()))), dtype)
            mask = Values(np.array(gone)) if any(gone) else None
            fields.append(Field(column, array, per_row=True, mask=mask, source=where, **memo.about(facts)))
        mapping, grid = str(known.get("mapping", "")), known.get("grid")
        return Record(dict(known.get("key", {})), by_name(fields), source=source, mapping=mapping, grid=grid)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{source}: the description in its header does not fit its frames: {error}",
            f"remove the key {MEMO!r} from the header to read plain values",
        ) from None


_MISSING = "nxconvert_missing"


def row_entries(columns: Mapping[str, np.ndarray[Any, Any]], frame: str, row: int) -> Iterator[tuple[str, str]]:
    """Yield the keys and texts that carry one row of a block in the header of its frame; missing values have none.

    Parameters
    ----------
    columns
        The block's columns.
    frame
        The name of the one that holds the frames.
    row
        Which row of the block.
    """
    for name, values in columns.items():
        if row >= len(values):
            continue
        gone = isinstance(values, np.ma.MaskedArray) and bool(np.ma.getmaskarray(values)[row].all())
        if name == frame:
            if gone:
                yield _MISSING, "frame"
        elif not gone:
            yield safe_key(name), cell(np.ma.getdata(values)[row], values.dtype)


def cell(value: Any, dtype: np.dtype[Any]) -> str:
    """Write one value of a column, so that it comes back exactly."""
    if is_text(dtype):
        text = str(decode(np.array(value, dtype))[()])
        plain = text.isascii() and text.isprintable() and text.strip() == text and text and not set(text) & set('";{}#')
        return text if plain else _quoted(text)
    array = np.asarray(value)
    if array.ndim:
        return " ".join(_number(v) for v in array.ravel())
    return _number(array[()])


def _quoted(text: str) -> str:
    """Write a text as JSON without signs that mean something in a header."""
    out = json.dumps(text)
    for sign in ";{}#":
        out = out.replace(sign, f"\\u{ord(sign):04x}")
    return out


def _number(value: Any) -> str:
    if isinstance(value, np.bool_ | bool):
        return "1" if value else "0"
    if isinstance(value, np.complexfloating):
        return f"{value.real!s}{'+' if not str(value.imag).startswith('-') else ''}{value.imag!s}j"
    return str(value)


def _parsed(cells: Sequence[str | None], dtype: np.dtype[Any], item: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Read a column; what is missing becomes zero or an empty text."""
    if is_text(dtype):
        texts = [json.loads(c) if c is not None and c.startswith('"') else c or "" for c in cells]
        if dtype.kind == "S":
            return np.array([t.encode("utf-8", "surrogateescape") for t in texts], dtype).reshape(len(cells))
        return as_array(np.array(texts, object), dtype)
    out = np.zeros((len(cells), *item), dtype)
    bare = np.dtype(dtype.str)
    for row, text in enumerate(cells):
        if text is not None:
            words = [bare.type(int(w)) if bare.kind in "biu" else bare.type(w) for w in text.split()]
            out[row] = np.array(words, bare).reshape(item)
    return out


def safe_key(name: str) -> str:
    """Write a name as a key of a header that has no blanks and no signs that mean something there; reversible."""
    if name in (MEMO, _MISSING):
        return f"%{ord(name[0]):02X}{name[1:]}"
    good = "_-./:@+"
    return "".join(c if (c.isascii() and c.isalnum()) or c in good else f"%{b:02X}" for c in name for b in _bytes(c))


def _bytes(c: str) -> bytes:
    return c.encode("utf-8", "surrogateescape") if not (c.isascii() and c.isalnum()) else c.encode()
