"""What outputs of either kind share."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nxconvert.engine.publish import Publisher
from nxconvert.engine.transfer import Moved
from nxconvert.errors import OutputError
from nxconvert.format import Report


def rename(error: BaseException, part: Path, path: Path) -> None:
    """Let an error have the name that was asked for, not the one that an output has until it is complete."""
    if isinstance(error, OutputError):
        if os.strerror(errno.ENOSPC) in error.message and not error.tip:
            error.tip = "free some space, or choose another folder"
        shown = str(path)
        if shown == "-":
            shown = f"standard output, kept in {part.parent} until it is complete,"
            error.tip = "free some space there, or set TMPDIR to another folder"
        error.message = error.message.replace(str(part), shown)
        error.args = (error.message,)


def moved_to(path: Path, publisher: Publisher, report: Report) -> Moved:
    """Return what is to be told that bytes of an output have been written."""

    def moved(what: str, size: int) -> None:
        publisher.settle(path, size)
        report.moved(what, size)

    return moved
