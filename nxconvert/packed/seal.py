"""The digests of a packed file: one of each chunk as it is stored, and the seal, of every other byte of the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from nxconvert.packed import trusted
from nxconvert.packed.store import read_at

SEAL = "/origin/seal"
DIGESTS = "/origin/digests"
_WINDOW = 4 << 20


def place_of(file: h5py.File) -> int:
    """Return the byte of the file at which the seal lies."""
    return trusted.place(file, SEAL, 32)


def make_room(file: h5py.File) -> None:
    """Make the dataset of the seal, whose 32 bytes are filled in when the file is whole."""
    from h5py import h5d, h5p, h5s, h5t

    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(h5d.CONTIGUOUS)
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    made = h5d.create(file["origin"].id, b"seal", h5t.STD_U8LE, h5s.create_simple((32,)), dcpl=plist)
    made.write(h5s.ALL, h5s.ALL, np.zeros(32, np.uint8))


def chunk_ranges(file: h5py.File) -> Iterator[tuple[int, int]]:
    """Yield offset and size of all chunks that have digests of their own."""
    for name in file[DIGESTS]:
        dataset = file[str(file[DIGESTS][name].attrs["of"])]
        found: list[tuple[int, int]] = []
        dataset.id.chunk_iter(lambda info, found=found: found.append((int(info.byte_offset), int(info.size))))
        yield from found


def rest(path: Path, ranges: Iterable[tuple[int, int]], seal: int) -> bytes:
    """Return the SHA-256 of all bytes of a file outside of some ranges and of the seal at an offset."""
    digest = hashlib.sha256()
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(handle).st_size
        at = 0
        for start, length in [*sorted([*ranges, (seal, 32)]), (size, 0)]:
            while at < start:
                data = read_at(handle, at, min(_WINDOW, start - at))
                if not data:
                    break
                digest.update(data)
                at += len(data)
            at = max(at, start + length)
        digest.update(size.to_bytes(8, "little"))
    finally:
        os.close(handle)
    return digest.digest()


def close(path: Path) -> None:
    """Write the seal into a file that is whole and closed."""
    with h5py.File(path, "r", locking=False) as file:
        seal = place_of(file)
        ranges = list(chunk_ranges(file))
    digest = rest(path, ranges, seal)
    with path.open("r+b") as file_:
        file_.seek(seal)
        file_.write(digest)
