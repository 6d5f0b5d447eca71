"""Records in memory, as the input of a conversion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from nxconvert.dataclass import dataclass
from nxconvert.format import Records
from nxconvert.location import Location
from nxconvert.record import Record


@dataclass(frozen=True)
class Held(Location):
    """The location of records that somebody holds; it opens itself."""

    records: tuple[Record, ...] = field(default=(), compare=False, repr=False)

    @property
    def stem(self) -> str:
        return "records"

    def open(self) -> Records:
        """Return the records."""
        return HeldRecords(self.records)


class HeldRecords(Records):
    """Records that somebody holds."""

    def __init__(self, records: tuple[Record, ...]) -> None:
        self.records = records

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)
