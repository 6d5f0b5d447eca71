"""A table in a text file: its pieces, and reading them, each in the quickest way that is exact."""

from __future__ import annotations

import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from nxconvert.array import is_masked
from nxconvert.compiled.numbers import FEW, in_one_go, reads
from nxconvert.engine.codecs import keep_memory, workers
from nxconvert.engine.parallel import in_turn
from nxconvert.errors import InputError
from nxconvert.textfile.by_polars import by_polars, holds_whole
from nxconvert.textfile.cells import BadCellError, cell_by_cell, missing_rows, tip
from nxconvert.textfile.layout import Layout, Values
from nxconvert.textfile.numbers import compiled_numbers, plain_numbers
from nxconvert.textfile.rows import LONGEST, cut, line_of, rows_of

PIECE = 4 << 20
"""Bytes of a piece: its cells as Python objects, at worst, still are few against the budget."""

NEAR = 64 << 10
"""Bytes in which a line is expected to end."""

THREADS = 8
"""Threads that read pieces, at most: each holds a few."""

MANY = 16
"""Pieces that are worth the work of several processes, each of which has to load polars."""

S = TypeVar("S")
T = TypeVar("T")


class Piece(NamedTuple):
    """Some whole rows.

    Attributes
    ----------
    offset, size
        Where they stand in the file, in bytes.
    row, rows
        Number of the first row, and how many there are.
    line
        Number of the first line.
    plain
        Whether there is nothing but rows.
    """

    offset: int
    size: int
    row: int
    rows: int
    line: int
    plain: bool


