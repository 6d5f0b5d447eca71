"""The text of a CBF file: CIF items, and the mini header that detectors write into one of them.

Facts: International Tables for Crystallography G, 2.2 (the syntax of CIF) and 5.6; DECTRIS, "PILATUS CBF header
specification", version 1.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from functools import lru_cache

from nxconvert.dataclass import dataclass
from nxconvert.dissection import Entry

MINI = "_array_data.header_contents"
"""The item that holds the mini header."""
CONVENTION = "_array_data.header_convention"
"""The item that says in which manner the mini header is written."""

_USUAL = 200  # characters of a line that is worth keeping
_TOKEN = re.compile(
    r"""^;(?P<field>.*?)\r?\n;(?=\s|\Z)
    | (?P<comment>\#[^\n]*)
    | '(?P<single>[^\n]*?)'(?=\s|\Z)
    | "(?P<double>[^\n]*?)"(?=\s|\Z)
    | (?P<bare>\S+)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_TIME = re.compile(r"\d{4}[-/](\d\d|[A-Z][a-z]{2})[-/]\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?").fullmatch
_SENSOR = re.compile(r"(\S+) sensor, thickness (\S+) (\S+)").fullmatch
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_BEAM = re.compile(rf"Beam_xy:?\s+\(({_NUMBER}),\s*({_NUMBER})\)\s+(\S+)").fullmatch
_PIXEL = re.compile(rf"Pixel_size:?\s+({_NUMBER})\s+(\w+)\s+x\s+({_NUMBER})\s+(\w+)").fullmatch
_LINE = re.compile(r"(\S+?)(?::(?=\s|\Z)|[ \t]+=(?=\s|\Z)|=(?=\s)|(?=\s|\Z))\s*(.*)", re.DOTALL).fullmatch
_QUANTITY = re.compile(rf"({_NUMBER})\s+([A-Za-zµμÅ°%][A-Za-zµμÅ°%0-9/^*.-]*)").fullmatch


@dataclass(slots=True)
class Loop:
    """A table of CIF.

    Attributes
    ----------
    tags
        The names of its columns.
    values
        Its cells, row by row; the last row may lack those that a binary section follows.
    """

    tags: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def column(self, tag: str) -> list[str]:
        """Return a column by its name."""
        return self.values[self.tags.index(tag) :: len(self.tags)]


@dataclass(slots=True)
class Cif:
    """The items of a text in their order, and its loops."""

    items: list[tuple[str, str]] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)

    def loop(self, tag: str) -> Loop | None:
        """Return the last loop that has a column."""
        return next((loop for loop in reversed(self.loops) if tag in loop.tags), None)


def decoded(raw: bytes) -> str:
    """Return bytes as text: UTF-8, or Latin-1 where they are not."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def parsed(text: str) -> Cif:
    """Read the CIF text before, between or after binary sections; what has no name in it is left out."""
    cif = Cif()
    loop: Loop | None = None
    tag = ""
    for kind, word in _tokens(text):
        bare = kind == "bare"
        lower = word.lower() if bare else ""
        if lower == "loop_":
            loop, tag = Loop(), ""
            cif.loops.append(loop)
        elif lower.startswith(("data_", "save_", "global_")):
            loop, tag = None, ""
            if lower.startswith("data_"):
                cif.items.append(("data_block", word[5:]))
        elif bare and word.startswith("_"):
            if loop is not None and not loop.values:
                loop.tags.append(word)
                continue
            loop, tag = None, word
        elif loop is not None and loop.tags:
            loop.values.append(word)
        elif tag:
            cif.items.append((tag, word))
            tag = ""
    return cif


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind != "comment":
            yield kind, found[kind]


def entries(cif: Cif) -> Iterator[Entry]:
    """Yield the items of a text as entries; a column of a loop is one, with its words after each other."""
    for tag, value in cif.items:
        if tag == MINI:
            yield from mini_header(re.split(r"\r?\n", value))
        else:
            yield quantity(tag, value.strip("\r\n"))
    for loop in cif.loops:
        for tag in loop.tags:
            words = loop.column(tag)
            if len(words) > 1:
                words = [w if len(w.split()) == 1 else f'"{w}"' for w in words]
            if words:
                yield Entry(tag, " ".join(words))


def mini_header(lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of a mini header: ``# Key value unit``, ``# Key: value``, ``# Key = value``.

    ``Beam_xy`` and ``Pixel_size``, which have two numbers, are two entries: ``Beam_x`` and ``Beam_y``.
    """
    for line in lines:
        yield from _of_line(line) if len(line) < _USUAL else _of_line.__wrapped__(line)


@lru_cache(maxsize=4096)
def _of_line(line: str) -> tuple[Entry, ...]:
    """Return the entries of a line; most files of a series have the same lines."""
    text = line.strip().removeprefix("#").strip()
    if not text:
        return ()
    if _TIME(text):
        return (Entry("timestamp", text),)
    if sensor := _SENSOR(text):
        return Entry("sensor", sensor[1]), Entry("sensor_thickness", sensor[2], sensor[3])
    if beam := _BEAM(text):
        return Entry("Beam_x", beam[1], beam[3]), Entry("Beam_y", beam[2], beam[3])
    if pixel := _PIXEL(text):
        return Entry("Pixel_size_x", pixel[1], pixel[2]), Entry("Pixel_size_y", pixel[3], pixel[4])
    found = _LINE(text)
    return (quantity(found[1], found[2]),) if found else ()


def joined(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return keys and texts, those of ``mini_header`` that are of one line as that line again."""
    known = dict(lines)
    beam = [re.fullmatch(rf"({_NUMBER}) (\S+)", known.get(f"Beam_{d}", "")) for d in "xy"]
    pixel = [re.fullmatch(rf"{_NUMBER} \w+", known.get(f"Pixel_size_{d}", "")) for d in "xy"]
    new: dict[str, str] = {}
    if beam[0] and beam[1] and beam[0][2] == beam[1][2]:
        new["Beam_xy"] = f"({beam[0][1]}, {beam[1][1]}) {beam[0][2]}"
    if pixel[0] and pixel[1]:
        new["Pixel_size"] = f"{pixel[0][0]} x {pixel[1][0]}"
    gone = {"Beam_y"} if "Beam_xy" in new else set()
    gone |= {"Pixel_size_y"} if "Pixel_size" in new else set()
    first = {"Beam_x": "Beam_xy", "Pixel_size_x": "Pixel_size"}
    return [
        (first[key], new[first[key]]) if first.get(key) in new else (key, text)
        for key, text in lines
        if key not in gone
    ]


def quantity(key: str, value: str) -> Entry:
    """Return an entry, whose unit is split off where the value is one number and one unit."""
    found = _QUANTITY(value)
    return Entry(key, found[1], found[2].rstrip(".")) if found else Entry(key, value)
