"""Files that are compressed as a whole, by gzip or bzip2: what is inside of them."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator

from nxconvert.dissection import Content
from nxconvert.errors import InputError

MOST = 1 << 30
"""Bytes that may come out of one file."""

_WINDOW = 1 << 20

_SIGNS = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2"}


def inside(content: Content, most: int = MOST) -> Content | None:
    """Return what a compressed file holds, in memory; None when the file is not compressed.

    Raises
    ------
    InputError
        When it is damaged or cut off, or holds more than so many bytes.
    """
    how = _how(content)
    if how is None:
        return None
    out = bytearray()
    for data in _unpacked(content, how):
        out += data
        if len(out) > most:
            raise InputError(f"{content.name} unpacks to more than {most:,} bytes", "unpack it, or give more --memory")
    return Content(content.name, memoryview(out))


def beginning(content: Content, size: int) -> Content | None:
    """Return the first bytes of what a compressed file holds, as far as they are whole; None when it is not compressed.

    The rest of it is not unpacked: a file that is no image may be of any size.
    """
    how = _how(content)
    if how is None:
        return None
    out = bytearray()
    try:
        for data in _unpacked(content, how):
            out += data[: size - len(out)]
            if len(out) >= size:
                break
    except InputError:
        pass  # whether that matters is known when it is clear what it is
    return Content(content.name, memoryview(bytes(out)))


def _how(content: Content) -> str | None:
    return _SIGNS.get(bytes(content.view(0, 3)))


def _unpacked(content: Content, how: str) -> Iterator[bytes]:
    """Yield what a file holds, in parts of bounded size however much a few bytes unpack to."""
    unpacker = _unpacker(how)
    for at in range(0, content.size, _WINDOW):
        data = bytes(content.view(at, _WINDOW))
        while True:
            try:
                part = unpacker.decompress(data, _WINDOW)
            except (zlib.error, OSError, EOFError) as error:
                raise InputError(f"{content.name} is no whole {how} file: {error}") from None
            yield part
            if unpacker.eof:
                data = unpacker.unused_data
                if not data.strip(b"\0"):
                    break
                unpacker = _unpacker(how)  # a further member
            elif isinstance(unpacker, bz2.BZ2Decompressor):
                data = b""
                if unpacker.needs_input:
                    break
            else:
                data = unpacker.unconsumed_tail
                if not data and len(part) < _WINDOW:
                    break
    if not unpacker.eof:
        raise InputError(f"{content.name} is truncated: its {how} stream does not end")


def _unpacker(how: str) -> zlib._Decompress | bz2.BZ2Decompressor:
    return zlib.decompressobj(31) if how == "gzip" else bz2.BZ2Decompressor()


def bare(name: str) -> str:
    """Return a file's name without the extension of a compression."""
    for extension in (".gz", ".bz2"):
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name
