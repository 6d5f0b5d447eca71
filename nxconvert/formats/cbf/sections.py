"""The binary sections of a CBF file, each a header in the manner of MIME and the bytes of an array.

Facts: International Tables for Crystallography G, 5.6.2 and 5.6.3; the program CBFlib; the files themselves.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import field
from functools import lru_cache
from typing import Any

import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.dissection import Content, Dissection, Entry, Frame, Piece, checked
from nxconvert.encoders import RAW, encoder
from nxconvert.errors import InputError
from nxconvert.formats.cbf import text
from nxconvert.formats.cbf.text import Cif

BOUNDARY = b"--CIF-BINARY-FORMAT-SECTION--"
STARTER = b"\x0c\x1a\x04\xd5"
BYTE_OFFSET = "cbf-byte-offset"

_LONGEST = 16 << 20
_FIRST = 16 << 10
_HEAD = re.compile(rb"(?m)^" + BOUNDARY + rb"[ \t]*\r?\n")
_END = re.compile(BOUNDARY + rb"--")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_TYPE = re.compile(r'"?(signed|unsigned) (8|16|32|64)-bit (integer|real(?: IEEE)?)"?').fullmatch
_KEY = re.compile(r"[a-z][a-z0-9-]*").fullmatch
_COUNT = re.compile(r"\d{1,18}").fullmatch
_CONVERSIONS = re.compile(r'conversions\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_DIMENSIONS = tuple(f"x-binary-size-{which}-dimension" for which in ("fastest", "second", "third"))
_ORDERS = {"little_endian": "<", "big_endian": ">"}
_ARRAY = "_array_data."
_LIST = "_array_structure_list."
_KNOWN = frozenset(
    "content-type content-transfer-encoding content-md5 x-binary-size x-binary-id x-binary-element-type "  # noqa: SIM905
    "x-binary-element-byte-order x-binary-number-of-elements x-binary-size-padding".split()
) | frozenset(_DIMENSIONS)


@dataclass(slots=True)
class Section:
    """A binary section: the keys of its header in lower case, and where its bytes are."""

    where: str
    keys: dict[str, str] = field(default_factory=dict)
    start: int = 0

    def wrong(self, what: str, tip: str = "") -> InputError:
        return InputError(f"{self.where}: {what}", tip)

    def number(self, key: str, default: int | None = None) -> int:
        """Return a size that the header states.

        Raises
        ------
        InputError
            When it is none, or not there and there is no default.
        """
        said = self.keys.get(key)
        if said is None and default is not None:
            return default
        if said is None or not _COUNT(said):
            raise self.wrong(f"{key} is {said!r}, which is no size" if said is not None else f"it states no {key}")
        return int(said)


def dissect(content: Content) -> Dissection:
    """Say where the frames of a file are, and what it says of them.

    Raises
    ------
    InputError
        When it has no image, a header is damaged or contradicts itself, or it does not end as it should.
    """
    frames: list[Frame] = []
    pieces: list[Piece] = []
    header: list[Entry] = []
    seen: list[Cif] = []
    offset = 0
    while True:
        found, end = _next(content, offset, len(seen))
        own = bytes(content.view(offset, end - offset))
        offset = end
        cif = text.parsed(text.decoded(own if found is None else _before_field(own)))
        version = (
            [Entry("CBF", line[7:].strip())] if not seen and (line := _first_line(own)).startswith("###CBF:") else []
        )
        seen.append(cif)
        general = [*version, *text.entries(Cif([i for i in cif.items if not i[0].startswith(_ARRAY)], cif.loops))]
        header += general
        if found is None:
            break
        mine = [*text.entries(Cif([i for i in cif.items if i[0].startswith(_ARRAY)]))]
        mine += [Entry(key, value) for key, value in found.keys.items() if key not in _KNOWN]
        offset = _add(content, found, seen, mine, frames, pieces)
    if not frames and STARTER in own:
        raise InputError(f"{content.name} is damaged: the header of its binary section is not there")
    if not frames:
        raise InputError(f"{content.name} has no image", "a CBF without a binary section is a template")
    return Dissection(frames, pieces, header)


def _before_field(raw: bytes) -> bytes:
    """Leave out the semicolon that opens the field of a binary section."""
    cut = raw.rstrip()
    return cut[:-1] if cut == b";" or cut.endswith(b"\n;") else raw


def _first_line(raw: bytes) -> str:
    return text.decoded(raw[:200].partition(b"\n")[0])


def _next(content: Content, offset: int, number: int) -> tuple[Section | None, int]:
    """Return the next section after an offset and where its first line is; none and the end of the file, when none is.

    Raises
    ------
    InputError
        When its header does not end, or what is there is no text.
    """
    size = _FIRST
    where = content.name if not number else f"{content.name}, section {number}"
    while True:
        view = content.view(offset, size)
        raw = bytes(view)
        head = _HEAD.search(raw)
        blank = _BLANK_LINE.search(raw, head.end()) if head else None
        if head and blank and (len(raw) >= blank.end() + len(STARTER) or len(raw) < size):
            break
        if len(raw) < size:
            if head:
                raise InputError(f"{where} is truncated: the header of its binary section does not end")
            return None, content.size
        if size > _LONGEST:
            raise InputError(f"{where}: no binary section begins in {size:,} bytes of text")
        size *= 4
    section = Section(where, _keys(where, raw[head.end() : blank.start()]), offset + blank.end() + len(STARTER))
    encoding = section.keys.get("content-transfer-encoding", "")
    if encoding.upper() != "BINARY":
        raise section.wrong(
            f"its frame is encoded as {encoding!r}, which is not read", "write it anew with CBFlib: cif2cbf -e none"
        )
    if raw[blank.end() : blank.end() + len(STARTER)] != STARTER:
        raise section.wrong("no mark of binary data follows the header of its binary section")
    return section, offset + head.start()


def _keys(where: str, raw: bytes) -> dict[str, str]:
    """Return the header of a section, by key in lower case; a line that begins with a blank goes on the one before.

    Raises
    ------
    InputError
        When a line is none of such a header: a key that cannot be told may be that of the digest.
    """
    keys: dict[str, str] = {}
    last = ""
    for line in re.split(r"\r?\n", text.decoded(raw)):
        if line[:1] in (" ", "\t") and last:
            keys[last] += f" {line.strip()}"
            continue
        key, colon, value = line.partition(":")
        last = key.strip().lower()
        if not colon or not _KEY(last) or last in keys:
            raise InputError(f"{where}: {line[:60]!r} is no line of the header of its binary section, or a second one")
        keys[last] = value.strip()
    return keys


def _add(
    content: Content, section: Section, seen: list[Cif], header: list[Entry], frames: list[Frame], pieces: list[Piece]
) -> int:
    """Add the frames of a section; return where it ends."""
    dtype = _dtype(section)
    width, height, planes = _shape(section, seen)
    n = width * height * planes
    said = section.number("x-binary-number-of-elements", n)
    if said != n:
        raise section.wrong(f"its header states {said:,} elements, the dimensions make {n:,}")
    size = section.number("x-binary-size")
    end = _end(content, section, size)
    md5 = _md5(section)
    found = _CONVERSIONS.search(section.keys.get("content-type", ""))
    conversion = found[1].lower() if found else "x-cbf_none"
    if conversion == "x-cbf_none":
        if size != n * dtype.itemsize:
            raise section.wrong(
                f"its header states {size:,} bytes, the dimensions and type take {n * dtype.itemsize:,}"
            )
        step = size // planes
        for plane in range(planes):
            digest = md5 if planes == 1 else b""
            pieces.append(Piece(section.start + plane * step, step, len(frames), None, RAW, (), digest))
            frames.append(Frame((height, width), dtype, header))
    elif conversion == "x-cbf_byte_offset" and dtype.byteorder != ">":
        if size < n:
            raise section.wrong(f"its header states {size:,} bytes for {n:,} pixels, of which each takes one or more")
        whole = Piece(section.start, size, len(frames), None, BYTE_OFFSET, (), md5)
        if planes == 1:
            pieces.append(whole)
            frames.append(Frame((height, width), dtype, header))
        else:
            shape = (planes, height, width)
            frames += [Frame(shape[1:], dtype, header, _plane(content, whole, shape, dtype, k)) for k in range(planes)]
    else:
        order = " in big-endian order" if dtype.byteorder == ">" else ""
        raise section.wrong(
            f"its frame is compressed by {conversion!r}{order}, which is not read",
            "write it anew with CBFlib: cif2cbf -c byte_offset",
        )
    return end


def _plane(
    content: Content, whole: Piece, shape: tuple[int, ...], dtype: np.dtype[Any], plane: int
) -> Callable[[], np.ndarray[Any, Any]]:
    """Return the reader of one of the frames that are encoded together."""

    def read() -> np.ndarray[Any, Any]:
        try:
            values = encoder(whole.encoder).decode(checked(content, whole), shape, dtype, ())
        except ValueError as error:
            raise InputError(f"{content.name}: frame {whole.frame + plane} is damaged: {error}") from None
        out: np.ndarray[Any, Any] = values[plane]
        return out

    return read


@lru_cache(maxsize=64)
def _named(name: str, order: str) -> np.dtype[Any] | None:
    found, sign = _TYPE(name), _ORDERS.get(order.strip('"').lower())
    if found is None or sign is None:
        return None
    real = found[3].startswith("real")
    if real and found[2] in ("8", "16"):
        return None
    return np.dtype(f"{sign}{'f' if real else found[1][0].replace('s', 'i')}{int(found[2]) // 8}")


def _dtype(section: Section) -> np.dtype[Any]:
    name = section.keys.get("x-binary-element-type", "")
    order = section.keys.get("x-binary-element-byte-order", "LITTLE_ENDIAN")
    dtype = _named(name, order)
    if dtype is None:
        raise section.wrong(f"its type of pixels is not known: {name!r}, {order!r}")
    return dtype


def _shape(section: Section, seen: list[Cif]) -> tuple[int, int, int]:
    """Return the dimensions, the fastest first, by the section's header or else by the CIF's list."""
    stated = [section.number(key) for key in _DIMENSIONS if key in section.keys]
    if _DIMENSIONS[0] not in section.keys or _DIMENSIONS[1] not in section.keys:
        listed = _listed(section, seen)
        if listed is None:
            raise section.wrong("its header does not state the dimensions of its frame")
        stated = listed
    stated += [1] * (3 - len(stated))
    if 0 in stated or len(stated) > 3:
        raise section.wrong(f"its frame has the dimensions {stated}")
    stated[2] = stated[2] or 1
    width, height, planes = stated
    return width, height, planes


def _listed(section: Section, seen: list[Cif]) -> list[int] | None:
    """Return the dimensions of the one array that a CIF describes."""
    for cif in reversed(seen):
        loop = cif.loop(f"{_LIST}dimension")
        if loop is None:
            continue
        values = loop.column(f"{_LIST}dimension")
        order = loop.column(f"{_LIST}precedence") if f"{_LIST}precedence" in loop.tags else []
        arrays = loop.column(f"{_LIST}array_id") if f"{_LIST}array_id" in loop.tags else []
        if len(set(arrays)) > 1 or not all(map(_COUNT, [*values, *order])) or len(order) not in (0, len(values)):
            return None
        if not order:
            return [int(v) for v in values]
        return [int(v) for _, v in sorted(zip(map(int, order), values, strict=True))]
    return None


def _md5(section: Section) -> bytes:
    said = section.keys.get("content-md5", "")
    try:
        digest = base64.b64decode(said, validate=True)
    except ValueError:
        digest = b"?"
    if len(digest) not in (0, 16):
        raise section.wrong(f"its Content-MD5 is {said!r}, which is no MD5")
    return digest


def _end(content: Content, section: Section, size: int) -> int:
    """Return where a section ends: after its bytes, their padding and the closing boundary.

    Raises
    ------
    InputError
        When the closing boundary is not there.
    """
    end = section.start + size
    if end > content.size:
        raise InputError(
            f"{section.where} is truncated: its frame should end at byte {end:,}, the file has {content.size:,}"
        )
    padding = section.number("x-binary-size-padding", 0)
    for reach in (padding + 64, padding + 8192):
        tail = bytes(content.view(end, reach + len(BOUNDARY)))
        closing = _END.search(tail)
        if closing:
            return end + closing.end()
    what = "is truncated" if end + padding + len(BOUNDARY) > content.size else "is damaged, or states a wrong size"
    raise InputError(f"{section.where} {what}: its frame is not followed by the end of its binary section")
