"""What the names of packed files say of their frames, by the pattern of a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nxconvert.array import Lazy, Values
from nxconvert.dissection import Entry
from nxconvert.format import Report
from nxconvert.headers import Key, Keys, encoded, fixed_text
from nxconvert.mapping.filename import FilePattern, own_value
from nxconvert.record import Field
from nxconvert.series import Catalogue, FrameRecord


def named_fields(catalogue: Catalogue, record: FrameRecord, pattern: FilePattern | None, report: Report) -> list[Field]:
    """Return what the names of a record's files say: header values where it is the same in all, else columns.

    Raises
    ------
    InputError
        When a name can be read in two ways.
    """
    if pattern is None:
        return []
    keys, others = Keys(), 0
    for file in record.files:
        said = pattern.match(catalogue.files[file].path)
        keys.add([Entry(name, value) for name, value in (said or {}).items()])
        others += said is None
    if others:
        what = f"{others:,} of {len(record):,} frames are of files whose names are not"
        report.notice(f"{printable(record.series)}: {what} like {pattern.text!r} of {pattern.where}")
    constant = {key.name for key in keys.constant}
    return [
        Field(key.name, Values(key.first), source=record.series)
        if key.name in constant
        else _column(catalogue, record, pattern, key)
        for key in keys.known.values()
    ]


def check_names(catalogue: Catalogue, pattern: FilePattern | None) -> None:
    """Look at the names of all images before a frame is packed.

    Raises
    ------
    InputError
        When one can be read in two ways.
    """
    if pattern is not None:
        for record in catalogue.records:
            for file in record.files:
                pattern.match(catalogue.files[file].path)


def _column(catalogue: Catalogue, record: FrameRecord, pattern: FilePattern, key: Key) -> Field:
    """Return what the names say of each frame, read from them again when it is wanted."""
    text = isinstance(key.first, str)
    dtype = fixed_text(key.longest) if text else np.asarray(key.first).dtype

    def said(rows: slice) -> list[dict[str, Any] | None]:
        return [pattern.match(catalogue.files[f].path) for f in record.files[rows]]

    def read(box: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        found: list[Any] = [one[key.name] if one is not None else "" if text else 0 for one in said(box[0])]
        out = np.empty(len(found), dtype)
        out[:] = [encoded(value) for value in found] if text else found
        return out

    mask = None
    if key.count < len(record):
        mask = Values(np.array([one is None for one in said(slice(None))]))
    return Field(key.name, Lazy((len(record),), dtype, read), True, mask=mask, source=record.series)


def unsaid(said: Sequence[Field], fields: Sequence[Field], report: Report) -> Iterator[Field]:
    """Yield the fields that only the names of files say; what the files say themselves counts for more."""
    own = {f.name: f for f in fields}
    for f in said:
        if f.name not in own:
            yield f
        elif own_value(f) is None or str(own_value(own[f.name])) != str(own_value(f)):
            report.notice(
                f"{printable(f.source)}: the files say {f.name} themselves, and not what their names say: the former "
                "counts"
            )


def printable(name: str) -> str:
    """Return a name as text; what is no UTF-8 in it is replaced."""
    return encoded(name).decode("utf-8", "replace")
