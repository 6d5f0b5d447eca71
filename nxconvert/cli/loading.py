"""Ctrl-C while a command is still being loaded: the process ends at once, and without a traceback.

There is nothing yet that would have to be put in order, and no handler of errors that could say so. A program imports
this first, before what takes time, and calls ``ends`` last.
"""

from __future__ import annotations

import signal
import threading


def begins() -> None:
    """Let Ctrl-C end the process, unless it is ignored or somebody else has a use for it."""
    if threading.current_thread() is threading.main_thread() and _is(signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def ends() -> None:
    """Let it raise ``KeyboardInterrupt`` again."""
    if threading.current_thread() is threading.main_thread() and _is(signal.SIG_DFL):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is(handler: object) -> bool:
    return signal.getsignal(signal.SIGINT) == handler


begins()
