"""Bytes between files: at offsets, from any thread, and on their way to the disk early.

Every output is flushed to its disk before it gets its name. A system that is told at once what will be flushed anyway
writes while the next bytes are made, and the flush at the end finds little to do. Linux can be told so for a part of a
file, and can set disk space aside; elsewhere these calls do less or nothing.

Facts: the Linux manual pages ``sync_file_range(2)`` and ``fallocate(2)``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
from functools import cache
from typing import Any

PAGE = 4096
"""Bytes from whose multiples on a system copies and keeps parts of files."""

_PIECE = 1 << 20
_START_WRITING = 2
_KEEP_SIZE = 1
_seeking = threading.Lock()
_own = threading.local()  # each thread's


def read_at(handle: int, offset: int, buffer: Any) -> int:
    """Fill a buffer from an offset of a file; return the bytes that were there, fewer at the file's end."""
    view = memoryview(buffer).cast("B")
    done = 0
    while done < len(view):
        if hasattr(os, "preadv"):
            n = os.preadv(handle, [view[done:]], offset + done)
        else:
            with _seeking:
                os.lseek(handle, offset + done, os.SEEK_SET)
                data = os.read(handle, min(len(view) - done, _PIECE))
            n = len(data)
            view[done : done + n] = data
        if not n:
            break
        done += n
    return done


def write_at(handle: int, offset: int, data: Any) -> None:
    """Write bytes at an offset of a file, and have the disk begin with them."""
    view = memoryview(data).cast("B")
    _put(handle, offset, view)
    start_writing(handle, offset, len(view))


def _put(handle: int, offset: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        if hasattr(os, "pwrite"):
            done += os.pwrite(handle, view[done:], offset + done)
        else:
            with _seeking:
                os.lseek(handle, offset + done, os.SEEK_SET)
                done += os.write(handle, view[done : done + _PIECE])


def copy(source: int, at: int, target: int, to: int, size: int) -> int:
    """Copy bytes from file to file, and have the disk begin with them; return how many the source had.

    They pass through memory that stays in the processor's cache: ``copy_file_range`` of Linux goes page by page where
    the file system does not copy by itself, and takes half as long again.
    """
    if not hasattr(_own, "piece"):
        _own.piece = memoryview(bytearray(_PIECE))
    done = 0
    while done < size:
        n = read_at(source, at + done, _own.piece[: size - done])
        if not n:
            break
        _put(target, to + done, _own.piece[:n])
        done += n
    start_writing(target, to, done)
    return done


def start_writing(handle: int, offset: int, size: int) -> None:
    """Have the disk begin with a part of a file; what goes wrong shows when the file is flushed."""
    call = _call("sync_file_range", ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    if call is not None:
        call(handle, offset, size, _START_WRITING)


def reserve(handle: int, size: int) -> None:
    """Set disk space aside for the first bytes of a file, which then reads as zeros up to there.

    Raises
    ------
    OSError
        When the disk has not as much. Where space cannot be set aside nothing happens.
    """
    call = _call("fallocate", ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if call is not None and call(handle, 0, 0, size):
        code = ctypes.get_errno()
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(code, os.strerror(code))


def reserve_ahead(handle: int, offset: int, size: int) -> None:
    """Set disk space aside behind a file's end, which stays where it is; a file that grows into it is written faster.

    Where space cannot be set aside, or the disk has not as much, nothing happens. ``release_ahead`` gives it back.
    """
    call = _call("fallocate", ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if call is not None:
        call(handle, _KEEP_SIZE, offset, size)


def release_ahead(handle: int) -> None:
    """Give back the disk space that is set aside behind a file's end."""
    os.ftruncate(handle, os.fstat(handle).st_size)


@cache
def _call(name: str, *arguments: Any) -> Any:
    """Return a function of Linux's C library, None elsewhere."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) < 8:
        return None
    found = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if found is not None:
        found.argtypes, found.restype = (ctypes.c_int, *arguments), ctypes.c_int
    return found
