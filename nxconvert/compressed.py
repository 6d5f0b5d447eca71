"""Files that are compressed as a whole, by gzip or bzip2: what is inside of them."""

from __future__ import annotations

import bz2
import zlib

from nxconvert.dissection import Content
from nxconvert.errors import InputError

MOST = 1 << 30
"""Bytes that may come out of one file."""

_SIGNS = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2"}


def inside(content: Content) -> Content | None:
    """Return what a compressed file holds, in memory; None when the file is not compressed.

    Raises
    ------
    InputError
        When it is damaged or cut off, or holds more than ``MOST`` bytes.
    """
    how = _SIGNS.get(bytes(content.view(0, 3)))
    if how is None:
        return None
    out = bytearray()
    at = 0
    unpacker = _unpacker(how)
    while at < content.size:
        window = content.view(at, 1 << 20)
        at += len(window)
        data: bytes = bytes(window)
        while data:
            try:
                out += unpacker.decompress(data)
            except (zlib.error, OSError, EOFError) as error:
                raise InputError(f"{content.name} is no whole {how} file: {error}") from None
            if len(out) > MOST:
                raise InputError(f"{content.name} unpacks to more than {MOST:,} bytes", "unpack it first")
            data = unpacker.unused_data
            if data.strip(b"\0"):
                unpacker = _unpacker(how)  # a further member
            else:
                break
    if not unpacker.eof:
        raise InputError(f"{content.name} is truncated: its {how} stream does not end")
    return Content(content.name, memoryview(bytes(out)))


def _unpacker(how: str) -> zlib._Decompress | bz2.BZ2Decompressor:
    return zlib.decompressobj(31) if how == "gzip" else bz2.BZ2Decompressor()


def bare(name: str) -> str:
    """Return a file's name without the extension of a compression."""
    for extension in (".gz", ".bz2"):
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return name
