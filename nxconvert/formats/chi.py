"""FIT2D's ``.chi``: one integrated pattern, four lines of header, then two columns.

    LaB6 at 300 K
    2-Theta Angle (Degrees)
    Intensity
            1455
     1.0486433E-02  2.7862846E+01

The lines are the title, the label of the abscissa with its units, the label of the ordinate, and how many rows follow.
All that has no place follows the title, as one line of JSON. Facts: the FIT2D reference manual, "CHIPLOT" format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo, native, numerals, table
from nxconvert.array import TEXT, Values, named_type
from nxconvert.errors import InputError, OutputError
from nxconvert.format import FileSink, Format, Head, Holds, Location, Option, Policy, Records, Report
from nxconvert.record import Block, Field, Record, Role, plain

MARK = " nxconvert {"
AXES = {
    "2-Theta Angle (Degrees)": ("2theta", "deg"),
    "2-Theta Angle (Radians)": ("2theta", "rad"),
    "Q (Inverse Nanometres)": ("q", "1/nm"),
    "Q (Inverse Angstroms)": ("q", "1/angstrom"),
    "Radial Distance (mm)": ("r", "mm"),
}
"""Labels of the abscissa, with what they mean."""

_UNITS = {"deg": "deg", "degree": "deg", "degrees": "deg", "rad": "rad", "radian": "rad", "radians": "rad", "mm": "mm"}
_LENGTHS = {"nm": "1/nm", "angstrom": "1/angstrom", "a": "1/angstrom", "å": "1/angstrom"}
_SAYS = re.compile(r"2-?theta|two-?theta|\bq\b|radial|azimuth", re.IGNORECASE)


def sniff(head: Head) -> int:
    """Certainly one by a label of the abscissa in the second line and a count in the fourth, before two columns."""
    lines = head.start[:4096].split(b"\n")
    if len(lines) < 5 or not lines[3].strip().isdigit() or not _SAYS.search(numerals.decoded(lines[1])):
        return 0
    cells = lines[4].split()
    return 2 if not int(lines[3]) or (len(cells) == 2 and all(map(numerals.is_number, cells))) else 0


def axis_of(label: str) -> tuple[str, str]:
    """Return the name and the units that a label of the abscissa says."""
    if label in AXES:
        return AXES[label]
    lower = label.lower()
    if re.search(r"2-?theta|two-?theta", lower):
        return "2theta", "deg" if "deg" in lower else "rad" if "rad" in lower else ""
    if re.search(r"\bq\b", lower):
        inverse = {"nm": "1/nm", "nano": "1/nm", "ang": "1/angstrom", "a^-1": "1/angstrom", "a-1": "1/angstrom"}
        return "q", next((units for word, units in inverse.items() if word in lower), "")
    return "x", ""


class ChiSink(FileSink):
    """Writes one pattern.

    Parameters
    ----------
    path
        The file.
    report
        Told which columns have no place.
    float_format
        A ``%`` format of floats; empty for exact ones.
    """

    def __init__(self, path: Path, report: Report, float_format: str = "") -> None:
        super().__init__(path)
        self.report = report
        self.style = table.Style(b" ", b"nan", float_format=float_format, booleans=(b"0", b"1"))
        self.names: list[str] = []

    def begin(self, record: Record) -> None:
        numbers = [f for f in record.columns if f.dtype.kind in "iuf" and not f.item_shape]
        x = next((f for f in numbers if f.role == Role.AXIS), None)
        y = next((f for f in numbers if f.role == Role.SIGNAL), None)
        if x is None or y is None or x.guessed or y.guessed:
            raise OutputError(
                f"{record.source} cannot be .chi: nothing states what its axis and its signal are",
                "state them with --roles x=NAME,signal=NAME",
            )
        rows = record.rows or 0
        if any(f.shape[0] < rows or (f.mask is not None and bool(f.mask.read().any())) for f in (x, y)):
            raise OutputError(f"{record.source} cannot be .chi: it has missing values", "write .xye, which has a place")
        for f in record.columns:
            if f not in (x, y):
                self.report.lose(f.name, record.source, ".chi has two columns, the axis and the signal")
        self.names = [x.name, y.name]
        kept = record.with_fields([*record.header, x, y])
        lines = [_title(record), _label(x), _word(y), f"{rows:12d}"]
        known = memo.describe(kept, lambda name, why: self.report.lose(name, record.source, why))
        native.leave_out(known["header"], kept, _header(lines[0], ""))
        lines[0] += MARK[:-1] + memo.dumps(known)
        self.put("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))

    def write(self, block: Block) -> None:
        columns = [block.columns[n] for n in self.names]
        for lines in table.rows(columns, block.rows, self.style):
            self.put(lines)


def _title(record: Record) -> str:
    f = record.fields.get("title")
    text = "" if f is None or f.per_row or f.values.ndim else str(plain(f.values))
    return " ".join(text.split()) or "pattern"


def _label(x: Field) -> str:
    units = x.units.replace(" ", "").lower()
    inverse = re.fullmatch(r"1/(\w+)|(\w+)\^?-1", units)
    known = _LENGTHS.get(inverse[1] or inverse[2], "") if inverse else _UNITS.get(units, "")
    label = next((text for text, (_, says) in AXES.items() if says == known), "")
    return label or f"Q or 2-Theta ({x.name}{' ' + x.units if x.units else ''})"


def _word(y: Field) -> str:
    return f"{y.name} ({y.units})" if y.units else y.name


def _header(title: str, source: str) -> dict[str, Field]:
    return {"title": Field("title", Values(title, TEXT), source=source)} if title else {}


class ChiRecords(Records):
    """The one record of a file."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report

    def __iter__(self) -> Iterator[Record]:
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        lines = raw.splitlines()
        if len(lines) < 4 or not lines[3].strip().isdigit():
            raise InputError(f"{self.path} has no header of four lines with the number of rows", "try --from plain")
        title, x, y, count = (numerals.decoded(line).strip() for line in lines[:4])
        title, mark, text = title.partition(MARK)
        try:
            known = (memo.loads(f"{{{text}") or {}) if mark else {}
            rows = self._cells(lines, int(count), ended=raw.endswith((b"\n", b"\r")))
            yield self._record(title.strip(), x, y, rows, known)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{self.path}: what follows the title is damaged: {error}", "delete it to read plain values"
            ) from None

    def _cells(self, lines: list[bytes], count: int, *, ended: bool) -> list[list[bytes]]:
        rows = [line.split() for line in lines[4:]]
        while rows and not rows[-1]:
            rows.pop()
        if len(rows) != count:
            message = f"{self.path} has {len(rows):,} rows, but says that it has {count:,}"
            if not ended:
                raise InputError(message, "it was cut: get the whole file")
            self.report.notice(message)
        for number, cells in enumerate(rows, 5):
            if len(cells) != 2 or not all(map(numerals.is_number, cells)):
                raise InputError(f"{self.path}: line {number} has not two numbers", "mend the line")
        return rows

    def _record(self, title: str, x: str, y: str, rows: list[list[bytes]], known: dict[str, Any]) -> Record:
        name, units = axis_of(x)
        label = re.fullmatch(r"(?P<name>\S.*?)\s*(?:\((?P<units>[^()]*)\))?", y)
        about: dict[str, dict[str, Any]] = {
            name: {"role": Role.AXIS, "axes": (name,), "attrs": {"units": units} if units else {}},
            label["name"] if label else "I": {
                "role": Role.SIGNAL,
                "axes": (name,),
                "attrs": {"units": label["units"]} if label and label["units"] else {},
            },
        }
        if columns := known.get("columns", {}):
            about = {n: memo.about(told) for n, told in columns.items()}
        types = [named_type(told["dtype"]) for told in columns.values()] or [np.dtype(np.float64)] * 2
        source = str(self.path)
        fields = []
        for i, (n, told) in enumerate(about.items()):
            cells = [row[i] for row in rows]
            values = numerals.column(cells, [True] * len(cells), types[i], f"{source}::{n}", 0)
            fields.append(Field(n, Values(values, types[i]), True, source=f"{source}::{n}", **told))
        own = _header(title, source)
        header = list(own.values())
        if known:
            whole = native.put_back(known.get("header", {}), own, lambda name: None)
            header = memo.header_fields({"header": whole}, source)
        return Record(
            known.get("key", {}),
            {f.name: f for f in [*fields, *header]},
            source=source,
            mapping=str(known.get("mapping", "")),
            grid=known.get("grid"),
        )


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a file."""
    return ChiRecords(location.path, report)


FORMAT = Format(
    name="chi",
    title="FIT2D pattern (.chi)",
    extensions=(".chi",),
    sniff=sniff,
    open=open_records,
    create=ChiSink,
    holds=Holds(item_rank=0, records=1, kinds="iuf", note="one pattern: an axis and a signal"),
    write_options=(Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),),
    seeks=False,
)
