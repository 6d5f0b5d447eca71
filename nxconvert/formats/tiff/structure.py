"""The structure of a TIFF file: its header, its chain of image file directories and their tags.

Every offset and length is checked against the file, so that a file that was cut or damaged is an error and never a
page or a tag fewer.

Facts: TIFF 6.0 (Adobe, 1992), the supplements 1 and 2, BigTIFF (libtiff.gitlab.io/libtiff/specification/bigtiff.html).
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.dissection import Content
from nxconvert.errors import InputError

ASCII, UNDEFINED = 2, 7
SUB_IFDS, EXIF, GPS = 330, 34665, 34853

TYPES: dict[int, tuple[str, int]] = {
    1: ("u1", 1),
    2: ("S1", 1),
    3: ("u2", 2),
    4: ("u4", 4),
    5: ("u4", 8),  # two numbers: a fraction
    6: ("i1", 1),
    7: ("u1", 1),
    8: ("i2", 2),
    9: ("i4", 4),
    10: ("i4", 8),
    11: ("f4", 4),
    12: ("f8", 8),
    13: ("u4", 4),
    16: ("u8", 8),
    17: ("i8", 8),
    18: ("u8", 8),
}
"""Types of a tag's values: numpy type and bytes for one value."""

_SINGLE = {1: "B", 3: "H", 4: "I"}
"""How ``struct`` calls the types of most tags, of which one value always lies in the directory itself."""
_DEEPEST = 8
_TIP = "the file is damaged or was cut off; take another copy"


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory: the type of its values, how many, and the field that holds or points to them."""

    type: int
    count: int
    raw: bytes

    @property
    def size(self) -> int:
        return TYPES[self.type][1] * self.count if self.type in TYPES else 0


@dataclass(frozen=True, slots=True)
class Page:
    """An image file directory.

    Attributes
    ----------
    name
        Its number in the chain; ``2.0`` is the first child of the third page.
    offset
        Where it starts.
    tags
        Entries by code.
    """

    name: str
    offset: int
    tags: dict[int, Tag] = field(repr=False)


class ContentFile(io.RawIOBase):
    """The bytes of a file that is not opened by its name, as an open file."""

    def __init__(self, content: Content) -> None:
        self._content, self._at = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._content.size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._content.view(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class TiffStructure:
    """An open TIFF file.

    Parameters
    ----------
    source
        The file, or its bytes.

    Attributes
    ----------
    path
        The file; of bytes, its name.
    order
        ``<`` or ``>``.
    size
        Bytes of the file when it was opened.
    pages
        All pages, children after their parents.

    Raises
    ------
    InputError
        When it is no TIFF, or a directory or a value is not where the file says.
    """

    def __init__(self, source: Path | Content) -> None:
        self._content = source if isinstance(source, Content) else None
        self.path = Path(source.name) if isinstance(source, Content) else source
        try:
            self.file: BinaryIO = ContentFile(source) if isinstance(source, Content) else source.open("rb")  # type: ignore[assignment]
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}") from None
        self._lock = threading.Lock()
        try:
            self.size = self.file.seek(0, 2)
            first = self._header()
            self.pages = list(self._chain(first, "", set(), 0))
            if not self.pages:
                raise self.damaged("it has no page")
        except BaseException:
            self.file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def opened(self) -> Any:
        """Return what another library can open: the file's name, or the bytes as an open file."""
        return self.path if self._content is None else ContentFile(self._content)

    def damaged(self, why: str) -> InputError:
        """Return the error of a damaged file."""
        return InputError(f"{self.path}: {why}", _TIP)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return bytes of the file.

        Raises
        ------
        InputError
            When the file ends before.
        """
        if offset + size > self.size or offset < 0:
            raise self.damaged(f"{what} lies beyond the end of the file")
        if self._content is not None:
            return bytes(self._content.view(offset, size))
        with self._lock:
            self.file.seek(offset)
            data = self.file.read(size)
        if len(data) != size:
            raise self.damaged(f"{what} could not be read whole")
        return data

    def read_into(self, offset: int, buffer: memoryview, what: str) -> None:
        """Fill a buffer with bytes of the file.

        Raises
        ------
        InputError
            When the file ends before.
        """
        if offset + len(buffer) > self.size:
            raise self.damaged(f"{what} lies beyond the end of the file")
        with self._lock:
            self.file.seek(offset)
            done = self.file.readinto(buffer)  # type: ignore[attr-defined]
        if done != len(buffer):
            raise self.damaged(f"{what} could not be read whole")

    def _header(self) -> int:
        start = self.read(0, 8, "the header")
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        version = struct.unpack(f"{order}H", start[2:4])[0] if order else 0
        if order is None or version not in (42, 43):
            raise InputError(f"{self.path} is no TIFF file", "name its format with --from")
        self.order: Literal["<", ">"] = "<" if order == "<" else ">"
        self.big = version == 43
        self._count, self._entry, self._next = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHI4s", "I")
        if not self.big:
            return int(struct.unpack(f"{order}I", start[4:])[0])
        width, zero = struct.unpack(f"{order}HH", start[4:])
        if (width, zero) != (8, 0):
            raise self.damaged("its BigTIFF header is wrong")
        return int(struct.unpack(f"{order}Q", self.read(8, 8, "the header"))[0])

    def _chain(self, offset: int, parent: str, seen: set[int], depth: int) -> Iterator[Page]:
        number = 0
        while offset:
            if offset in seen or depth > _DEEPEST:
                raise self.damaged("its directories run in a circle")
            seen.add(offset)
            name = f"{parent}{number}"
            tags, following = self._directory(offset, name)
            yield Page(name, offset, tags)
            if SUB_IFDS in tags:
                what = f"SubIFDs of page {name}"
                children = self.numbers(tags[SUB_IFDS], what)
                if children.dtype.kind == "f":
                    raise self.damaged(f"{what} are fractions")
                for i, child in enumerate(children):
                    if int(child) in seen or not child:
                        raise self.damaged("its directories run in a circle")
                    seen.add(int(child))
                    below, _ = self._directory(int(child), f"{name}.{i}")
                    yield Page(f"{name}.{i}", int(child), below)
            offset = following
            number += 1

    def _directory(self, offset: int, name: str) -> tuple[dict[int, Tag], int]:
        what = f"the directory of page {name}"
        n_count = struct.calcsize(self._count)
        (count,) = struct.unpack(f"{self.order}{self._count}", self.read(offset, n_count, what))
        entry = struct.Struct(f"{self.order}{self._entry}")
        n_next = struct.calcsize(self._next)
        if not count or count > 65535:
            raise self.damaged(f"{what} is no directory")
        body = self.read(offset + n_count, count * entry.size + n_next, what)
        tags: dict[int, Tag] = {}
        for code, kind, n, raw in entry.iter_unpack(body[: count * entry.size]):
            tag = Tag(kind, n, raw)
            if tag.size > len(raw) and self._pointer(tag) + tag.size > self.size:
                raise self.damaged(f"tag {code} of page {name} lies beyond the end of the file")
            tags.setdefault(code, tag)
        return tags, int(struct.unpack(f"{self.order}{self._next}", body[-n_next:])[0])

    def directory(self, offset: int, name: str) -> dict[int, Tag]:
        """Return the tags of a directory that a tag points to, such as the Exif one."""
        return self._directory(offset, name)[0]

    def _pointer(self, tag: Tag) -> int:
        return int(struct.unpack(f"{self.order}{self._next}", tag.raw)[0])

    def raw(self, tag: Tag, what: str) -> bytes:
        """Return the bytes of a tag's values."""
        if tag.size <= len(tag.raw):
            return tag.raw[: tag.size]
        return self.read(self._pointer(tag), tag.size, what)

    def numbers(self, tag: Tag, what: str) -> np.ndarray[Any, Any]:
        """Return a tag's values as an array; a fraction is its quotient.

        Raises
        ------
        InputError
            When their type is not one that TIFF has, or text.
        """
        if tag.type not in TYPES:
            raise self.damaged(f"{what} has values of the unknown type {tag.type}")
        if np.dtype(TYPES[tag.type][0]).kind == "S":
            raise self.damaged(f"{what} has text where numbers belong")
        values = np.frombuffer(self.raw(tag, what), np.dtype(TYPES[tag.type][0]).newbyteorder(self.order))
        if tag.type in (5, 10):
            pairs = values.reshape(-1, 2).astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(pairs[:, 0] / pairs[:, 1])
        return values.astype(values.dtype.newbyteorder("="))

    def number(self, page: Page, code: int, default: int) -> int:
        """Return the first value of a page's tag as an integer, or the default when it is absent."""
        tag = page.tags.get(code)
        if tag is None or not tag.count:
            return default
        if tag.count == 1 and tag.type in _SINGLE:
            return int(struct.unpack_from(self.order + _SINGLE[tag.type], tag.raw)[0])
        what = f"tag {code} of page {page.name}"
        values = self.numbers(tag, what)
        if values.dtype.kind not in "iu":
            raise self.damaged(f"{what} is no integer")
        return int(values[0])

    def list_of(self, page: Page, code: int) -> tuple[int, ...]:
        """Return the values of a page's tag as integers; none when it is absent."""
        tag = page.tags.get(code)
        if tag is None:
            return ()
        what = f"tag {code} of page {page.name}"
        values = self.numbers(tag, what)
        if values.dtype.kind not in "iu":
            raise self.damaged(f"{what} is no integer")
        return tuple(int(v) for v in values)

    def text(self, page: Page, code: int) -> str:
        """Return a page's tag as text, or an empty one when it is absent."""
        tag = page.tags.get(code)
        if tag is None:
            return ""
        return decoded(self.raw(tag, f"tag {code} of page {page.name}"))


def decoded(raw: bytes) -> str:
    """Return text: up to its ending zeros, UTF-8 if it is that, else Latin-1."""
    raw = raw.rstrip(b"\0")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
