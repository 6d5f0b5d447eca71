"""SHA-256 of several files at once."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence

import numpy as np

from nxconvert import compiled


def sha256(runs: Sequence[memoryview]) -> list[bytes]:
    """Return the SHA-256 of each run of bytes.

    Two are worked on at once where the compiled library and the processor can: that takes the time of one.

    Parameters
    ----------
    runs
        Contiguous bytes that nobody changes meanwhile.
    """
    library = compiled.library()
    out: list[bytes] = []
    if library is not None:
        both = (ctypes.c_uint8 * 64)()
        for one, two in zip(runs[::2], runs[1::2], strict=False):
            if not library.nx_sha256_pair(_address(one), len(one), _address(two), len(two), both):
                break
            made = bytes(both)
            out += [made[:32], made[32:]]
    return out + [hashlib.sha256(run).digest() for run in runs[len(out) :]]


def _address(run: memoryview) -> int:
    return int(np.frombuffer(run, np.uint8).ctypes.data) if len(run) else 0
