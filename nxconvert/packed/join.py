"""Joining: the columns of a scan, from a file of its own, beside the frames of the main record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nxconvert.array import Array, Values, decode, is_text
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.record import Field, Record

ON = ("row", "index", "file")


def joined(place: str, on: str, numbers: Sequence[int], names: Sequence[str], report: Report) -> list[Field]:
    """Return the columns of a scan, one value for each frame, and its header values.

    Parameters
    ----------
    place
        ``FILE`` or ``FILE::SCAN``; a file of one scan needs no name.
    on
        ``row``: the nth row is of the nth frame. ``index``: the first column whose values are whole numbers holds the
        index of the frame. ``file``: some column of text holds the names of the files.
    numbers, names
        For each frame its index and the name of its file.
    report
        Told which frames have no row.

    Raises
    ------
    InputError
        When there is no such scan, or its rows and the frames cannot be told to belong together.
    """
    record = _scan(place, report)
    rows = _rows(record, on, numbers, names)
    gone = [row < 0 for row in rows]
    if all(gone):
        raise InputError(f"{record.source}: none of its rows is of a frame", f"--on {on} may be the wrong way")
    if any(gone):
        report.notice(f"{record.source}: {sum(gone)} of {len(rows)} frames have no row; their values are missing")
    fields = []
    for f in record.fields.values():
        name = f"scan/{f.name}"
        if not f.per_row:
            fields.append(replace(f, name=name, role=None))
        elif not f.item_shape:
            fields.append(_column(f, name, rows))
        else:
            report.lose(f.name, f.source, "only columns of single values are joined")
    return fields


def found(pattern: str, folder: Path, report: Report) -> Path | None:
    """Return the file that a mapping names as a source, in the folder of the data; None, with a warning, for none.

    Raises
    ------
    InputError
        When several match, or it leads out of the folder.
    """
    there = sorted(p for p in folder.glob(pattern) if p.is_file())
    if not there:
        report.notice(f"{folder} has no {pattern}, whose columns the mapping wants beside the frames")
        return None
    if len(there) > 1:
        raise InputError(
            f"{folder}: {len(there)} files match {pattern}", "let file: of the mapping's sources say which"
        )
    if not there[0].resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{there[0]} leads out of the folder of the data", "copy it there, or name it with --join")
    return there[0]


def _scan(place: str, report: Report) -> Record:
    from nxconvert.conversion import Plan, open_records
    from nxconvert.location import Location

    file, _, scan = place.partition("::")
    with open_records(Location(file), Plan(), report) as records:
        found = [r for r in records if not scan or scan.strip("/") in (r.name, *r.key.values())]
        if len(found) != 1:
            known = ", ".join(r.name for r in (found or records)) or "one without a name"
            what = f"has no scan {scan}" if scan and not found else f"has {len(found)} scans"
            raise InputError(f"{file} {what}", f"--join {file}::SCAN says which; there are {known}")
        return _held(found[0])


def _held(record: Record) -> Record:
    """Read a record into memory, since its file is closed."""
    held: list[Field] = []
    for f in record.fields.values():
        values: Array = Values(f.values.read(), f.dtype)
        mask = None if f.mask is None else Values(f.mask.read())
        held.append(replace(f, values=values, mask=mask))
    return record.with_fields(held)


def _rows(record: Record, on: str, numbers: Sequence[int], names: Sequence[str]) -> list[int]:
    """Return the row of the scan for each frame, -1 for none."""
    length = record.rows or 0
    if on == "row":
        if length != len(numbers):
            raise InputError(
                f"{record.source} has {length} rows, and there are {len(numbers)} frames",
                "--on index or --on file say which belong together",
            )
        return list(range(length))
    scalars = [f for f in record.columns if not f.item_shape]
    if on == "index":
        for f in scalars:
            values = f.values.read()
            if f.dtype.kind in "iuf" and len(values) and (values == np.floor(values)).all():
                where = {int(v): i for i, v in enumerate(values)}
                if len(where) == len(values) and any(n in where for n in numbers):
                    return [where.get(n, -1) for n in numbers]
        raise InputError(f"{record.source} has no column of the frames' indices")
    for f in scalars:
        if is_text(f.dtype):
            stems = {_stem(t): i for i, t in enumerate(decode(f.values.read()).tolist())}
            if any(_stem(n) in stems for n in names):
                return [stems.get(_stem(n), -1) for n in names]
    raise InputError(f"{record.source} has no column of the files' names")


def _stem(name: str) -> str:
    """Return a file's name without folder and extension."""
    base = re.split(r"[/\\]", str(name).strip())[-1]
    return re.sub(r"\.[A-Za-z]\w*$", "", base)


def _column(f: Field, name: str, rows: Sequence[int]) -> Field:
    values = f.values.read()
    index = np.array(rows)
    there = (index >= 0) & (index < len(values))
    chosen = values[np.where(there, index, 0)] if len(values) else np.zeros(len(rows), values.dtype)
    out = np.empty(len(rows), f.dtype)
    out[...] = chosen
    gone = ~there
    if f.mask is not None:
        gone = gone | f.mask.read()[np.where(there, index, 0)]
    mask = Values(gone) if gone.any() else None
    return Field(name, Values(out, f.dtype), True, attrs=f.attrs, mask=mask, source=f.source)
