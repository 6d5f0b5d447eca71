"""The files that arguments name: folders, globs, patterns of numbers."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, UsageError
from nxconvert.naming import natural

_PRINTF = re.compile(r"%0?(\d*)d")
_BRACES = re.compile(r"\{index(?::0?(\d+)d)?\}")


@dataclass(slots=True)
class File:
    """A file of a series, or one that lies beside it.

    Attributes
    ----------
    path
        Where it is.
    name
        Its path below the folder that is packed, with slashes.
    size, mtime
        Bytes, and nanoseconds since 1970.
    format
        The name of its format when it is read as images, or an empty string.
    frames
        How many frames it has.
    unpacked
        Bytes that it unpacks to, when it is compressed as a whole; else 0.
    """

    path: str
    name: str
    size: int
    mtime: int
    format: str = ""
    frames: int = 0
    unpacked: int = 0


def listed(
    places: Sequence[str],
    begin: int | None = None,
    end: int | None = None,
    without: Iterable[Path] = (),
    tell: Callable[[str], None] = lambda what: None,
) -> list[File]:
    """List the files that arguments name, in natural order.

    Parameters
    ----------
    places
        Folders (with all that is below), globs, files, and patterns with ``%04d`` or ``{index:04d}``.
    begin, end
        First and last number of a pattern.
    without
        Files that are not meant: what this very run writes.
    tell
        Told what there is in a folder besides files, which is not kept: links, pipes, empty folders.

    Raises
    ------
    InputError
        When there is nothing, two files have one name, or a folder cannot be read.
    UsageError
        When numbers are given and no pattern is.
    """
    left_out = {p.resolve() for p in without}
    names_left = {p.name for p in left_out}
    found: dict[str, str] = {}
    for place in places:
        for name, path in _found(place, begin, end, tell):
            if os.path.basename(path) in names_left and Path(path).resolve() in left_out:  # noqa: PTH119 - many files
                continue
            if found.setdefault(name, path) != path:
                raise InputError(f"{path} and {found[name]} would both be {name}", "pack their common folder")
    files = []
    for name in sorted(found, key=natural):
        try:
            status = os.stat(found[name])  # noqa: PTH116 - many files
        except OSError as error:
            raise InputError(f"{found[name]} cannot be looked at: {error.strerror}") from None
        files.append(File(found[name], name, status.st_size, status.st_mtime_ns))
    if not files:
        raise InputError(f"{' '.join(places)}: no file is there")
    return files


def _found(place: str, begin: int | None, end: int | None, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Yield the name and path of each file that an argument names."""
    path = Path(place)
    if path.is_dir():
        if begin is not None or end is not None:
            raise UsageError("--begin and --end need a pattern", "write e.g. 'scan_%04d.edf' or 'scan_{index:04d}.edf'")
        yield from _below(path, tell)
        return
    pattern = _numbered(path)
    if pattern is not None:
        numbers = []
        for found in path.parent.iterdir() if path.parent.is_dir() else ():
            match = pattern.fullmatch(found.name)
            if match is None or not found.is_file():
                continue
            number = int(match[1])
            if (begin is None or number >= begin) and (end is None or number <= end):
                numbers.append(number)
                yield found.name, str(found)
        _tell_ends(place, begin, end, numbers, tell)
    elif path.is_file():
        yield path.name, str(path)
    elif any(c in place for c in "*?["):
        yield from _matching(place)
    else:
        raise InputError(f"there is no file or folder {place}")


def _tell_ends(
    place: str, begin: int | None, end: int | None, numbers: Sequence[int], tell: Callable[[str], None]
) -> None:
    """Tell which numbers that were asked for are not there, before the first one and after the last."""
    if not numbers:
        return
    first, last = (min(numbers) if begin is None else begin), (max(numbers) if end is None else end)
    before, after = range(first, min(numbers)), range(max(numbers) + 1, last + 1)
    if count := len(before) + len(after):
        some = [*before[:8], *after[:8]][:8]
        shown = ", ".join(map(str, some)) + (", ..." if count > len(some) else "")
        tell(f"{place}: {count:,} of the numbers {first} to {last} are not there: {shown}")


def _below(folder: Path, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Yield all files below a folder, with their paths in it; links to folders are not followed."""
    other: dict[str, list[str]] = {}
    left = [(str(folder), "")]
    while left:
        path, below = left.pop()
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError as error:
            raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}") from None
        if not entries and below:
            other.setdefault("empty folders are not kept", []).append(below.rstrip("/"))
        for entry in entries:
            name, kind = below + entry.name, _kind(entry)
            if kind == "link":
                other.setdefault("links are kept as the files that they lead to", []).append(name)
            if kind in ("file", "link"):
                yield name, entry.path
            elif kind == "folder":
                left.append((entry.path, f"{name}/"))
            else:
                other.setdefault(kind, []).append(name)
    for kind, found in other.items():
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        tell(f"{folder}: {kind}: {', '.join(found[:4])}{more}")


def _kind(entry: os.DirEntry[str]) -> str:
    """Return ``file``, ``link`` for one that leads to a file, ``folder``, or what is said of all else."""
    try:
        if not entry.is_symlink():
            known = "folder" if entry.is_dir() else "pipes, sockets or devices are not kept"
            return "file" if entry.is_file() else known
        mode = entry.stat().st_mode
    except OSError:
        return "links that lead nowhere are not kept"
    if stat.S_ISDIR(mode):
        return "links to folders are not followed"
    return "link" if stat.S_ISREG(mode) else "pipes, sockets or devices are not kept"


def _matching(pattern: str) -> Iterator[tuple[str, str]]:
    """Yield the files that a glob names, with their paths below what they have in common."""
    paths = [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - keeps the pattern's own form
    paths = [p for p in paths if p.is_file()]
    common = Path(os.path.commonpath([p.parent for p in paths])) if paths else Path()
    for path in paths:
        yield path.relative_to(common).as_posix(), str(path)


def _numbered(place: Path) -> re.Pattern[str] | None:
    """Return the expression of a pattern of names with one number, or None when it is none."""
    base = place.name
    for sign in (_PRINTF, _BRACES):
        found = sign.search(base)
        if found and not place.exists():
            digits = r"(\d{%s,})" % (found[1] or "1")
            return re.compile(re.escape(base[: found.start()]) + digits + re.escape(base[found.end() :]))
    return None