class Sheet(Layout):
    """The rows of a table in a file, of which one pass finds the pieces; a piece is then read on its own."""

    @cached_property
    def index(self) -> list[Piece]:
        """The pieces of the file, found in one pass.

        Raises
        ------
        InputError
            When a quote is not closed, or a file of ours ends within a line.
        """
        if not self.is_small:
            keep_memory()
            if (at_once := self._index_at_once()) is not None:
                return at_once
        found: list[Piece] = []
        offset, row, line, wanted = self.start, 0, self.line, PIECE
        with self.path.open("rb") as file:
            while offset < self.end:
                file.seek(offset)
                text = file.read(min(wanted, self.end - offset))
                last = len(text) < wanted or offset + len(text) == self.end
                size = len(text) if last else cut(self, text)
                if not size and len(text) > LONGEST:
                    raise InputError(f"{self.where}:{line}: a quote is not closed", 'write a quote in a cell as ""')
                if not size and not last:
                    wanted *= 2
                    continue
                if not text:
                    break
                text, wanted = text[:size], PIECE
                if last and not self.foreign and not text.endswith(b"\n"):
                    raise InputError(
                        f"{self.where} ends in the middle of a line",
                        "copy it again; if it was edited and is complete, end its last line",
                    )
                kept, rows = rows_of(self, text, line)
                plain = kept is text
                if rows:
                    found.append(Piece(offset, size, row, rows, line, plain))
                lines = rows if plain and not (self.quotes and b'"' in text) else text.count(self.newline)
                offset, row, line = offset + size, row + rows, line + lines
        return found

    def _index_at_once(self) -> list[Piece] | None:
        """Find the pieces of a large file in threads; None where a quote is, as a line may end inside of it."""
        bounds = self._bounds()
        if not bounds:
            return None

        def counted(begin: int, end: int) -> tuple[int, int, bool] | None:
            with self.path.open("rb") as file:
                file.seek(begin)
                text = file.read(end - begin)
            if (self.quotes and b'"' in text) or (not self.foreign and not text.endswith(b"\n")):
                return None
            kept, rows = rows_of(self, text, 0)
            plain = kept is text
            return rows, rows if plain else text.count(self.newline), plain

        found: list[Piece] = []
        row, line = 0, self.line
        for (begin, end), some in in_threads(lambda pair: (pair, counted(*pair)), list(pairwise(bounds))):
            if some is None:
                return None
            rows, lines, plain = some
            if rows:
                found.append(Piece(begin, end - begin, row, rows, line, plain))
            row, line = row + rows, line + lines
        return found

    def _bounds(self) -> list[int]:
        """Return where pieces begin, and where the last one ends; none where lines are too long for pieces."""
        bounds = [self.start]
        with self.path.open("rb") as file:
            while bounds[-1] + PIECE < self.end:
                at = bounds[-1] + PIECE
                file.seek(at)
                near = file.read(NEAR).find(self.newline)
                if near < 0:
                    return []
                bounds.append(min(at + near + 1, self.end))
        return bounds if bounds[-1] == self.end else [*bounds, self.end]

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return self.index[-1].row + self.index[-1].rows if self.index else 0

    @cached_property
    def _held(self) -> dict[int, list[Values]]:
        """The columns of a small file, or of the piece that was read last."""
        return {}

    def columns_of(self, piece: Piece) -> list[Values]:
        """Read a piece: an array for each column, masked where cells are missing."""
        if piece.offset not in self._held:
            columns = self._read(piece)
            self._held.clear()
            self._held[piece.offset] = columns
        return self._held[piece.offset]

    def _read(self, piece: Piece) -> list[Values]:
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            raw = file.read(piece.size)
        text, rows = (raw, piece.rows) if piece.plain else rows_of(self, raw, piece.line)
        if rows != piece.rows or len(raw) != piece.size:
            raise InputError(f"{self.where} changed while it was read")
        try:
            return self._grouped(self._parsed(text, rows), rows)
        except BadCellError as bad:
            raise InputError(
                f"{self.where}:{line_of(self, raw, bad.row, piece.line)}: {bad.reason}", tip(bad.reason)
            ) from None

    def _grouped(self, parts: list[Values], rows: int) -> list[Values]:
        """Put the elements of a row's item together."""
        out: list[Values] = []
        at = 0
        for c in self.columns:
            some = parts[at : at + c.width]
            at += c.width
            if c.item and some:
                stacked = np.ma.stack(some, axis=1) if any(map(is_masked, some)) else np.stack(some, axis=1)
                out.append(stacked.reshape((len(stacked), *c.item)).astype(c.dtype))
            elif c.item:
                out.append(np.empty((rows, *c.item), c.dtype))
            else:
                out.append(some[0])
        return out

    def _parsed(self, text: bytes, rows: int) -> list[Values]:
        """Read rows; each cell of a row becomes an array."""
        quoted = self.quotes and b'"' in text
        found: list[Values] | None = None
        if not quoted and (len(text) >= FEW or not self.is_small):
            found = compiled_numbers(self, text, rows)
        if found is None and rows and self.width > self.blank_rows:
            if self.separator and not self.is_small:
                found = by_polars(self, text, rows, quoted=quoted)
            elif not quoted and not self.spare:
                found = plain_numbers(self, text, rows)
        return cell_by_cell(self, text) if found is None else found

    def hold_whole(self, pieces: Sequence[Piece], numbers: Sequence[int]) -> Iterator[bool]:
        """Tell for each piece, as far as that is quickly told, whether the cells of some columns are whole numbers."""
        if reads(self.cells):
            return in_threads(lambda piece: self._holds_whole(piece, numbers), pieces)
        return (self._holds_whole(piece, numbers) for piece in pieces)

    def _holds_whole(self, piece: Piece, numbers: Sequence[int]) -> bool:
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            text, rows = rows_of(self, file.read(piece.size), piece.line)
        quoted = self.quotes and b'"' in text
        if not quoted:
            dtypes = [np.dtype(np.int64) if i in numbers else None for i in range(len(self.cells))]
            table = in_one_go(text, dtypes, rows, self.separator, self.decimal, self.spare)
            if table is not None:
                return all(word.strip().lower() in self.missing for _, _, word in table.left)
        return bool(self.separator) and holds_whole(self, text, numbers, quoted=quoted)

    @cached_property
    def lengths(self) -> list[int]:
        """How many rows each column has: as stated, else up to its last cell that is not empty."""
        stated = self.expected is None or self.expected == self.rows
        out = [c.length if stated else None for c in self.columns]
        if None in out and not self.is_small and self._ends_full():
            out = [self.rows if n is None else n for n in out]
        for piece in reversed(self.index):
            if all(n is not None for n in out):
                break
            for i, values in enumerate(self.columns_of(piece)):
                if out[i] is None:
                    last = np.flatnonzero(~missing_rows(values))
                    out[i] = piece.row + int(last[-1]) + 1 if len(last) else None
        return [min(n or 0, self.rows) for n in out]

    def _ends_full(self) -> bool:
        """Tell whether the last row of a large file has all its cells, as it mostly does; found without polars."""
        if not self.index or self.quotes:
            return False
        piece = self.index[-1]
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            text = rows_of(self, file.read(piece.size), piece.line)[0]
        try:
            last = cell_by_cell(self, text[text.rfind(b"\n", 0, -1) + 1 :])
        except BadCellError:
            return False
        return not any(map(is_masked, last))

    def pieces(self, rows: slice = slice(0, None)) -> Iterator[tuple[int, list[Values]]]:
        """Yield the number of a first row and the columns from there, of the pieces that have some of the rows."""
        wanted = [p for p in self.index if p.row + p.rows > rows.start and (rows.stop is None or p.row < rows.stop)]
        if len(wanted) > 1 and reads(self.cells):
            yield from (
                (piece.row, columns) for piece, columns in zip(wanted, in_threads(self._read, wanted), strict=True)
            )
        elif len(wanted) >= MANY and self._may_fork:
            made = in_turn(lambda i: pickle.dumps(self.columns_of(wanted[i]), 5), len(wanted))
            yield from ((piece.row, pickle.loads(m)) for piece, m in zip(wanted, made, strict=True))  # noqa: S301 - ours
        else:
            yield from ((piece.row, self.columns_of(piece)) for piece in wanted)

    @property
    def _may_fork(self) -> bool:
        """Tell whether other processes may read pieces too: not after polars has started its threads in this one."""
        return all(d.kind in "biuf" and d.metadata is None for d in self.cells) and "polars" not in sys.modules


def in_threads(work: Callable[[S], T], pieces: Sequence[S]) -> Iterator[T]:
    """Yield what work makes of pieces, in order; threads do some of it before it is asked for."""
    threads = min(workers(), THREADS)
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, "text") as pool:
        try:
            for i in range(len(pieces) + threads):
                if i < len(pieces):
                    pending.append(pool.submit(work, pieces[i]))
                if i >= threads and pending:
                    yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
