"""Records with what a mapping takes from beside them: from the name of their file, and from other files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nxconvert import mapping
from nxconvert.array import decode, is_text
from nxconvert.conversion.join import PREFIX, Rows, Sources
from nxconvert.conversion.plan import Plan
from nxconvert.errors import NxconvertError
from nxconvert.format import Records, Report
from nxconvert.held import Held
from nxconvert.location import Location, Spooled
from nxconvert.mapping.filename import Named
from nxconvert.record import Field, Record, by_name


class Beside(Records):
    """The records of a file, each with what its mapping takes from beside them.

    Parameters
    ----------
    records
        The records.
    layout
        The mapping.
    place
        Where they are from.
    plan, report
        As for ``convert``.

    Raises
    ------
    InputError
        When the name of the file can be read in two ways.
    """

    def __init__(self, records: Records, layout: mapping.Mapping, place: Location, plan: Plan, report: Report) -> None:
        self.records, self.report = records, report
        path = None if isinstance(place, Held | Spooled) else place.path
        name = None if path is None else str(path)
        self._named = Named(layout.file, layout, name, place.file, report) if layout.file is not None else None
        self._sources = Sources(layout.sources, path and path.parent, plan.policy, report, path)

    def close(self) -> None:
        self.records.close()

    def __iter__(self) -> Iterator[Record]:
        return self._each(self.records)

    def some(self, numbers: Collection[int]) -> Iterator[Record]:
        return self._each(self.records.some(numbers))

    def keys(self) -> list[Mapping[str, str]]:
        keys = self.records.keys()
        return keys if self._named is None else [self._named.key(key) for key in keys]

    def _each(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            try:
                named = self._named.record(record) if self._named is not None else record
                whole = self._joined(named)
            except NxconvertError as error:  # one record that cannot be joined does not cost the others
                self.report.failed.append((record.source, error))
                continue
            yield whole

    def _joined(self, record: Record) -> Record:
        """Put the columns of the sources beside a record. What it has itself, as from an earlier join, counts."""
        if not self._sources.sources:
            return record
        fields = dict(record.fields)
        known = any(name.startswith(PREFIX) for name in fields)
        bound = {**(self._named.pattern.said(record) if self._named is not None else {}), **record.key}
        joined = by_name(self._sources.fields(Rows.of_record(record), bound, known=known))
        for name, f in joined.items():
            if not _alike(fields.setdefault(name, f), f):
                self.report.notice(f"{record.source} has {name} itself, and other values than {f.source}; it counts")
        return replace(record, fields=fields)


def _alike(a: Field, b: Field) -> bool:
    """Tell whether two fields hold the same values, and lack the same."""
    if a is b:
        return True
    if a.per_row is not b.per_row or is_text(a.dtype) != is_text(b.dtype) or a.item_shape != b.item_shape:
        return False
    (x, there), (y, also) = map(_values, (a, b))
    if not a.per_row:
        return bool(_same(x, y).all())
    common = min(len(x), len(y))
    if there[common:].any() or also[common:].any() or not np.array_equal(there[:common], also[:common]):
        return False
    return bool(_same(x[:common], y[:common])[there[:common]].all())


def _values(f: Field) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the values of a field, and for each row whether there is one."""
    values = decode(f.values.read()) if is_text(f.dtype) else f.values.read()
    there = np.ones(values.shape[:1], bool) if f.mask is None else ~f.mask.read()
    return values, there


def _same(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray((x == y) | ((x != x) & (y != y)))
