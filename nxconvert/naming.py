"""Where inputs come from and where outputs go: globs and folders of inputs, names of outputs by template."""

from __future__ import annotations

import glob
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Formatter
from typing import Any

from nxconvert import registry
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Format, Report
from nxconvert.location import STDIN, Location, Spooled, safe_name


@contextmanager
def inputs(texts: Sequence[str | Location]) -> Iterator[list[Location]]:
    """Give the locations that arguments name: a glob is expanded, a folder gives its files, in natural order.

    Standard input is kept in a temporary file as long as the context lasts, since most formats must seek.

    Raises
    ------
    InputError
        When a glob matches nothing or a folder holds no file.
    """
    given = [_expanded(Location.parse(t)) if isinstance(t, str) else [t] for t in texts]
    places = [place for expanded in given for place in expanded]
    if not any(p.is_stream for p in places):
        yield places
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="nxconvert-") as folder:
        spooled = Path(folder) / "stdin"
        try:
            with spooled.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            tip = "free some space there, or set TMPDIR to another folder"
            where = spooled.parent.parent
            raise InputError(f"{STDIN} cannot be kept in {where} while it is read: {error.strerror}", tip) from None
        yield [Spooled(STDIN, p.inner, p.box, str(spooled)) if p.is_stream else p for p in places]


def _expanded(place: Location) -> Iterator[Location]:
    if place.is_stream or place.path.is_file():
        yield place
        return
    if place.path.is_dir() and not _is_store(place):
        names = [p for p in place.path.iterdir() if p.is_file() and not p.name.startswith(".")]
        if not names:
            raise InputError(f"the folder {place.file} holds no file")
        for path in sorted(names, key=lambda p: natural(p.name)):
            yield Location(str(path), place.inner, place.box)
        return
    if re.search(r"[*?\[]", place.file) and not place.path.exists():
        found = sorted(glob.glob(place.file, recursive=True), key=natural)  # noqa: PTH207 - keeps the pattern's own form
        if not found:
            raise InputError(f"no file matches {place.file}")
        for name in found:
            yield Location(name, place.inner, place.box)
        return
    yield place


def _is_store(place: Location) -> bool:
    """Tell whether a folder is one thing, such as a Zarr store, and not a collection of files."""
    path = place.path
    if any(f.sniff(registry.head(place)) == 2 for f in registry.formats().values()):
        return True
    return bool(path.suffix) or any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def natural(text: str) -> list[tuple[int, int, str]]:
    """Key to sort names by, numbers by their value: ``_2`` before ``_10``."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text) if p]


@dataclass(frozen=True)
class Naming:
    """The names of a conversion's outputs.

    Attributes
    ----------
    target
        A file, a folder (it exists, or ends in a slash) or ``-``.
    format
        What is written.
    template
        With ``{stem}``, ``{entry}``, ``{part}``, ``{ext}``, the names of the key, and what mappings take of files'
        names; empty for the usual one. Where a field is empty, a ``_`` or ``-`` beside it goes too.
    spread
        Whether each output is a folder of files, which has no extension.
    """

    target: Location
    format: Format
    template: str = ""
    spread: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether each record or input gets a file of its own in a folder."""
        return not self.target.is_stream and (self.target.file.endswith(("/", "\\")) or self.target.path.is_dir())

    @property
    def extension(self) -> str:
        return self.format.extensions[0] if self.is_folder else self.target.path.suffix

    @property
    def ending(self) -> str:
        """What an output's name ends in."""
        return "" if self.spread else self.extension

    def asked(self, names: Iterable[str]) -> list[str]:
        """Return those of some names that the template has in braces."""
        return [name for name in names if re.search(rf"\{{{name}\b", self.template)]

    def tell(self, report: Report) -> None:
        """Warn of a template that gives names without an extension: other programs would not know such files."""
        template, wanted = self.template, self.ending and not self.target.is_stream
        if template and wanted and not re.search(r"\{ext\b|\.[A-Za-z]\w*$", template):
            report.notice(f"--name {template!r} gives names without an extension; write --name {template + '{ext}'!r}")

    def path(
        self, place: Location, key: Mapping[str, str], part: str = "", values: Mapping[str, Any] | None = None
    ) -> Path:
        """Return the file that a record of an input goes to.

        Parameters
        ----------
        place
            The input.
        key
            The record's key.
        part
            What tells it from other outputs of the same record, or empty.
        values
            What else the template may have, texts and numbers.

        Raises
        ------
        UsageError
            When the template is wrong.
        """
        if self.target.is_stream:
            return Path("-")
        entry = "_".join(key.values())
        if not self.template and not self.is_folder:
            name = self.target.path.name
            stem = name[: len(name) - len(self.extension)]
            return self.target.path.with_name(stem + (f"_{safe_name(part)}" if part else "") + self.ending)
        folder = self.target.path if self.is_folder else self.target.path.parent
        return folder / safe_name(self._filled(place, {**(values or {}), **key}, entry, part))

    def _filled(self, place: Location, key: Mapping[str, Any], entry: str, part: str) -> str:
        template = self.template
        if not template:
            one_file = self.format.holds.records is None
            template = "{stem}" + ("_{entry}" if entry and not one_file else "") + ("_{part}" if part else "") + "{ext}"
        elif part and "{part}" not in template:
            template = template.replace("{ext}", "_{part}{ext}") if "{ext}" in template else template + "_{part}"
        try:
            return _filled({**key, "stem": place.stem, "entry": entry, "part": part, "ext": self.ending}, template)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            fields = ", ".join(f"{{{n}}}" for n in ("stem", "entry", "part", "ext", *key))
            why = f"it has no field {{{error.args[0]}}}" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"the name template {template!r} is wrong: {why}", f"fields are {fields}") from None


def _filled(values: Mapping[str, Any], template: str) -> str:
    """Fill a template; an empty field takes a separator with it, the one before or, where a name begins, behind it."""
    out, begins = "", False
    for literal, field, spec, conversion in Formatter().parse(template):
        text = literal[1:] if begins and literal.startswith(("_", "-")) else literal
        if field is None:
            out, begins = out + text, False
            continue
        how = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        value = f"{{{field}{how}}}".format_map(values)
        if not value and text.endswith(("_", "-")):
            text = text[:-1]
        out += text + value
        begins = not out
    return out
