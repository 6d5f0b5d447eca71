"""Work shared between processes, where the system can fork and there is more than one processor.

HDF5 does one thing at a time in a process, and so does Python; the records of an input that become files of their own
can be written by as many processes as there are processors, and so can the lines of a large table. A child is a copy of
this process that does its share and sends back what it has to tell; what it works on need not be sent.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")

MOST = 4
"""How many processes work in turn: the one that puts their work together keeps up with no more."""

PIPE = 1 << 20
"""Bytes that a process can send before somebody takes them; what Linux lets anybody have."""

FLUSHING = "flush"
"""Name of threads that hold no lock: they wait for the disk."""

_SIZE = struct.Struct("<q")

_busy = False  # whether this process is one of several already


def processors() -> int:
    """Return how many processes are worth starting; 1 where the system cannot fork, or they run already."""
    threads = [t for t in threading.enumerate() if t.name != FLUSHING]
    if _busy or sys.platform in ("win32", "darwin") or len(threads) > 1:
        return 1  # macOS's own libraries do not survive a fork, nor does a lock that another thread holds
    return len(os.sched_getaffinity(0))


def in_turn(work: Callable[[int], bytes], count: int) -> Iterator[bytes]:
    """Yield what work makes of the numbers from 0 up to a count, in order; processes take turns in making it.

    Close the generator when it was left early.

    Parameters
    ----------
    work
        Called with a number; whatever else it changes may be lost.
    count
        How many numbers there are.

    Raises
    ------
    BaseException
        What work raised.
    """
    shares = min(processors(), count, MOST)
    if shares < 2:
        yield from map(work, range(count))
        return

    def body(share: int, pipe: BinaryIO) -> None:
        for number in range(share, count, shares):
            try:
                made, sign = work(number), 1
            except Exception as error:  # noqa: BLE001 - sent to the parent, which raises it
                made, sign = pickle.dumps(error), -1
            pipe.write(_SIZE.pack(sign * len(made)))
            pipe.write(made)
            pipe.flush()

    children = [_start(partial(body, share)) for share in range(1, shares)]
    try:
        for number in range(count):
            share = number % shares
            yield _received(children[share - 1][1]) if share else work(number)
    finally:
        for _, pipe in children:
            pipe.close()  # a child that still writes ends then
        for pid, _ in children:
            os.waitpid(pid, 0)


def _received(pipe: BinaryIO) -> bytes:
    head = pipe.read(_SIZE.size)
    size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else 0
    made = pipe.read(abs(size))
    if not head or len(made) != abs(size):
        raise RuntimeError("a process that made a part of the output died; is there enough memory?")
    if size < 0:
        raise pickle.loads(made)  # noqa: S301 - from our own child
    return made


def shared(work: Callable[[int, int], T], shares: int) -> list[T]:
    """Do work in processes, the first share in this one.

    Parameters
    ----------
    work
        Called with the number of the share and of all shares; what it returns must pickle.
    shares
        How many there are.

    Returns
    -------
    list
        What each share returned, in order.

    Raises
    ------
    BaseException
        What the first share that failed raised, after all have ended.
    """
    global _busy  # noqa: PLW0603 - it is a state of the process
    _busy = True
    children = [_start(partial(_tell, work, i, shares)) for i in range(1, shares)]
    results: list[T] = []
    failure: BaseException | None = None
    try:
        results.append(work(0, shares))
    except BaseException as error:  # noqa: BLE001 - raised again below, after the children have ended
        failure = error
        for pid, _ in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
    for pid, pipe in children:
        try:
            results.append(_result(pid, pipe))
        except BaseException as error:  # noqa: BLE001 - as above
            failure = failure or error
    _busy = False
    if failure is not None:
        raise failure
    return results


def _start(body: Callable[[BinaryIO], None]) -> tuple[int, BinaryIO]:
    """Start a process that writes into a pipe; return its number and the pipe's other end."""
    read, write = os.pipe()
    with contextlib.suppress(AttributeError, OSError):
        import fcntl

        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, os.fdopen(read, "rb")
    code = 1
    try:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            body(pipe)
        code = 0
    finally:
        os._exit(code)


def _tell(work: Callable[[int, int], Any], share: int, shares: int, pipe: BinaryIO) -> None:
    try:
        told = pickle.dumps((work(share, shares), None))
    except BaseException as error:  # noqa: BLE001 - sent to the parent, which raises it
        told = pickle.dumps((None, error))
    pipe.write(told)


def _result(pid: int, pipe: BinaryIO) -> Any:
    with pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    if not told:
        raise RuntimeError("a process that wrote a share of the outputs died; is there enough memory?")
    result, error = pickle.loads(told)  # noqa: S301 - from our own child
    if error is not None:
        raise error
    return result
