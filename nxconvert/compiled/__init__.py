"""What is too slow in Python, in C: the functions of one library, called without Python's global lock.

The library is built when nxconvert is installed, where there is a C compiler. Without it everything works, and gives
the same values, only slower: who calls a function here asks first whether ``library()`` is there, and has another way.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

VERSION = 3
"""Of the functions; a library of another version, left by an older nxconvert, is not used."""

_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "nx_sha256_pair": (_INT, [_POINTER, _SIZE, _POINTER, _SIZE, _POINTER]),
    "nx_md5": (_INT, [_POINTER, _POINTER, _SIZE, _POINTER]),
    "nx_hdf5_small": (_INT, [_POINTER, ctypes.c_int64, ctypes.c_char_p, _POINTER]),
    "nx_numbers": (
        ctypes.c_int64,
        [ctypes.c_char_p, _SIZE, _INT, _INT, _POINTER, _SIZE, ctypes.c_char_p, *[_POINTER] * 2, _SIZE, _SIZE, _POINTER],
    ),
    "nx_rows": (_SIZE, [_POINTER, _SIZE, _SIZE, *[_POINTER] * 3]),
    "nx_lines": (ctypes.c_int64, [ctypes.c_char_p, _SIZE, _POINTER]),
    "nx_bitshuffle_lz4": (_SIZE, [_POINTER, _POINTER, _SIZE, _SIZE, _SIZE]),
    "nx_unbitshuffle_lz4": (_INT, [_POINTER, _SIZE, _POINTER, _SIZE, _SIZE, _SIZE]),
    "nx_deflate": (_SIZE, [_POINTER, _SIZE, _POINTER]),
    "nx_shuffle": (None, [_POINTER, _POINTER, _SIZE, _SIZE]),
    "nx_unshuffle": (None, [_POINTER, _POINTER, _SIZE, _SIZE]),
    "nx_byte_offset_decode": (ctypes.c_int64, [_POINTER, _SIZE, _POINTER, _SIZE, _INT]),
    "nx_byte_offset_encode": (_SIZE, [_POINTER, _SIZE, _INT, _POINTER]),
    "nx_byte_offset_same": (_INT, [_POINTER, _SIZE, _INT, _POINTER, _SIZE]),
    "nx_lzw_encode": (_SIZE, [_POINTER, _SIZE, _INT, _POINTER]),
    "nx_lzw_same": (_INT, [_POINTER, _SIZE, _INT, _POINTER, _SIZE]),
    "nx_packbits_encode": (_SIZE, [_POINTER, _SIZE, _SIZE, _POINTER]),
}
"""What each function returns and takes; the C files say what it does."""


@cache
def library() -> Any | None:
    """Return the library; None where it was not built, or is not for this machine."""
    if sys.byteorder != "little":
        return None
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).parent / "built" / f"library{suffix}"
        if not path.exists():
            continue
        try:
            found = ctypes.CDLL(str(path))
            if found.nx_version() != VERSION:
                continue
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(found, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return found
    return None
