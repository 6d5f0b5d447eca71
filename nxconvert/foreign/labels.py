"""What columns are called, their units, and what else stands around the rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from nxconvert.array import Values
from nxconvert.foreign.dialect import NUMBER, Dialect, Run
from nxconvert.record import Field

_UNIT = (
    r"(?:[munkMG]?eV|[numkcµμ]?m|Å|A|Angstroms?|[munpµμ]?s(?:ec)?|[Mk]?Hz|deg(?:rees?)?|°|m?rad|K|°?C|[munpµμ]?A|m?V|"
    r"counts|cts|cps|a\.u\.|arb\. ?units?|%|bar|mbar|Pa|"
    r"1/(?:Å|A|Angstroms?|nm|cm|m)|(?:Å|A|Angstrom|nm|cm|m)\^?-1)"
)
# those below are compiled when they are used, which takes as long as all the rest of the start of this module
# what has a colon or comma in it is no unit, but an index, as in ``data[0,:]``
_WITH_UNIT = rf"(?P<name>.*\S)(?:\s+\((?P<round>[^():,]+)\)|\s*\[(?P<square>[^\[\]:,]+)\]|\((?P<tight>{_UNIT})\))"
ALONE = rf"[\[(]?{_UNIT}[\])]?|[\[(][^\[\]()]*[\])]|-"
_ENTRY = r"[#%!;/\s]*([A-Za-z][\w .()-]{0,40}?)\s*[:=]\s*(\S.*?)\s*"


def names_in(line: str, run: Run, dialect: Dialect, *, numbered: bool = False) -> list[str] | None:
    """Split a label line into as many names as there are columns; they may look like numbers if ``numbered``."""
    width = run.width
    line = re.sub(r"^\s*(?:#L\b|[#%!;]+|//)(?=[\s\w\"\[(])", "", line).strip(" \r\n")
    tried = [Dialect(s, ".").cells(line) for s in dict.fromkeys([dialect.separator, ",", "\t", ";"]) if s]
    bars = [c.strip() for c in line.split("|") if c.strip()]
    tried += [re.split(r"\s{2,}", line.strip()), line.split(), bars, bars[1:]]
    for cells in tried:
        names = cells[:width] if len(cells) > width and not any(cells[width:]) else cells
        names += [""] * (width - len(names)) if len(names) < width and _trails(run, len(names)) else []
        numbers = sum(bool(NUMBER.fullmatch(c)) for c in names)
        enough = all(names) or (dialect.separator and sum(map(bool, names)) * 2 > width)
        if width == 1 and len(line.split()) > 4:
            enough = False  # a sentence
        if len(names) == width and enough and (numbered or numbers * 2 < width):
            return [n.strip().strip('"') for n in names]
    return None


def _trails(run: Run, names: int) -> bool:
    """Tell whether all columns from one on are empty."""
    return bool(names) and not any(run.numbers[names:]) and not any(run.texts[names:])


def apart(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the units off labels: ``energy (eV)``, ``q [1/A]``."""
    names, units = [], []
    for label in labels:
        parts = re.fullmatch(_WITH_UNIT, label)
        names.append(parts["name"] if parts else label)
        units.append((parts["round"] or parts["square"] or parts["tight"]).strip() if parts else "")
    return names, units


def distinct(names: Sequence[str]) -> list[str]:
    """Give names that come again numbers: ``I0``, ``I0_2``."""
    seen: Counter[str] = Counter()
    out: list[str] = []
    for name in names:
        seen[name] += 1
        while seen[name] > 1 and f"{name}_{seen[name]}" in names:
            seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out


def header(lines: Sequence[str], taken: set[str]) -> list[Field]:
    """Return what stands around the rows: all of it as ``comment``, and each ``key: value`` by its key."""
    if not lines:
        return []
    fields = [Field("comment", Values("\n".join(lines)))]
    taken |= {"comment"}
    entries = [f.groups() for line in lines if (f := re.fullmatch(_ENTRY, line)) and not re.search(r"=|: ", f[2])]
    often = Counter(key for key, _ in entries)
    for key, value in entries:
        name = "title" if key.lower() == "title" else key
        if often[key] == 1 and name not in taken:
            taken.add(name)
            fields.append(Field(name, Values(_natural(value))))
    return fields


def _natural(value: str) -> Any:
    if re.fullmatch(r"[+-]?(?:0|[1-9]\d{0,17})", value):
        return np.int64(value)
    return np.float64(value) if re.fullmatch(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?", value) else value
