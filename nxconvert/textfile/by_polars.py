"""Rows read by polars, which does it in threads and knows text: for large files, as it takes long to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nxconvert import numerals
from nxconvert.array import is_text
from nxconvert.textfile.cells import texts
from nxconvert.textfile.layout import Layout, Values
from nxconvert.textfile.rows import quoting


def by_polars(layout: Layout, text: bytes, rows: int, *, quoted: bool) -> list[Values] | None:
    """Read with polars what it reads exactly; None when it does not read it.

    Polars refuses a row of too many cells, but fills up one of too few.
    """
    import polars as pl

    if not _is_full(layout, text, rows, quoted=quoted):
        return None

    kinds: dict[str, Any] = {"b1": pl.Boolean, "f2": pl.Float32, "f4": pl.Float32, "f8": pl.Float64}
    kinds |= {f"i{n}": t for n, t in zip((1, 2, 4, 8), (pl.Int8, pl.Int16, pl.Int32, pl.Int64), strict=True)}
    kinds |= {f"u{n}": t for n, t in zip((1, 2, 4, 8), (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64), strict=True)}
    if any(not is_text(d) and d.str[1:] not in kinds for d in layout.cells):
        return None
    types = [pl.String if is_text(d) else kinds[d.str[1:]] for d in layout.cells] + [pl.String] * layout.spare
    if layout.foreign and pl.String in types:
        text = numerals.decoded(text).encode("utf-8")
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            schema={str(i): t for i, t in enumerate(types)},
            separator=layout.separator.decode("ascii"),
            quote_char='"' if quoted else None,
            decimal_comma=layout.decimal == b",",
        )
    except (pl.exceptions.PolarsError, ValueError):
        return None
    spare = range(len(layout.cells), layout.width)
    if frame.height != rows or any(frame.to_series(i).null_count() < rows for i in spare):
        return None
    return [_from_series(layout, frame.to_series(i), d) for i, d in enumerate(layout.cells)]


def _is_full(layout: Layout, text: bytes, rows: int, *, quoted: bool) -> bool:
    """Tell whether there are as many separators as rows want; where one has more, another has less."""
    if quoted:
        codes, inside = quoting(text)
        return int(np.count_nonzero((codes == layout.separator[0]) & ~inside)) == rows * (layout.width - 1)
    codes = np.frombuffer(text, np.uint8)
    return int(np.count_nonzero(codes == layout.separator[0])) == rows * (layout.width - 1)


def _from_series(layout: Layout, series: Any, dtype: np.dtype[Any]) -> Values:
    mask = series.is_null().to_numpy() if series.null_count() else None
    if is_text(dtype):
        values = texts(layout, [v or "" for v in series.to_list()], dtype)
    else:
        filled = series if mask is None else series.fill_null(False if dtype.kind == "b" else 0)
        values = filled.to_numpy().astype(dtype, copy=False)
    return values if mask is None else np.ma.MaskedArray(values, mask)


def holds_whole(layout: Layout, text: bytes, numbers: Sequence[int], *, quoted: bool) -> bool:
    """Tell whether the cells of some columns are whole numbers, as far as polars can."""
    import polars as pl

    try:
        pl.read_csv(
            text,
            has_header=False,
            schema={str(i): pl.Int64 if i in numbers else pl.String for i in range(layout.width)},
            columns=list(numbers),
            separator=layout.separator.decode("ascii"),
            quote_char='"' if quoted else None,
            encoding="utf8-lossy",
        )
    except (pl.exceptions.PolarsError, ValueError):
        return False
    return True
