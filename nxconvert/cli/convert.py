"""``nxconvert convert``: inputs into one output, or into a folder."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import command


@command
def run(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="IN... OUT",
            help="Inputs (FILE, FILE::/path[0:10], folder, -), then the output: a file, a folder/ or -.",
        ),
    ],
    *,
    to: o.To = None,
    from_: o.From = None,
    selected: o.Selected,
    tables: o.Tables,
    switches: o.Switches,
    set: o.Set = None,
    validate: o.Validate = None,
    limits: o.Limits,
    running: o.Running,
) -> int:
    """Convert files: NeXus/HDF5 to text or images, and back.

    Several inputs into one HDF5 file are merged by their keys; inputs of text or images into a folder become one
    file for each scan or stack.
    """
    from nxconvert.cli.report import run_plan
    from nxconvert.errors import UsageError

    if len(places) < 2:
        raise UsageError("an output is missing", "write nxconvert convert IN... OUT")
    if running.json and places[-1] == "-":
        raise UsageError("--json and the output would mix on standard output", "name a file, or leave --json out")
    plan = o.plan(
        selected,
        limits,
        running,
        from_format=from_,
        to_format=to,
        include=tuple(tables.include or ()),
        matrix=tables.matrix,
        validate=o.choice(validate, "--validate", ("nxdl",)) if validate else "",
        options=switches.stated | o.settings(set or [], from_, places[-1], to),
    )
    if places[-1] == "-" and sys.stdout is not None and sys.stdout.isatty():
        _refuse_terminal(to)
    return run_plan(places[:-1], places[-1], plan, running)


def _refuse_terminal(to: str | None) -> None:
    """Refuse to write what is no text to a terminal.

    Raises
    ------
    UsageError
        When the output's format is binary: those that seek are.
    """
    from nxconvert import registry
    from nxconvert.errors import UsageError
    from nxconvert.location import Location

    format = registry.for_output(Location("-"), to)
    if format.seeks:
        raise UsageError(
            f"{format.name} is binary, which a terminal cannot show", "name a file, or lead it into one with > FILE"
        )
