"""Writing XDI files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nxconvert import __version__, memo, native, table
from nxconvert.array import is_text, type_name
from nxconvert.errors import OutputError
from nxconvert.format import FileSink, Report
from nxconvert.formats.xdi import rules
from nxconvert.formats.xdi.read import distinct, header_of, word
from nxconvert.record import Block, Field, Record, Role, plain

KINDS = "biuf"
LONGEST = 1900
"""Characters of a piece of the memo: the specification wants lines of at most 2,048."""

_OWN = ("column.", "xdi.", "nxconvert.")


class XdiSink(FileSink):
    """Writes one record as XDI.

    Parameters
    ----------
    path
        The file.
    report
        Told which columns XDI does not hold.
    float_format
        A ``%`` format of floats; empty for exact ones.
    """

    def __init__(self, path: Path, report: Report, float_format: str = "") -> None:
        super().__init__(path)
        self.report, self.float_format = report, float_format
        self.names: list[str] = []

    def begin(self, record: Record) -> None:
        stated = _stated(record)
        first = self._first(record, stated)
        kept = [f for f in record.columns if f is first or self._holds(f, record)]
        record = record.with_fields([*kept, *record.header])
        ordered = [first, *(f for f in kept if f is not first)]
        spectra = int(np.prod((record.grid or {}).get("shape", ())[:-1]))
        if spectra > 1:
            told = f"{spectra:,} spectra are written one after the other, which other programs take for one"
            self.report.notice(f"{record.source}: {told}")
        self.names = [f.name for f in ordered]
        by_name = dict(zip(record.fields, distinct(word(n) for n in (f.name for f in kept)), strict=False))
        labels = [by_name[n] for n in self.names]
        applications = f"{stated.get('XDI.applications', '')} nxconvert/{__version__}".split()
        lines = [f"# XDI/1.0 {' '.join(dict.fromkeys(applications))}"]
        lines += [
            f"# Column.{i + 1}: {label} {' '.join(f.units.split())}".rstrip()
            for i, (label, f) in enumerate(zip(labels, ordered, strict=True))
        ]
        lines += [f"# {n}: {' '.join(v.splitlines()).strip()}".rstrip() for n, v in stated.items() if _has_line(n)]
        comment = stated.get("comment", "")
        end = ["# ///", *(f"# {t}".rstrip() for t in comment.split("\n"))] if _is_plain(comment) else []
        known = memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        known["rows"] = record.rows or 0
        native.leave_out(known["header"], record, header_of([*lines, *end, "# ---"]).header_fields(""))
        self._say([*lines, *_memo_lines(memo.dumps(known)), *end, "# ---", f"# {' '.join(labels)}"])

    def _first(self, record: Record, stated: Mapping[str, str]) -> Field:
        """Return the column of energies or angles.

        Raises
        ------
        OutputError
            When there is none, nobody stated which it is, or the header lacks what XDI demands.
        """
        wrong = list(rules.required(stated))
        found = [f for f in record.columns if f.name.casefold() in rules.ABSCISSAE and self._is_number(f)]
        order = list(rules.ABSCISSAE)
        first = min(found, key=lambda f: (f.role is not Role.AXIS, order.index(f.name.casefold())), default=None)
        if any(f.guessed for f in record.columns):
            names = ", ".join(f.name for f in record.columns[:6]) + (", ..." if len(record.columns) > 6 else "")
            wrong.insert(0, f"nothing states which of its columns ({names}) is the energy or angle")
            tip = "state it with --roles, e.g. --roles x=energy,signal=mu, and names with --labels 'energy [eV],mu'"
            raise OutputError(f"{record.source} cannot be XDI: {'; '.join(wrong)}", tip)
        if first is None:
            wrong.append("no column is named energy or angle")
        else:
            wrong += rules.abscissa(first.name, first.units)
            if not _whole(first, record.rows or 0):
                wrong.append(f"{first.name} has missing values")
        if wrong or first is None:
            raise OutputError(
                f"{record.source} cannot be XDI: {'; '.join(wrong)}",
                "XDI needs the header values Element.symbol, Element.edge and Mono.d_spacing, and a column energy (eV)",
            )
        return first

    def _is_number(self, f: Field) -> bool:
        return f.dtype.kind in KINDS and not is_text(f.dtype) and not f.item_shape

    def _holds(self, f: Field, record: Record) -> bool:
        if not self._is_number(f):
            self.report.lose(f.name, record.source, "XDI columns are numbers")
            return False
        if not _whole(f, record.rows or 0):
            self.report.lose(f.name, record.source, "XDI has no place for values that are missing or not finite")
            return False
        return True

    def write(self, block: Block) -> None:
        columns = [block.columns[n] for n in self.names]
        style = table.Style(b" ", float_format=self.float_format, booleans=(b"0", b"1"))
        for lines in table.rows(columns, block.rows, style):
            self.put(lines)

    def _say(self, lines: list[str]) -> None:
        self.put("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _stated(record: Record) -> dict[str, str]:
    """Return the header values that are a text or a number, as text, by canonical name."""
    out: dict[str, str] = {}
    for f in record.header:
        if f.values.ndim or not (type_name(f.dtype) == "str" or f.dtype.kind in "iuf"):
            continue
        name = rules.canonical(*f.name.split(".")) if rules.NAME.fullmatch(f.name) else f.name
        out.setdefault(name, str(plain(f.values)))
    return out


def _has_line(name: str) -> bool:
    return bool(rules.NAME.fullmatch(name)) and not name.casefold().startswith(_OWN)


def _is_plain(comment: str) -> bool:
    """Tell whether a comment has no line that would end it."""
    return bool(comment) and not any(t.strip().startswith("---") for t in comment.splitlines()) and "\r" not in comment


def _whole(f: Field, rows: int) -> bool:
    """Tell whether a column has a finite value in each row."""
    if f.shape[0] < rows or (f.mask is not None and bool(f.mask.read().any())):
        return False
    return f.dtype.kind != "f" or bool(np.isfinite(f.values.read()).all())


def _memo_lines(text: str) -> list[str]:
    """Write a memo as extension fields that are not too long; spaces at their ends are escaped, since readers strip."""
    pieces = [text[i : i + LONGEST] for i in range(0, len(text), LONGEST)]
    return [f"# nxconvert.memo_{i + 1}_{len(pieces)}: {_held(piece)}" for i, piece in enumerate(pieces)]


def _held(piece: str) -> str:
    if piece.startswith(" "):
        piece = "\\u0020" + piece[1:]
    return piece[:-1] + "\\u0020" if piece.endswith(" ") else piece
