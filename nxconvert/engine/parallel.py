"""Work shared between processes, where the system can fork and there is more than one processor.

HDF5 does one thing at a time in a process, and so does Python; the records of an input that become files of their own
can be written by as many processes as there are processors. A child is a copy of this process that does its share and
sends back what it has to tell.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def processors() -> int:
    """Return how many processes are worth starting; 1 where the system cannot fork."""
    if sys.platform in ("win32", "darwin") or threading.active_count() > 1:
        return 1  # macOS's own libraries do not survive a fork, nor does a lock that another thread holds
    return len(os.sched_getaffinity(0))


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
    children = [_start(work, i, shares) for i in range(1, shares)]
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
    if failure is not None:
        raise failure
    return results


def _start(work: Callable[[int, int], Any], share: int, shares: int) -> tuple[int, int]:
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    code = 1
    try:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(_told(work, share, shares))
        code = 0
    finally:
        os._exit(code)


def _told(work: Callable[[int, int], Any], share: int, shares: int) -> bytes:
    try:
        return pickle.dumps((work(share, shares), None))
    except BaseException as error:  # noqa: BLE001 - sent to the parent, which raises it
        return pickle.dumps((None, error))


def _result(pid: int, pipe: int) -> Any:
    with os.fdopen(pipe, "rb") as file:
        told = file.read()
    os.waitpid(pid, 0)
    if not told:
        raise RuntimeError("a process that wrote a share of the outputs died; is there enough memory?")
    result, error = pickle.loads(told)  # noqa: S301 - from our own child
    if error is not None:
        raise error
    return result
