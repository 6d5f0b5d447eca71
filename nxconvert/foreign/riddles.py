"""Tables that can be read in two ways, where nothing in the file tells which is meant: we ask."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from nxconvert.errors import InputError
from nxconvert.foreign.dialect import WHOLE, Dialect

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_COMMAS = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


def refuse_riddles(
    rows: Sequence[Sequence[str]],
    line: str,
    where: tuple[str, int],
    dialect: Dialect,
    stated: Dialect,
    *,
    labelled: bool,
) -> None:
    """Refuse rows that can be read in two ways.

    Parameters
    ----------
    rows
        The cells of the first rows.
    line
        The first row as it is written.
    where
        The file, and the number of that line.
    dialect, stated
        As it was found, and what of it was stated.
    labelled
        Whether the columns have labels.

    Raises
    ------
    InputError
        With a tip that says how to state it.
    """
    place = f"{where[0]}:{where[1]}"
    cells = [cell for row in rows for cell in row]
    commas = [cell for cell in cells if "," in cell and (_COMMAS.fullmatch(cell) or _THOUSANDS.fullmatch(cell))]
    thousands = all(map(_THOUSANDS.fullmatch, commas)) and not any(re.match(r"[+-]?\d{4}", c) for c in cells)
    if commas and not stated.decimal and (thousands or dialect.decimal == "."):
        number = f"{commas[0].replace(',', '.')} or {commas[0].replace(',', '')}" if thousands else "a number"
        raise InputError(f"{place}: {commas[0]!r} may be {number}", "state --decimal , or take the commas out")
    if labelled:
        return
    alike = len({len(row[-1]) for row in rows}) == 1
    pairs = all(len(row) == 2 and re.fullmatch(r"[+-]?\d+,\d+", ",".join(row)) for row in rows)
    if dialect.separator == "," and not stated.separator and alike and pairs and len(rows) > 1:
        tip = "state --delimiter comma, or --delimiter space --decimal , when it is one number; labels settle it too"
        raise InputError(f"{place}: {line!r} may be two whole numbers, or one with a decimal comma", tip)
    if _counts(rows[0]) and _stands_out(rows):
        tip = f"state --labels {where[1]} if it has the labels; if it is a row, list them: --labels a,b,.."
        raise InputError(f"{place}: {line!r} may be the labels of the columns, or a row", tip)


def _counts(row: Sequence[str]) -> bool:
    """Tell whether a row numbers the columns, as labels of some programs do."""
    return len(row) > 2 and any(list(row) == [str(start + i) for i in range(len(row))] for start in (0, 1))


def _stands_out(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row is of another kind than those after it: the only whole one, or far off."""
    if len(rows) < 4:
        return False
    for i in range(len(rows[0])):
        column = [row[i] for row in rows[1:] if i < len(row)]
        if column and not any(map(WHOLE.fullmatch, column)):
            return True
        if all(map(WHOLE.fullmatch, column)):
            steps = np.abs(np.diff([float(c) for c in (rows[0][i], *column)]))
            if steps[0] > 10 * max(1.0, float(np.max(steps[1:]))):
                return True
    return False
