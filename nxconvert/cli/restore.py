"""``nxconvert restore``: the files that were packed, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import command, say


@command
def run(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file that 'pack' made.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Only files whose names match, e.g. 'dark*'.")
    ] = None,
    *,
    out: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="Where the files go.")] = ".",
    frames: Annotated[
        str, typer.Option("--frames", metavar="A:B", help="Only files of these frames of /entry, e.g. 10:20.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="Convert the images, e.g. tiff; default: as they were.")
    ] = "",
    running: o.Running,
) -> int:
    """Restore the files of a packed file.

    Each has its bytes, its name and its time again, and is proven by its SHA-256.
    """
    from nxconvert.cli.progress import Progress
    from nxconvert.cli.report import tell
    from nxconvert.format import Report
    from nxconvert.packed.restore import Selection, restore

    with Progress(quiet=running.quiet or running.json) as progress:
        report = Report(progress=progress)
        selection = Selection(tuple(names or ()), _rows(frames))
        try:
            restore(
                Path(source), Path(out), report, selection, to, overwrite=running.overwrite, dry_run=running.dry_run
            )
        except KeyboardInterrupt:
            say("files that have their names are whole; --overwrite restores them again")
            raise
    return tell(report, running)


def _rows(text: str) -> tuple[int | None, int | None] | None:
    from nxconvert.errors import UsageError

    if not text:
        return None
    begin, colon, end = text.partition(":")
    try:
        start = int(begin) if begin.strip() else None
        stop = (int(end) if end.strip() else None) if colon else int(begin) + 1 or None
    except ValueError:
        raise UsageError(f"--frames {text!r} is no range", "write e.g. 10:20, or 7") from None
    return start, stop
