"""Digests of several files at once."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence

import numpy as np

from nxconvert import compiled

_LANES = 8


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


def md5(runs: Sequence[memoryview]) -> list[bytes]:
    """Return the MD5 of each run of bytes, eight at once where the compiled library can.

    Parameters
    ----------
    runs
        Contiguous bytes that nobody changes meanwhile.
    """
    library = compiled.library()
    out: list[bytes] = []
    for start in range(0, len(runs), _LANES):
        if library is None:
            break
        some = runs[start : start + _LANES]
        made = (ctypes.c_uint8 * (16 * len(some)))()
        places = (ctypes.c_void_p * len(some))(*map(_address, some))
        if not library.nx_md5(places, (ctypes.c_size_t * len(some))(*map(len, some)), len(some), made):
            break
        out += [bytes(made[i : i + 16]) for i in range(0, len(made), 16)]
    return out + [hashlib.md5(run, usedforsecurity=False).digest() for run in runs[len(out) :]]


def _address(run: memoryview) -> int:
    return int(np.frombuffer(run, np.uint8).ctypes.data) if len(run) else 0
