"""``nxconvert validate``: whether NeXus files have what programs look for in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import FAILED, OK, command, complain, printable, say

if TYPE_CHECKING:
    from nxconvert.validation import Validation

SHOWN = 20
"""How many problems of a file are printed."""


@command
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="NeXus/HDF5 files.")],
    nxdl: Annotated[
        bool,
        typer.Option(
            "--nxdl", help="Check against the application definitions too; needs pynxtools (nxconvert[nxdl])."
        ),
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> int:
    """Validate NeXus files.

    The default plot, shapes of signals and axes, units, and what definitions require are looked at.

    Exit code 0 when nothing is wrong, 1 when something is.
    """
    from nxconvert.errors import NxconvertError, UsageError
    from nxconvert.validation import Problem, Validation, validate

    told: list[Validation] = []
    for file in files:
        try:
            told.append(validate(file, nxdl=nxdl))
        except UsageError:
            raise
        except NxconvertError as error:
            told.append(Validation(file, problems=[Problem("", error.message)]))
            if not json:
                complain(error)
            continue
        if not json:
            _tell(told[-1], quiet=quiet)
    if json:
        import json as json_module

        found = [t.as_dict() for t in told]
        print(json_module.dumps(found if len(found) > 1 else found[0]))
    return OK if all(t.good for t in told) else FAILED


def _tell(told: Validation, *, quiet: bool) -> None:
    wanted = [p for p in told.problems if p.grave or not quiet]
    for problem in wanted[:SHOWN]:
        where = f"{told.file}::{problem.where}" if problem.where else told.file
        say(f"{'error' if problem.grave else 'note'}: {where}: {problem.what}")
    if len(wanted) > SHOWN:
        say(f"... and {len(wanted) - SHOWN:,} more; --json has all")
    if told.good and not quiet:
        named = f" ({', '.join(told.definitions)})" if told.definitions else ""
        print(
            printable(
                f"{told.file}: good: {told.entries:,} {'entry' if told.entries == 1 else 'entries'}{named}, {told.plots:,} NXdata"
            )
        )
