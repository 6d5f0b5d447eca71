"""Writing SPEC files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import __version__, memo, native, table
from nxconvert.array import is_text, type_name
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, Loss, OutputError
from nxconvert.format import FileSink, Location, Report
from nxconvert.formats.spec import lines
from nxconvert.record import Block, Field, Record, plain

KINDS = "biuf"
_KEY = re.compile(r"(\d+)\.([1-9]\d*)")


@dataclass(frozen=True)
class Written:
    """What tells a scan of a file from another of the same key."""

    title: str
    start_time: str
    rows: int

    @classmethod
    def of(cls, record: Record) -> Written:
        return cls(text_of(record, "title"), text_of(record, "start_time"), record.rows or 0)


def text_of(record: Record, name: str) -> str:
    """Return a header value that is a text; an empty one when there is none."""
    f = record.fields.get(name)
    if f is None or f.per_row or f.values.ndim or type_name(f.dtype) != "str":
        return ""
    return str(plain(f.values))


class SpecSink(FileSink):
    """Writes scans, one after the other.

    Parameters
    ----------
    path
        The file.
    report
        Told what SPEC does not hold.
    float_format
        A ``%`` format of floats; empty for exact ones.
    append
        Whether scans are added to the file that is at ``path``. A scan that it has already is skipped; another one of
        the same key is refused.
    """

    def __init__(self, path: Path, report: Report, float_format: str = "", *, append: bool = False) -> None:
        self.report, self.float_format = report, float_format
        self.known: dict[tuple[tuple[str, str], ...], Written] = {}
        self.counts: dict[int, int] = {}
        self.motors: list[str] | None = None
        self.skipping = False
        self.source = ""
        self.odd: dict[str, int] = {}
        self.columns: list[Field] = []
        self.spectra: list[tuple[bytes, Field]] = []
        self.lead = self._look(path) if append and path.is_file() and path.stat().st_size else b""
        super().__init__(path, adding=bool(self.lead))

    def _look(self, path: Path) -> bytes:
        """Learn which scans a file has; return what must stand between them and the next."""
        from nxconvert.formats.spec.read import SpecRecords

        try:
            with SpecRecords(Location(str(path)), Report()) as there:
                if not there.scans:
                    raise OutputError("the file to add scans to is no SPEC file", "write to another one")
                self.counts = dict(there.counts)
                self.known = {tuple(r.key.items()): Written.of(r) for r in there if r.key}
        except InputError as error:
            raise OutputError(f"scans cannot be added to the file: {error}", error.tip) from None
        with path.open("rb") as file:
            file.seek(-1, 2)
            return b"\n" if file.read() == b"\n" else b"\n\n"

    def begin(self, record: Record) -> None:
        self.skipping = self._has(record)
        if self.skipping:
            return
        self.source = record.source
        self.put(self.lead)
        self.lead = b""
        record = record.with_fields({f.name: f for f in record.fields.values() if not f.per_row or self._holds(f)})
        self.columns = [f for f in record.columns if not f.item_shape]
        self.spectra = [(tag(i), f) for i, f in enumerate(f for f in record.columns if f.item_shape)]
        motors = _motors(record)
        file = lines.numbered("O", list(motors), "  ")
        if self.motors != list(motors):
            head = [] if self.motors is None else [""]
            self._say([*head, *self._file_header(record), *file, ""])
            self.motors = list(motors)
        else:
            self._say([""])
        number = self._number(record)
        first = [f"#S {number} {' '.join(text_of(record, 'title').split())}".rstrip()]
        if time := text_of(record, "start_time"):
            first.append(f"#D {lines.spec_time(time)}")
        rest = [*_extras(record), *lines.numbered("P", list(motors.values()), " ")]
        own = lines.header_fields(lines.collect(file), lines.collect([*first, *rest]), "")
        known = memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        known["rows"] = record.rows or 0
        native.leave_out(known["header"], record, own)
        for f in record.columns:
            known["columns"][f.name] |= _missing(f, record.rows or 0)
        self.known[tuple(record.key.items())] = Written.of(record)
        labels = lines.distinct([lines.mended(f.name) for f in self.columns])
        self._say(
            [
                *first,
                *lines.memo_lines(memo.dumps(known)),
                *rest,
                *self._spectra_lines(record),
                f"#N {len(labels)}",
                f"#L {'  '.join(labels)}",
            ]
        )

    def _has(self, record: Record) -> bool:
        """Tell whether the file has this very scan.

        Raises
        ------
        OutputError
            When it has another one of the same key.
        """
        there = self.known.get(tuple(record.key.items())) if record.key else None
        if there is None:
            return False
        if there != Written.of(record):
            raise OutputError(
                f"{record.source}: the file has another scan {record.name}, {there.title!r} with {there.rows} rows",
                "write it to another file, or all scans anew with --overwrite",
            )
        self.report.skipped.append(Loss(record.name, record.source, "the file has it already"))
        return True

    def _holds(self, f: Field) -> bool:
        if f.dtype.kind in KINDS and not is_text(f.dtype) and len(f.item_shape) <= 1:
            return True
        why = "SPEC columns are numbers" if f.dtype.kind not in KINDS else "SPEC rows hold numbers and spectra"
        self.report.lose(f.name, self.source, why)
        return False

    def _number(self, record: Record) -> str:
        """Return a scan's number as written: N for the key N.M when it is the M-th of that number, else N.M."""
        found = _KEY.fullmatch(record.key.get("scan", "")) if len(record.key) == 1 else None
        number = int(found[1]) if found else max(self.counts, default=0) + 1
        count = self.counts[number] = self.counts.get(number, 0) + 1
        return f"{number}.{found[2]}" if found and int(found[2]) != count else str(number)

    def _file_header(self, record: Record) -> list[str]:
        time = text_of(record, "start_time")
        name = Path(record.source.split("::")[0]).name
        out = [f"#F {lines.mended(name)}"]
        if (seconds := lines.epoch(time)) is not None:
            out += [f"#E {seconds}", f"#D {lines.spec_time(time)}"]
        return [*out, f"#C nxconvert {__version__}"]

    def _spectra_lines(self, record: Record) -> list[str]:
        if not self.spectra or "spec/@CHANN" in record.fields:
            return []
        n = self.spectra[0][1].item_shape[0]
        return [f"#@MCA %{n}C", f"#@CHANN {n} 0 {max(0, n - 1)} 1"]

    def write(self, block: Block) -> None:
        if self.skipping:
            return
        columns = [block.columns.get(f.name, np.empty(0)) for f in self.columns]
        text = b""
        if columns:
            text = self._numbers(columns, block.rows)
            self.odd[self.source] = self.odd.get(self.source, 0) + text.count(b"nan")
        if self.spectra:
            text = self._with_spectra(text, block)
        self.put(text)

    def _numbers(self, columns: list[np.ndarray[Any, Any]], rows: int) -> bytes:
        style = table.Style(b" ", b"nan", float_format=self.float_format, booleans=(b"0", b"1"))
        text = b"".join(table.rows(columns, rows, style))
        return text.replace(b"inf", b"1e999") if b"inf" in text else text

    def _with_spectra(self, text: bytes, block: Block) -> bytes:
        """Put each row's spectra below it; one that is missing has no line."""
        rows = [[line] if line or self.columns else [] for line in (text or b"\n" * block.rows).split(b"\n")[:-1]]
        for mark, f in self.spectra:
            values = block.columns.get(f.name, np.empty((0, *f.item_shape)))
            gone = np.ma.getmaskarray(values).any(axis=1)
            plain_ = np.ma.getdata(values)
            if f.item_shape[0]:
                written = self._numbers(list(plain_.T), len(values)).split(b"\n")
            else:
                written = [b""] * len(values)
            for i in np.flatnonzero(~gone).tolist():
                rows[i].append(mark + b" " + written[i])
        return b"".join(line + b"\n" for row in rows for line in row)

    def _say(self, text: list[str]) -> None:
        if long := [line[:2] for line in text if len(line) > 2 * lines.LONGEST]:
            self.report.notice(
                f"{self.source}: {long[0]} has more than 8,000 characters, which PyMca and silx cannot read"
            )
        self.put("".join(f"{_one_line(line)}\n" for line in text).encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        odd = {source: n for source, n in self.odd.items() if n}
        if odd:
            first = next(iter(odd))
            where = first if len(odd) == 1 else f"{first} and {len(odd) - 1} more scans"
            self.report.notice(
                f"{where}: {sum(odd.values()):,} cells are written as nan, which PyMca and silx read as 0"
            )
        super().close()


def tag(number: int) -> bytes:
    """Name a detector: ``@A`` to ``@Z``, then ``@A1``."""
    turn, letter = divmod(number, 26)
    return b"@%c%s" % (65 + letter, str(turn).encode() if turn else b"")


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")


def _motors(record: Record) -> dict[str, str]:
    """Return the motors that have a number: name to position, as written."""
    out = {}
    for f in record.header:
        name = f.name.removeprefix("motor/")
        if name != f.name and not f.values.ndim and f.dtype.kind in "iuf" and lines.mended(name) == name:
            value = f.values.read()[()]
            out[name] = str(int(value)) if f.dtype.kind in "iu" else str(value)
    return out


def _extras(record: Record) -> list[str]:
    """Write the fields that have lines of their own key, and the comment."""
    out: list[str] = []
    for f in record.header:
        text = text_of(record, f.name)
        if f.name == "comment" and text:
            out += [f"#C {t}".rstrip() for t in text.split("\n") if not t.startswith((lines.MEMO, lines.MORE))]
        elif type_name(f.dtype) == "str" and not f.values.ndim:
            out += lines.own_lines(f.name, text)
    return out


def _missing(f: Field, rows: int) -> dict[str, Any]:
    """Describe the rows without a value: where the column ends, if early, and ranges from a row to before another."""
    out: dict[str, Any] = {"length": f.shape[0]} if f.shape[0] < rows else {}
    if f.mask is not None:
        gone = np.concatenate([[False], f.mask.read(), [False]])
        edges = np.flatnonzero(np.diff(gone.astype(np.int8)))
        out |= {"missing": edges.reshape(-1, 2).tolist()} if len(edges) else {}
    return out
