"""Reading one scan of a SPEC file: its columns, spectra and header as a record."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nxconvert import memo, native, numerals
from nxconvert.array import TEXT, Box, Lazy, Values, named_type
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.formats.spec import index, lines
from nxconvert.record import Field, Record, Role

BLOCK = 32 << 20
"""Bytes of values that are kept of the rows read last, so that reading column by column parses once."""

MANY = 1 << 24
"""More rows than a memo is believed to have without a line in the file."""

FLOAT = np.dtype(np.float64)
_NOTHING = {b"None", b"none", b"null", b"NULL", b"NA", b"N/A", b"--", b"-"}
"""Words that stand for a missing value."""

_OURS = ("spec/@MCA", "spec/@CHANN")


@dataclass
class _Column:
    """One column of numbers: its name, type and the rows that have none."""

    name: str
    dtype: np.dtype[Any]
    gone: np.ndarray[Any, Any]
    about: dict[str, Any] = field(default_factory=dict)


class ScanReader:
    """Makes the record of one scan."""

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        report: Report,
        part: index.Part,
        header: lines.Controls,
        key: Mapping[str, str],
        *,
        ended: bool,
    ) -> None:
        self.file, self.report, self.header, self.key = file, report, header, key
        self.path = path
        self.source = f"{path}::{'_'.join(key.values())}" if key else str(path)
        self.scan = index.scan_of(self.file, part, ended)
        self.known = self._memo()
        self.columns: list[_Column] = []
        self._kept: tuple[int, int, list[np.ndarray[Any, Any]]] | None = None

    def _memo(self) -> dict[str, Any]:
        try:
            return memo.loads(lines.memo_text(self.scan.controls.get("C", []))) or {}
        except InputError as error:
            raise InputError(f"{self.source}: {error}", error.tip) from None

    def record(self) -> Record:
        """Make the record.

        Raises
        ------
        InputError
            When what nxconvert wrote about it is damaged.
        """
        try:
            return self._record()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            if not self.known:
                raise
            raise InputError(
                f"{self.source}: the line '#C nxconvert' is damaged: {type(error).__name__} {error}",
                "delete it to read plain values",
            ) from None

    def _record(self) -> Record:
        scan, known = self.scan, self.known
        unfinished = self._distrust_the_end()
        header = self._header_fields()
        rows = len(scan.starts)
        names = self._names({f.name for f in header})
        counts = np.asarray(scan.counts, dtype=np.int64)
        for i, (name, about) in enumerate(names):
            dtype = named_type(about["dtype"]) if "dtype" in about else FLOAT
            gone = counts <= i
            _fill(gone, about)
            self.columns.append(_Column(name, dtype, gone, about))
        if not known:
            self._look_at_words()
        self._tell_of_short_rows(counts, len(names))
        fields = [self._scalar(i, c, rows) for i, c in enumerate(self.columns)]
        fields += self._spectra(rows, {f.name for f in [*header, *fields]})
        if known:
            order = {name: i for i, name in enumerate(known.get("columns", {}))}
            fields.sort(key=lambda f: order.get(f.name, len(order)))
            self._tell_of_missing_rows(max([rows, *(f.shape[0] for f in fields)], default=0))
        else:
            fields = _with_guessed_roles(fields)
        return Record(
            self.key,
            {f.name: f for f in [*fields, *header]},
            source=self.source,
            mapping=str(known.get("mapping", "")),
            grid=known.get("grid"),
            finished=not unfinished,
        )

    def _notice(self, message: str) -> None:
        self.report.notice(f"{self.source}: {message}")

    # The header

    def _header_fields(self) -> list[Field]:
        own = lines.header_fields(self.header, self.scan.controls, self.source, self._notice)
        if not self.known:
            return list(own.values())
        said: Mapping[str, Any] = self.known.get("header", {})
        whole = native.put_back(said, own, lambda name: self._notice(f"the line of {name} is gone"))
        taken = {*said, *self.known.get("columns", {}), *_OURS}
        others = [f for n, f in own.items() if n not in taken and not n.startswith("spec/file/")]
        return memo.header_fields({"header": whole}, self.source) + others

    # Columns

    def _names(self, taken: Collection[str]) -> list[tuple[str, dict[str, Any]]]:
        """Return the names of the columns of numbers, with what is known of each."""
        said = [(n, a) for n, a in self.known.get("columns", {}).items() if "item" not in a]
        counts = self.scan.counts
        common = Counter(counts).most_common(1)[0][0] if counts else -1
        labels = self._labels(common)
        if said and len(labels) <= len(said):
            wanted = lines.distinct([lines.mended(n) for n, _ in said])
            by_label = dict(zip(wanted, said, strict=True))
            if all(label in by_label for label in labels):
                return [by_label[label] for label in labels]
        found: dict[str, Any] = dict(said)
        names = lines.distinct(labels, taken)
        renamed = [f"{b} ({a})" for a, b in zip(labels, names, strict=True) if a != b]
        if renamed:
            self._notice(f"columns of equal names are numbered: {', '.join(renamed)}")
        return [
            (name, found.get(name, {} if name == label else {"attrs": {"long_name": label}}))
            for label, name in zip(labels, names, strict=True)
        ]

    def _labels(self, common: int) -> list[str]:
        counts = self.scan.counts
        stated = (self.scan.controls.get("N") or [""])[0].split()
        number = int(stated[0]) if stated and stated[0].isascii() and stated[0].isdigit() and len(stated[0]) < 9 else -1
        line = (self.scan.controls.get("L") or [""])[0]
        labels = lines.labels_for(line, [n for n in (common, number) if n > 0])
        width = max(counts, default=0)
        if len(labels) < width:
            if labels:
                self._notice(f"#L names {len(labels)} of {width} columns; the others are numbered")
            labels = labels + [f"column_{i + 1}" for i in range(len(labels), width)]
        elif counts and len(labels) > width:
            self._notice(f"#L names {len(labels)} columns, rows have {width}: the last names have no values")
        return labels

    def _look_at_words(self) -> None:
        """Take ``None`` as a missing value, and a column with any other word as one of text."""
        scan = self.scan
        words: dict[int, set[bytes]] = {}
        for row in dict.fromkeys(scan.odd):
            for i, cell in enumerate(self._piece(scan.starts[row], scan.stops[row]).split()):
                if i < len(self.columns) and not numerals.is_number(cell):
                    words.setdefault(i, set()).add(cell)
                    self.columns[i].gone[row] |= cell in _NOTHING
        for i in sorted(words):
            column = self.columns[i]
            if words[i] - _NOTHING:
                word = numerals.decoded(min(words[i] - _NOTHING))
                column.dtype = TEXT
                self._notice(f"the column {column.name} holds words, e.g. {word!r}")
            else:
                self._notice(f"{column.name}: {numerals.decoded(min(words[i]))} is taken as a missing value")

    def _scalar(self, number: int, column: _Column, rows: int) -> Field:
        length = min(rows, int(column.about["length"])) if "length" in column.about else rows
        length = max(0, length) if self.known else _length(column.gone)
        gone = column.gone[:length]

        def read(box: Box) -> np.ndarray[Any, Any]:
            return self._rows(number, box[0].start, max(box[0].start, box[0].stop))

        return Field(
            column.name,
            Lazy((length,), column.dtype, read),
            True,
            mask=Values(gone) if gone.any() else None,
            source=f"{self.source}::{column.name}",
            **memo.about(column.about),
        )

    def _rows(self, number: int, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return some rows of a column; all columns of a block of rows are parsed at once and kept."""
        if stop <= start:
            return np.empty(0, self.columns[number].dtype)
        size = sum(c.dtype.itemsize for c in self.columns)
        step = max(1, BLOCK // size)
        pieces = []
        while start < stop:
            kept = self._kept
            if kept is None or not kept[0] <= start < kept[1]:
                end = min(len(self.scan.starts), start + min(step, max(stop - start, 1)))
                kept = self._kept = (start, end, self._parsed(start, end))
            pieces.append(kept[2][number][start - kept[0] : stop - kept[0]])
            start = min(stop, kept[1])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces).astype(self.columns[number].dtype)

    def _parsed(self, start: int, stop: int) -> list[np.ndarray[Any, Any]]:
        scan, width = self.scan, len(self.columns)
        text = self._row_text(start, stop)
        full = all(n == width for n in scan.counts[start:stop])
        if full and not any(c.gone[start:stop].any() for c in self.columns if c.dtype.kind != "f"):
            found = numerals.columns(b"\n".join(text), [c.dtype for c in self.columns], stop - start)
            if found is not None:
                return found
        split = [t.split() for t in text]
        out = []
        for i, c in enumerate(self.columns):
            there = ~c.gone[start:stop]
            cell = [s[i] if i < len(s) else b"" for s in split]
            out.append(numerals.column(cell, there.tolist(), c.dtype, f"{self.source}::{c.name}", start))
        return out

    def _row_text(self, start: int, stop: int) -> list[bytes]:
        scan = self.scan
        starts, stops = scan.starts[start:stop], scan.stops[start:stop]
        if all(a + 1 == b for a, b in zip(stops, starts[1:], strict=False)) and stops[-1] - starts[0] < 2 * BLOCK:
            found = self._piece(starts[0], stops[-1]).split(b"\n")
            if len(found) == len(starts):
                return found
        return [self._piece(a, b).replace(b"\n", b" ") for a, b in zip(starts, stops, strict=True)]

    def _piece(self, start: int, stop: int) -> bytes:
        self.file.seek(start)
        return self.file.read(stop - start)

    # Spectra

    def _spectra(self, rows: int, taken: Collection[str]) -> list[Field]:
        said = [(n, a) for n, a in self.known.get("columns", {}).items() if "item" in a]
        out = []
        if self.known:
            from nxconvert.formats.spec.write import tag

            for i, (name, about) in enumerate(said):
                found = self.scan.spectra.get((tag(i)[1:].decode(), 0), index.Spectra())
                at = np.fromiter(itertools.islice(_rows_there(about), len(found.starts)), np.int64)
                out.append(self._spectrum(name, found, at, int(about["item"][0]), about))
            return out
        names = [_mca_name(mark, turn) for mark, turn in self.scan.spectra]
        for name, found in zip(lines.distinct(names, taken), self.scan.spectra.values(), strict=True):
            n = Counter(found.counts).most_common(1)[0][0]
            out.append(self._spectrum(name, found, np.asarray(found.rows, dtype=np.int64), n, {}))
        return out

    def _spectrum(
        self, name: str, found: index.Spectra, at: np.ndarray[Any, Any], n: int, about: dict[str, Any]
    ) -> Field:
        """Make the field of one detector; a spectrum of another length than the others is left out, and said so."""
        where: dict[int, int] = {}
        for i, row in enumerate(at.tolist()):
            if found.counts[i] == n:
                where[row] = i
            else:
                why = f"it has {found.counts[i]} channels, not {n}"
                self.report.lose(f"{name} of row {row + 1}", self.source, why)
        length = max(where, default=-1) + 1
        if self.known:
            rows = int(about.get("length", self.known["rows"]))
            length = rows if rows - length <= _length_of_ranges(about) and rows < MANY else length
        gone = np.array([row not in where for row in range(length)], dtype=bool)
        dtype = named_type(about["dtype"]) if "dtype" in about else FLOAT
        label = f"{self.source}::{name}"

        def read(box: Box) -> np.ndarray[Any, Any]:
            wanted = range(box[0].start, max(box[0].start, box[0].stop))
            out = np.zeros((len(wanted), n), dtype)
            for k, row in enumerate(wanted):
                if row in where:
                    i = where[row]
                    out[k] = self._channels(self._piece(found.starts[i], found.stops[i]), n, dtype, label, row)
            return out[:, box[1]]

        mask = Values(gone) if gone.any() else None
        return Field(name, Lazy((length, n), dtype, read), True, mask=mask, source=label, **memo.about(about))

    def _channels(self, text: bytes, n: int, dtype: np.dtype[Any], label: str, row: int) -> np.ndarray[Any, Any]:
        words = text.replace(b"\\", b" ").split()
        fast = numerals.columns(b"\n".join(words), [dtype], n)
        return (
            fast[0] if fast is not None else numerals.column(words, [True] * n, dtype, f"{label} of row {row + 1}", 0)
        )

    # What is not as it should be

    def _distrust_the_end(self) -> bool:
        """Leave out the last number of a file that does not end in a newline, when it may be cut; say whether it is."""
        scan = self.scan
        if scan.ended:
            return False
        last_row = scan.stops[-1] if scan.stops else -1
        spectrum = max(scan.spectra.values(), key=lambda s: s.stops[-1], default=None)
        if spectrum is not None and spectrum.stops[-1] > last_row:
            n = Counter(spectrum.counts).most_common(1)[0][0]
            if self.known or spectrum.counts[-1] < n:
                spectrum.counts[-1] = -1
                self._notice("the file ends in the middle of a spectrum, which is left out")
                return True
            return False
        if last_row < 0:
            return bool(self.known)
        common = Counter(scan.counts).most_common(1)[0][0]
        if self.known or scan.counts[-1] < common:
            scan.counts[-1] -= 1
            self._notice(f"the file ends in the middle of row {len(scan.counts)}, whose last number is left out")
            if not scan.counts[-1]:
                scan.starts.pop()
                scan.stops.pop()
                scan.counts.pop()
            return True
        return False

    def _tell_of_short_rows(self, counts: np.ndarray[Any, Any], width: int) -> None:
        short = np.flatnonzero(counts < width)
        if len(short) and width == counts.max(initial=0) and self.scan.ended:
            first = ", ".join(str(i + 1) for i in short[:5].tolist()) + (", ..." if len(short) > 5 else "")
            self._notice(f"rows with too few numbers end in missing values: {first}")

    def _tell_of_missing_rows(self, rows: int) -> None:
        written = self.known.get("rows")
        if isinstance(written, int) and written != rows:
            self._notice(f"{written:,} rows were written, the file has {rows:,}")


