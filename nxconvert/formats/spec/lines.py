"""The lines of a SPEC header, and the fields that they stand for: read and written here alike."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from nxconvert.array import TEXT, Values
from nxconvert.record import Field

Controls = dict[str, list[str]]
"""Control lines by their key: ``{"S": ["1 ascan"], "C": ["first", "second"], "@MCA": ["%16C"]}``."""

MEMO = "nxconvert {"
"""How the comment that is our memo begins."""

MORE = "nxconvert+ "
"""How a comment begins that goes on with it."""

LONGEST = 4000
"""Characters of a line of the memo: PyMca and silx crash on header lines of more than 8,191."""

PER_LINE = 8
"""Motors on a line, as SPEC writes them."""

_CONTROL = re.compile(r"#(@?[A-Za-z]+\d*)(?:\s(.*))?$", re.DOTALL)
_NUMBERED = re.compile(r"([OP])(\d+)")
_SPACES = re.compile(r"\t+ *| {2,}\t*")
_DATE = re.compile(r"[A-Z][a-z]{2} +([A-Z][a-z]{2}) +(\d{1,2}) +(\d\d):(\d\d):(\d\d) +(\d{4})")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_OWN = {"S", "D", "C", "N", "L", "F", "E"}
"""Keys of scan lines that do not become a field of their own name."""


def control(line: str) -> tuple[str, str]:
    """Split a line that begins with ``#`` into key and value; the key is empty when there is none."""
    found = _CONTROL.match(line)
    return (found[1], (found[2] or "").rstrip()) if found else ("", line[1:].strip())


def collect(lines: Iterable[str]) -> Controls:
    """Gather control lines by key."""
    out: Controls = {}
    for line in lines:
        key, value = control(line)
        out.setdefault(key, []).append(value)
    return out


def memo_lines(text: str) -> list[str]:
    """Write a memo as comments that are not too long; a space at the end of one is escaped, for readers strip it."""
    text = text.removeprefix("{")
    pieces = [text[i : i + LONGEST] for i in range(0, len(text), LONGEST)]
    ended = [p[:-1] + "\\u0020" if p.endswith(" ") else p for p in pieces]
    return [f"#C {MORE if i else MEMO}{piece}" for i, piece in enumerate(ended)]


def memo_text(comments: Sequence[str]) -> str:
    """Return the memo that comments carry; an empty text when they carry none."""
    for i, comment in enumerate(comments):
        if comment.startswith(MEMO):
            more = itertools.takewhile(lambda c: c.startswith(MORE), comments[i + 1 :])
            return comment.removeprefix("nxconvert ") + "".join(c.removeprefix(MORE) for c in more)
    return ""


# Labels


def mended(name: str) -> str:
    """Make a name fit to be a label: single spaces inside, none around, and not empty."""
    return " ".join(name.split()) or "_"


