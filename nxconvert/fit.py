"""Fitting a record to what a format holds: grids as rows, tables without images, stacks for image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from nxconvert import grid
from nxconvert.array import Lazy, is_number, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import Loss
from nxconvert.format import Holds, Report
from nxconvert.record import Field, Record, Role


@dataclass(frozen=True)
class Fitted:
    """A record that fits, and what its output's name must add to tell it from others of the same record."""

    record: Record
    part: str = ""


def fit(
    record: Record, holds: Holds, report: Report, include: Sequence[str] = (), *, matrix: bool = False
) -> list[Fitted]:
    """Make of a record what a format can hold.

    Parameters
    ----------
    record
        The record.
    holds
        What the format holds.
    report
        Told what is left out.
    include
        Names (globs) of spectra and images that are wanted in a table, each in a file of its own.
    matrix
        Whether a two-dimensional signal becomes a matrix, one column for each value of its second axis, and not a
        long table.

    Returns
    -------
    list of Fitted
        Empty when nothing of the record fits.
    """
    if holds.min_item_rank:
        return _stacks(record, holds, report)
    return _tables(record, holds, report, include, matrix=matrix)


def _tables(record: Record, holds: Holds, report: Report, include: Sequence[str], *, matrix: bool) -> list[Fitted]:
    wanted = [f for f in record.columns if any(fnmatchcase(f.name, p) for p in include)]
    whole = holds.item_rank >= 2  # arrays of any rank, images too, as they are
    table = record if record.grid or whole else _laid_out(record, matrix=matrix)
    columns = [
        f
        for f in table.columns
        if not f.item_shape
        or (matrix and len(f.item_shape) == 1 and not _apart(f))
        or (len(f.item_shape) <= holds.item_rank and is_number(f.dtype) and (whole or not f.is_image))
    ]
    held = {f.name for f in columns}
    left = [f for f in table.columns if f.name not in held and f.name not in {w.name for w in wanted}]
    if left:
        report.notice(
            f"{record.source}: left out of the table: {', '.join(_described(f) for f in left)}; --include NAME adds one"
        )
        report.losses.extend(Loss(f.name, record.source, "not a column of scalars") for f in left)
    out: list[Fitted] = []
    if columns:
        out.append(Fitted(_without(table, {f.name for f in table.columns if f.name not in held})))
        _note_lengths(out[0].record, report)
    out += [Fitted(_own_table(record, f, matrix=matrix), f.name) for f in wanted if f.name not in held]
    return out


def _apart(f: Field) -> bool:
    return f.role not in (Role.SIGNAL, Role.ERRORS, Role.AUXILIARY)


def _laid_out(record: Record, *, matrix: bool) -> Record:
    """Lay out the grid that the signal has; a record without one is a table already."""
    signals = record.role(Role.SIGNAL)
    if not signals and not any(f.per_row and not f.item_shape for f in record.columns):
        signals = [f for f in record.columns if len(f.shape) == 2 and not f.is_image]
    if not signals:
        return record
    k = grid_rank(signals[0])
    if matrix and k == 2:
        k = 1
    return grid.unfold(record, signals[0], k) if k != 1 else record


def grid_rank(signal: Field) -> int:
    """Say how many of a signal's first dimensions are a grid of points; the rest is one point's item."""
    rank = len(signal.shape)
    said = str(signal.attrs.get("interpretation", ""))
    if said in ("scalar", "scaler"):
        return rank
    if said == "spectrum":
        return max(1, rank - 1)
    if said == "image":
        return max(1, rank - 2)
    return rank if rank <= 2 else rank - 2


def _own_table(record: Record, f: Field, *, matrix: bool) -> Record:
    """Give a spectrum or image of each row a table of its own: all its dimensions as rows, with their indices."""
    chosen = replace(f, role=Role.SIGNAL)
    labels = {a for a in f.axes if a}
    fields = [*(x for x in record.fields.values() if x.name in labels or not x.per_row), chosen]
    names = {2: ["row", "channel"], 3: ["row", "y", "x"]}.get(len(f.shape), [])
    alone = record.with_fields(fields)
    if matrix and len(f.shape) == 2:
        return alone
    k = len(f.shape)
    counts = {d: names[d] if d < len(names) else f"index_{d}" for d in range(k) if d >= len(f.axes) or not f.axes[d]}
    axes = tuple(counts.get(d) or f.axes[d] for d in range(k))
    indices = [
        Field(name, _count(f.shape[d]), per_row=d == 0, axes=(name,), role=Role.AXIS) for d, name in counts.items()
    ]
    labelled = replace(chosen, axes=axes)
    others = [x for x in fields if x.name not in (f.name, *counts.values())]
    return grid.unfold(record.with_fields([*indices, *others, labelled]), labelled, k, tuple(counts.values()))


def _count(n: int) -> Lazy:
    return Lazy((n,), np.dtype(np.int64), lambda box: np.arange(n, dtype=np.int64)[box])


def _stacks(record: Record, holds: Holds, report: Report) -> list[Fitted]:
    frames = [f for f in record.columns if len(f.item_shape) >= 2 and not is_text(f.dtype)]
    flat = [f for f in record.role(Role.SIGNAL) if len(f.shape) == 2] if not frames else []
    out: list[Fitted] = []
    for f in frames or flat:
        rest = {o.name for o in (frames or flat) if o.name != f.name}
        alone = _without(record, rest)
        colour = len(f.item_shape) >= 3 and f.shape[-1] in (3, 4) and "rgb" in str(f.attrs.get("interpretation", ""))
        k = len(f.shape) - (3 if colour else 2)
        if k != 1:
            alone = grid.unfold(alone, f, k)
        out.append(Fitted(_columns_fit(alone, f, report), f.name if len(frames or flat) > 1 else ""))
    return out


def _columns_fit(record: Record, frame: Field, report: Report) -> Record:
    gone = {f.name for f in record.columns if f.name != frame.name and f.item_shape}
    for name in gone:
        report.lose(name, record.source, "an image file holds one stack and columns of scalars")
    return _without(record, gone)


def _without(record: Record, gone: set[str]) -> Record:
    if not gone:
        return record
    return record.with_fields({n: f for n, f in record.fields.items() if n not in gone})


def _described(f: Field) -> str:
    return f"{f.name} ({' x '.join(str(n) for n in f.shape)} {'images' if f.is_image else 'spectra'})"


def _note_lengths(record: Record, report: Report) -> None:
    rows = record.rows or 0
    short = [f for f in record.columns if f.shape[0] < rows]
    if short:
        names = ", ".join(f"{f.name} ({f.shape[0]:,})" for f in short[:6]) + (", ..." if len(short) > 6 else "")
        report.notice(f"{record.source}: columns shorter than the scan's {rows:,} rows end in empty cells: {names}")
