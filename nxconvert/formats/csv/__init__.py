"""CSV: a table with one label line, and a line of JSON (the memo) that brings everything else back.

Dialect ``csv`` is for programs: the memo is a ``#`` line before the labels, so that ``pandas.read_csv(comment="#")``
reads the table. Dialect ``excel`` is for spreadsheets: the labels come first, with a byte order mark, in the way of
the computer's locale (``;`` and decimal comma, or ``,`` and dot); text that would run as a formula, or would be taken
for a number or a date, begins with an apostrophe. Its memo stands at the end, after an empty row, where it neither
widens the table nor is sorted or plotted with it, in cells of one column that are no longer than Excel holds.

A spreadsheet that opens and saves a ``csv`` splits the memo at its commas; it comes together again, since cells that
begin with a blank keep their quotes, and commas in texts are written as escapes.

Facts: RFC 4180; Excel's specification and limits (1,048,576 rows, 16,384 columns, 32,767 characters a cell).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nxconvert.foreign import OPTIONS
from nxconvert.foreign.encoding import text_of
from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Records, RecordSink, Report

PREFIX, MORE = "# ", "#+"
BOM = b"\xef\xbb\xbf"


def item_labels(name: str, item: tuple[int, ...]) -> list[str]:
    """Return the labels of a column: its name, or one for each element of a row's item."""
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*item)] if item else [name]


def sniff(head: Head) -> int:
    """Ours by the memo; else perhaps, when the lines are a table of comma- or semicolon-separated cells."""
    start = text_of(head.start)
    if start is None:
        return 0
    if start.startswith(('# {"nxconvert"', '"# {""nxconvert""')):
        return 2
    from nxconvert.foreign.dialect import looks_like
    from nxconvert.formats.csv.read import tail_memo

    if head.path is not None and any(c in start for c in ",;\t\n") and tail_memo(head.path) is not None:
        return 2
    return 1 if looks_like(start) in (",", ";") else 0


def open_records(location: Location, policy: Policy, report: Report, **options: str) -> Records:
    """Open a CSV file."""
    from nxconvert.formats.csv.read import CsvRecords

    return CsvRecords(location.path, options)


def create(path: Path, report: Report, dialect: str = "csv", float_format: str = "") -> RecordSink:
    """Make a CSV file."""
    from nxconvert.formats.csv.write import CsvSink

    return CsvSink(path, report, dialect, float_format)


FORMAT = Format(
    name="csv",
    title="comma-separated values",
    extensions=(".csv", ".tsv"),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(item_rank=0, records=1, kinds="biufcS", note="one table a file"),
    write_options=(
        Option(
            "dialect",
            "csv",
            "For programs (csv), or for spreadsheets (excel: as the computer's locale says).",
            ("csv", "excel", "excel-semicolon", "excel-comma"),
        ),
        Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),
    ),
    read_options=OPTIONS,
    seeks=False,
)
