"""The bytes of TIFF directories: tags, their values, and ImageJ's own metadata."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction

from nxconvert.dataclass import dataclass

CLASSIC_LIMIT = (1 << 32) - 1
ASCII, SHORT, LONG, RATIONAL, BYTE, LONG8 = 2, 3, 4, 5, 1, 16

Entry = tuple[int, int, int, bytes]
"""Code, type, number of values, and the values in little-endian order."""


@dataclass(frozen=True)
class Strips:
    """Where the strips of a page lie."""

    offsets: Sequence[int]
    sizes: Sequence[int]


def short(code: int, *values: int) -> Entry:
    """Return an entry of 16-bit integers."""
    return code, SHORT, len(values), struct.pack(f"<{len(values)}H", *values)


def long(code: int, *values: int, big: bool = False) -> Entry:
    """Return an entry of 32-bit integers, or of 64-bit ones for BigTIFF."""
    return code, LONG8 if big else LONG, len(values), struct.pack(f"<{len(values)}{'Q' if big else 'I'}", *values)


def text(code: int, value: str) -> Entry:
    """Return an entry of text."""
    raw = value.encode("utf-8", "surrogateescape") + b"\0"
    return code, ASCII, len(raw), raw


def rational(code: int, value: float) -> Entry:
    """Return an entry of a fraction near a positive number."""
    fraction = Fraction(value).limit_denominator(1_000_000)
    while fraction.numerator > CLASSIC_LIMIT:
        fraction = Fraction(fraction.numerator // 2, max(1, fraction.denominator // 2))
    if not fraction:
        fraction = Fraction(1, min(CLASSIC_LIMIT, max(1, round(1 / value)))) if value > 0 else Fraction(0)
    return code, RATIONAL, 1, struct.pack("<II", fraction.numerator, fraction.denominator)


def header(first: int, *, big: bool) -> bytes:
    """Return a file's header, with the offset of its first directory."""
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)


def directory(entries: Iterable[Entry], at: int, *, last: bool, big: bool) -> bytes:
    """Return a directory at an offset, with the values that do not fit into it and a link to what follows it.

    Raises
    ------
    OverflowError
        When it lies beyond what a classic TIFF can address.
    """
    listed = sorted(entries)
    inline = 8 if big else 4
    body = bytearray(struct.pack("<Q" if big else "<H", len(listed)))
    values_at = at + len(body) + len(listed) * (20 if big else 12) + inline
    values = bytearray()
    for code, kind, count, raw in listed:
        body += struct.pack("<HHQ" if big else "<HHI", code, kind, count)
        if len(raw) <= inline:
            body += raw.ljust(inline, b"\0")
        else:
            values += b"\0" * (-len(values) % 8)
            body += _offset(values_at + len(values), big=big)
            values += raw
    end = values_at + len(values)
    end += -end % 8
    body += _offset(0 if last else end, big=big)
    if end > CLASSIC_LIMIT and not big:
        raise OverflowError
    body += values
    return bytes(body) if last else bytes(body.ljust(end - at, b"\0"))


def _offset(value: int, *, big: bool) -> bytes:
    if value > CLASSIC_LIMIT and not big:
        raise OverflowError
    return struct.pack("<Q" if big else "<I", value)


def located(strips: Strips, *, big: bool) -> list[Entry]:
    """Return the entries that say where a page's strips are.

    Raises
    ------
    OverflowError
        When they lie beyond what a classic TIFF can address.
    """
    if not big and max(o + s for o, s in zip(strips.offsets, strips.sizes, strict=True)) > CLASSIC_LIMIT:
        raise OverflowError
    return [long(273, *strips.offsets, big=big), long(279, *strips.sizes, big=big)]


def imagej_entries(info: str) -> list[Entry]:
    """Return the two tags in which ImageJ keeps the text that it shows as a stack's Info."""
    raw = info.encode("utf-16-le", "surrogatepass")
    head = b"JIJI" + b"ofni" + struct.pack("<I", 1)
    return [long(50838, len(head), len(raw)), (50839, BYTE, len(head) + len(raw), head + raw)]