def _rows_there(about: Mapping[str, Any]) -> Iterator[int]:
    """Yield the rows that a memo does not say to be missing, without an end."""
    row = 0
    for start, stop in [*about.get("missing", []), (None, None)]:
        yield from itertools.count(row) if start is None else range(row, int(start))
        row = int(stop)


def _length_of_ranges(about: Mapping[str, Any]) -> int:
    return sum(int(stop) - int(start) for start, stop in about.get("missing", []))


def _mca_name(mark: str, turn: int) -> str:
    name = "mca" if mark in ("", "A") else f"mca_{mark}"
    return name if not turn else f"{name}_{turn + 1}"


def _fill(gone: np.ndarray[Any, Any], about: Mapping[str, Any]) -> None:
    """Mark the rows that a memo says have no value."""
    gone[max(0, int(about.get("length", len(gone)))) :] = True
    for start, stop in about.get("missing", []):
        gone[max(0, int(start)) : max(0, int(stop))] = True


def _length(gone: np.ndarray[Any, Any]) -> int:
    there = np.flatnonzero(~gone)
    return int(there[-1]) + 1 if len(there) else 0


def _with_guessed_roles(fields: list[Field]) -> list[Field]:
    """Take the first column as the axis and the last as the signal, as SPEC plots a scan; both are guesses."""
    from dataclasses import replace

    scalar = [f for f in fields if not f.item_shape]
    if len(scalar) < 2:
        return fields
    x, y = scalar[0].name, scalar[-1].name
    made: dict[str, Callable[[Field], Field]] = {
        x: lambda f: replace(f, role=Role.AXIS, guessed=True, axes=(x,)),
        y: lambda f: replace(f, role=Role.SIGNAL, guessed=True, axes=(x,)),
    }
    return [made[f.name](f) if f.name in made else f for f in fields]