def distinct(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """Tell equal names apart: the second ``I0`` becomes ``I0_2``."""
    out: list[str] = []
    known = set(taken)
    for name in names:
        other, n = name, 1
        while other in known or (n > 1 and other in names):
            n += 1
            other = f"{name}_{n}"
        known.add(other)
        out.append(other)
    return out


def split(text: str) -> list[str]:
    """Split labels at two spaces or more, or tabs."""
    text = text.strip()
    return [p.strip() for p in _SPACES.split(text)] if text else []


def labels_for(text: str, wanted: Sequence[int]) -> list[str]:
    """Split labels so that there are as many as wanted, the first number first: at two spaces, or else at one.

    Parameters
    ----------
    text
        The line of labels.
    wanted
        How many columns there are: by the rows, by ``#N``.
    """
    wide, narrow = split(text), text.split()
    for n in wanted:
        for labels in (wide, narrow):
            if len(labels) == n:
                return labels
    return wide if len(wide) > 1 else narrow


# Times


def iso_time(text: str) -> str:
    """Turn ``Thu Feb 10 22:43:43 2011`` into ISO 8601; another text stays as it is."""
    found = _DATE.fullmatch(text.strip())
    if not found or found[1] not in _MONTHS:
        return text.strip()
    month, day = _MONTHS.index(found[1]) + 1, int(found[2])
    return f"{found[6]}-{month:02}-{day:02}T{found[3]}:{found[4]}:{found[5]}"


def moment(text: str) -> datetime | None:
    """Read a time in ISO 8601; None when it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def spec_time(text: str) -> str:
    """Turn a time in ISO 8601 into the form of SPEC, without fractions and zone; another text stays as it is."""
    at = moment(text)
    if at is None:
        return mended(text)
    return f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:02} {at:%H:%M:%S} {at.year:04}"


def epoch(text: str) -> int | None:
    """Return the seconds since 1970 of a time in ISO 8601, taken as UTC when it has no zone."""
    at = moment(text)
    if at is None:
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


# Fields


def header_fields(
    file: Mapping[str, list[str]],
    scan: Mapping[str, list[str]],
    source: str,
    notice: Callable[[str], None] = lambda message: None,
) -> dict[str, Field]:
    """Return the header fields that the lines of a file's header and of a scan stand for.

    Returns
    -------
    dict
        ``title``, ``start_time``, ``comment``, ``motor/NAME``; ``spec/KEY`` for any other line of the scan and
        ``spec/file/KEY`` for one of the file's header, several lines of one key joined.
    """
    out: dict[str, Field] = {}

    def add(name: str, value: str | float) -> None:
        values = Values(value, TEXT) if isinstance(value, str) else Values(value)
        out[name] = Field(name, values, source=source)

    dates = scan.get("D", [])
    comments = [c for c in scan.get("C", []) if not c.startswith((MEMO, MORE))]
    if title := re.sub(r"^\s*\d+(?:\.\d+)?(?:\s+|$)", "", scan.get("S", [""])[0]).strip():
        add("title", title)
    if dates:
        add("start_time", iso_time(dates[0]))
    if comments:
        add("comment", "\n".join(comments))
    positions, raw = _motors(file, scan, notice)
    for name, value in positions.items():
        add(name, value)
    others = {k: v for k, v in scan.items() if k not in _OWN and not _NUMBERED.fullmatch(k)}
    if len(dates) > 1:
        others["D"] = dates[1:]
    others |= raw | {f"file/{k or '#'}": v for k, v in file.items() if not re.fullmatch(r"O\d+", k)}
    for key, values in others.items():
        add(f"spec/{key or '#'}", "\n".join(values))
    return out


def _motors(
    file: Mapping[str, list[str]], scan: Mapping[str, list[str]], notice: Callable[[str], None]
) -> tuple[dict[str, float], Controls]:
    """Pair names with positions, line by line; return the lines that cannot be paired too."""
    own = any(m and m[1] == "O" for m in map(_NUMBERED.fullmatch, scan))
    names: list[str] = []
    values: list[float] = []
    raw: Controls = {}
    named = {m[2]: v[-1] for k, v in (scan if own else file).items() if (m := _NUMBERED.fullmatch(k)) and m[1] == "O"}
    placed = {m[2]: v[-1] for k, v in scan.items() if (m := _NUMBERED.fullmatch(k)) and m[1] == "P"}
    for number in sorted({*named, *placed}, key=int):
        numbers = _floats(placed.get(number, ""))
        labels = labels_for(named.get(number, ""), [-1 if numbers is None else len(numbers)])
        if numbers is not None and len(labels) == len(numbers):
            names += labels
            values += numbers
            continue
        raw |= {f"O{number}": [named[number]]} if number in named else {}
        raw |= {f"P{number}": [placed[number]]} if number in placed else {}
        if number in named and number in placed:
            notice(f"#O{number} has {len(labels)} names, #P{number} other numbers: both are kept as text")
    if len(set(names)) < len(names):
        notice(f"motors of equal names: {', '.join(sorted({n for n in names if names.count(n) > 1}))}; numbered")
    return dict(zip((f"motor/{n}" for n in distinct(names)), values, strict=True)), raw


def _floats(text: str) -> list[float] | None:
    if "_" in text:
        return None
    try:
        return [float(t) for t in text.split()]
    except ValueError:
        return None


def numbered(key: str, cells: Sequence[str], separator: str) -> list[str]:
    """Write cells as ``#O0 a  b``, ``#O1 c``, eight a line."""
    groups = [cells[i : i + PER_LINE] for i in range(0, len(cells), PER_LINE)]
    return [f"#{key}{n} {separator.join(group)}" for n, group in enumerate(groups)]


def own_lines(name: str, value: str) -> list[str]:
    """Write a field ``spec/KEY`` as its lines; none when it is not such a field or has a place of its own."""
    key = name.removeprefix("spec/")
    if key == name or not re.fullmatch(r"@?[A-Za-z]+\d*", key) or key in _OWN or _NUMBERED.fullmatch(key):
        return []
    return [f"#{key} {line}".rstrip() for line in value.splitlines() or [""]]
