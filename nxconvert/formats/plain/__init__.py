"""Plain columns: numbers between blanks, everything else behind ``#``; what ``numpy.loadtxt`` and gnuplot read.

A missing value is written ``nan``, since ``loadtxt`` knows no empty cell; which ones those are stands in a last
comment line. Text columns have no place here.
"""

from __future__ import annotations

from pathlib import Path

from nxconvert.foreign import OPTIONS
from nxconvert.foreign.encoding import text_of
from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Records, RecordSink, Report

MARK = "#nxconvert "


def sniff(head: Head) -> int:
    """Ours by its memo line; else perhaps, when the lines are columns of numbers between blanks or tabs."""
    start = text_of(head.start)
    if start is None:
        return 0
    if any(line.startswith(MARK + "{") for line in start.splitlines()[:20]):
        return 2
    from nxconvert.foreign.dialect import looks_like

    found = looks_like(start)
    return 0 if found is None or found in (",", ";") else 1


def open_records(location: Location, policy: Policy, report: Report, **options: str) -> Records:
    """Open a file of plain columns."""
    from nxconvert.formats.plain.read import PlainRecords

    return PlainRecords(location.path, options)


def create(path: Path, report: Report, float_format: str = "") -> RecordSink:
    """Make a file of plain columns."""
    from nxconvert.formats.plain.write import PlainSink

    return PlainSink(path, report, float_format)


FORMAT = Format(
    name="plain",
    title="plain columns",
    extensions=(".txt", ".dat", ".asc", ".xy", ".xye"),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(item_rank=0, records=1, kinds="biuf", note="one table of numbers a file"),
    write_options=(Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),),
    read_options=OPTIONS,
    seeks=False,
)
