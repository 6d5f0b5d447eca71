"""Which formats there are, and which of them a file is.

Built-in formats are found by listing ``nxconvert/formats``; those of other distributions by the entry point group
``nxconvert.formats``. They load when they are needed; one that fails to load is a warning, never a crash.
"""

from __future__ import annotations

import difflib
import os
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from nxconvert.errors import InputError, UsageError
from nxconvert.format import Format, Head
from nxconvert.location import Location, meant

HEAD = 64 << 10
GROUP = "nxconvert.formats"

_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")

broken: dict[str, str] = {}
"""Formats that failed to load: name of the plugin -> the reason."""


@cache
def formats() -> dict[str, Format]:
    """Return all formats by name, built-in ones first."""
    package = import_module("nxconvert.formats")

    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            builtin: Format = import_module(f"nxconvert.formats.{module.name}").FORMAT
            found[builtin.name] = builtin
    for name, value in _entries():
        module_name, _, attribute = value.partition("[")[0].partition(":")
        try:
            plugin = attrgetter(attribute.strip())(import_module(module_name.strip()))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a third party's code may fail in any way; the others must still work
            broken[name] = f"{type(error).__name__}: {error}"
            continue
        if not isinstance(plugin, Format):
            broken[name] = f"{value} is no Format"
        elif plugin.name in found:
            broken[name] = f"there is a format named {plugin.name!r} already"
        else:
            found[plugin.name] = plugin
    return found


def _entries() -> Iterator[tuple[str, str]]:
    """Yield the entry points of our group as names and values, ``module:object``.

    Read here, since ``importlib.metadata`` takes 15 ms to load and look, which every command would pay.
    """
    seen: set[str] = set()
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue  # the path may name what is not there, or no folder
        for name in names:
            distribution = name.partition("-")[0].lower().replace("_", "-")
            if not name.endswith((".dist-info", ".egg-info")) or distribution in seen:
                continue
            seen.add(distribution)  # the first on the path hides others of its name
            try:
                text = Path(folder, name, "entry_points.txt").read_text("utf-8")
            except OSError:
                continue  # most have none
            if GROUP in text:
                yield from _section(text)


def _section(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def by_name(name: str) -> Format:
    """Return the format of a name.

    Raises
    ------
    UsageError
        When there is none, with the nearest name.
    """
    known = formats()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    tip = f"{hint}'nxconvert formats' lists all"
    if name in broken:
        tip = f"its plugin failed to load: {broken[name]}"
    raise UsageError(f"there is no format {name!r}", tip)


def detect(location: Location, head: Head, name: str | None = None) -> Format:
    """Return the format of an input: as stated, else by content, else by extension.

    Raises
    ------
    InputError
        When nothing claims the input, two formats do, or it is of a kind that is recognised but not read.
    """
    if name is not None:
        return _readable(by_name(name), location)
    claims = [(level, f) for f in formats().values() if (level := f.sniff(head))]
    best = max((level for level, _ in claims), default=0)
    found = [f for level, f in claims if level == best]
    if len(found) > 1 and (by_extension := [f for f in found if head.extension in f.extensions]):
        found = by_extension
    if not found and head.start:
        found = [f for f in formats().values() if head.extension in f.extensions and f.sniff is _never]
    if len(found) == 1:
        return _readable(found[0], location)
    if not head.start and head.path is not None and head.path.is_dir():
        raise InputError(f"{location.file} is a folder of no format that is known here", "name a file in it")
    if not head.start:
        raise InputError(f"{location.file} is empty")
    if found:
        names = " or ".join(f.name for f in found)
        raise InputError(f"{location.file} may be {names}", f"say which: --from {found[0].name}")
    raise InputError(
        f"{location.file} is of no format that is known here", "name it with --from; 'nxconvert formats' lists all"
    )


def _readable(format: Format, location: Location) -> Format:
    if format.open is None:
        raise InputError(f"{location.file} is {format.title}, which is not read", format.refused)
    return format


_never: Any = Format.__dataclass_fields__["sniff"].default


def for_output(location: Location, name: str | None = None) -> Format:
    """Return the format to write: as stated, else by extension.

    Raises
    ------
    UsageError
        When the extension is unknown or of a format that is not written.
    """
    if name is not None:
        format = by_name(name)
    else:
        extension = Path(location.file).suffix.lower()
        found = [f for f in formats().values() if f.create is not None and extension in f.extensions]
        folder = location.file.endswith(("/", "\\")) or location.path.is_dir()
        if not found and extension and not location.is_stream and not folder:
            tip = "write .csv with --dialect excel" if extension in _SHEETS else "'nxconvert formats' lists what is"
            raise UsageError(f"{location.file}: {extension} is not written", tip)
        if not found or location.is_stream:
            what = "standard output" if location.is_stream else f"{location.file!r}"
            raise UsageError(f"{what} does not say which format to write", "name it with --to, e.g. --to csv")
        format = found[0]
    if format.create is None:
        raise UsageError(f"{format.title} is not written", "choose another format with --to")
    return format


def head(location: Location) -> Head:
    """Read the beginning of an input.

    Raises
    ------
    InputError
        When there is no such file, or it is not readable.
    """
    path = location.path
    if path.is_dir():
        return Head(path, b"")
    try:
        with path.open("rb") as file:
            return Head(path, file.read(HEAD))
    except (FileNotFoundError, NotADirectoryError):
        place = meant(location.file)
        tip = f"did you mean {place}?" if place else ""
        if not place and path.parent.is_dir():
            near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 1)
            tip = f"did you mean {path.parent / near[0]}?" if near else ""
        raise InputError(f"there is no file {location.file}", tip) from None
    except OSError as error:
        raise InputError(f"{location.file} cannot be read: {error.strerror}") from None
