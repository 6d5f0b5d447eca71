"""Records with what a mapping takes from beside them: from the name of their file, and from other files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

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
from nxconvert.record import Field, Record


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
        for f in self._sources.fields(Rows.of_record(record), bound, known=known):
            if f.name not in fields:
                fields[f.name] = f
            elif not _alike(fields[f.name], f):
                self.report.notice(f"{record.source} has {f.name} itself, and other values than {f.source}; it counts")
        return replace(record, fields=fields)


def _alike(a: Field, b: Field) -> bool:
    """Tell whether two fields hold the same values."""
    if a.shape != b.shape or is_text(a.dtype) != is_text(b.dtype):
        return False
    x, y = (decode(f.values.read()) if is_text(f.dtype) else f.values.read() for f in (a, b))
    same = np.asarray((x == y) | ((x != x) & (y != y)))
    for f in (a, b):
        if f.mask is not None:
            mask = f.mask.read()
            same = same | mask.reshape(mask.shape + (1,) * (same.ndim - mask.ndim))
    return bool(same.all())
