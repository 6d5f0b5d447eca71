"""Where things are in a SPEC file: its scans, and the rows and spectra of one scan."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import field
from typing import BinaryIO

from nxconvert.dataclass import dataclass
from nxconvert.formats.spec import lines
from nxconvert.numerals import decoded

PIECE = 4 << 20
_MARK = re.compile(rb"\n#([SFE])(?=[ \t\r\n])")
_NUMERIC = b"0123456789+-.eE \t\r"
_SPECTRUM = re.compile(rb"@([A-Za-z]*\d*)(?:[ \t\\]|$)")


@dataclass(frozen=True)
class Part:
    """A piece of a file, from an offset to before another: a scan, or a header of the file."""

    start: int
    stop: int
    is_scan: bool


def parts(file: BinaryIO) -> list[Part]:
    """Cut a file into its scans and headers; what stands before the first of them is a header too."""
    marks: list[tuple[int, bool]] = []
    file.seek(0)
    tail, position = b"\n", -1
    while piece := file.read(PIECE):
        text = tail + piece
        marks += [(position + m.start() + 1, m[1] == b"S") for m in _MARK.finditer(text)]
        tail = text[-3:]  # too short to hold a mark and what follows it: none is found twice
        position += len(text) - len(tail)
    end = position + len(tail)
    if not marks or marks[0][0] > 0:
        marks.insert(0, (0, False))
    starts = [m for i, m in enumerate(marks) if m[1] or i == 0 or marks[i - 1][1]]
    return [
        Part(start, starts[i + 1][0] if i + 1 < len(starts) else end, is_scan)
        for i, (start, is_scan) in enumerate(starts)
    ]


def text_lines(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a piece with their offsets; the last one may lack its newline."""
    carry, position = b"", start
    while start < stop:
        file.seek(start)
        piece = file.read(min(PIECE, stop - start))
        if not piece:
            break
        start += len(piece)
        found = (carry + piece).split(b"\n")
        carry = found.pop()
        for line in found:
            yield position, line
            position += len(line) + 1
    if carry:
        yield position, carry


@dataclass
class Spectra:
    """The spectra of one detector: where each is, its row and how many numbers it has."""

    starts: array[int] = field(default_factory=lambda: array("q"))
    stops: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))


@dataclass
class Scan:
    """What a scan consists of.

    Attributes
    ----------
    controls
        Its control lines.
    starts, stops, counts
        Of each row: where it is, and how many numbers it has.
    odd
        The rows with anything but plain numbers: words, infinities, NaN.
    spectra
        By detector: its letter, and how manieth of that letter in a row it is.
    ended
        Whether the last line ends in a newline.
    """

    controls: lines.Controls = field(default_factory=dict)
    starts: array[int] = field(default_factory=lambda: array("q"))
    stops: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))
    odd: array[int] = field(default_factory=lambda: array("q"))
    spectra: dict[tuple[str, int], Spectra] = field(default_factory=dict)
    ended: bool = True


def scan_of(file: BinaryIO, part: Part, ended: bool = True) -> Scan:
    """Look through the lines of a scan.

    Parameters
    ----------
    file
        The file.
    part
        Where the scan is.
    ended
        Whether the part's last line ends in a newline; a control line that does not is left out.
    """
    scan = Scan(ended=ended)
    wrapped = 0
    first_spectrum = False
    going: Spectra | None = None
    seen: dict[str, int] = {}
    for offset, line in text_lines(file, part.start, part.stop):
        stop = offset + len(line)
        if going is not None:
            going.counts[-1] += len(line.replace(b"\\", b" ").split())
            going.stops[-1] = stop
            going = going if line.rstrip().endswith(b"\\") else None
        elif line.startswith(b"#"):
            if ended or stop < part.stop:
                key, value = lines.control(decoded(line))
                scan.controls.setdefault(key, []).append(value)
                wrapped = _width_of_wrapped(value) if key == "N" else wrapped
        elif line.startswith(b"@") and (found := _SPECTRUM.match(line)):
            if not scan.starts and not scan.spectra:
                first_spectrum = True
            letters = found[1].decode()
            turn = seen[letters] = seen.get(letters, -1) + 1
            spectra = scan.spectra.setdefault((letters, turn if scan.starts else 0), Spectra())
            at = len(scan.starts) - (0 if first_spectrum else 1) if scan.starts else len(spectra.rows)
            spectra.starts.append(offset + 1 + len(letters))
            spectra.stops.append(stop)
            spectra.rows.append(at)
            spectra.counts.append(len(line.replace(b"\\", b" ").split()) - 1)
            going = spectra if line.rstrip().endswith(b"\\") else None
        elif count := len(line.split()):
            if wrapped and scan.counts and scan.counts[-1] < wrapped:
                scan.counts[-1] += count
                scan.stops[-1] = stop
            else:
                scan.starts.append(offset)
                scan.stops.append(stop)
                scan.counts.append(count)
                seen.clear()
            if line.translate(None, _NUMERIC):
                scan.odd.append(len(scan.starts) - 1)
    return scan


def _width_of_wrapped(value: str) -> int:
    """Return the numbers of a row when ``#N 15 8`` says that it is wrapped into lines of 8; else 0."""
    words = value.split()
    if len(words) == 2 and all(w.isascii() and w.isdigit() for w in words) and int(words[0]) > int(words[1]):
        return int(words[0])
    return 0
