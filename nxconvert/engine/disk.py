"""Bytes between files: at offsets, from any thread, and on their way to the disk early.

Every output is flushed to its disk before it gets its name. A system that is told at once what will be flushed anyway
writes while the next bytes are made, and the flush at the end finds little to do. Linux can be told so for a part of a
file, can copy from file to file without the bytes passing through this process, and can set disk space aside; elsewhere
these calls do less or nothing.

Facts: the Linux manual pages ``sync_file_range(2)``, ``fallocate(2)`` and ``copy_file_range(2)``.
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
_NO_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY}
_seeking = threading.Lock()


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
    done = 0
    while done < len(view):
        if hasattr(os, "pwrite"):
            done += os.pwrite(handle, view[done:], offset + done)
        else:
            with _seeking:
                os.lseek(handle, offset + done, os.SEEK_SET)
                done += os.write(handle, view[done : done + _PIECE])
    start_writing(handle, offset, len(view))


def copy(source: int, at: int, target: int, to: int, size: int) -> int:
    """Copy bytes from file to file, and have the disk begin with them; return how many the source had.

    It is quickest when both offsets lie at the same distance from a multiple of ``PAGE``.
    """
    done = _copied_within(source, at, target, to, size) if sys.platform == "linux" else 0
    if done < size:
        piece = bytearray(min(size - done, _PIECE))
        while done < size:
            n = read_at(source, at + done, memoryview(piece)[: size - done])
            if not n:
                break
            write_at(target, to + done, memoryview(piece)[:n])
            done += n
    else:
        start_writing(target, to, size)
    return done


def _copied_within(source: int, at: int, target: int, to: int, size: int) -> int:
    """Have the system copy; return how far it came where it cannot between these files."""
    done = 0
    while done < size:
        try:
            n = os.copy_file_range(source, target, size - done, at + done, to + done)
        except OSError as error:
            if error.errno in _NO_COPY:
                break
            raise
        if not n:
            break
        done += n
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
