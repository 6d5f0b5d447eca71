"""``nxconvert compare``: whether two files hold the same, and where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import FAILED, OK, command, complain, printable, say

if TYPE_CHECKING:
    from nxconvert.comparison import Comparison

SHOWN = 100
"""How many differences are printed."""


@command
def run(
    a: Annotated[str, typer.Argument(metavar="A", help="A file, or FILE::/path[0:10].")],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    *,
    rtol: Annotated[
        float,
        typer.Option(
            "--rtol",
            metavar="R",
            help="Numbers may differ by R times the larger one; default: exact.",
            show_default=False,
        ),
    ] = 0.0,
    atol: Annotated[
        float,
        typer.Option(
            "--atol",
            metavar="D",
            help="Numbers may differ by D besides, e.g. around zero; default: exact.",
            show_default=False,
        ),
    ] = 0.0,
    from_: o.From = None,
    mapping: o.Mapping = "auto",
    reading: o.Reading,
    set: o.Set = None,
    limits: o.Limits,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> int:
    """Compare two files, and say where they differ.

    Exit code 0 when they hold the same, 1 when they differ.

    Trees are compared as trees: names, links, types, attributes, values; not how values are stored, nor in which file.
    A tree and a table are compared as records, through the mapping that the table names, or --mapping.

    Exact means equal bits: 0.0 is not -0.0, but NaN equals NaN. With --rtol or --atol float32 may meet float64.
    """
    from nxconvert.comparison import Tolerance, compare
    from nxconvert.conversion import Plan
    from nxconvert.errors import UsageError

    if not rtol >= 0 or not atol >= 0:
        raise UsageError("a tolerance is a number of 0 or more", "write e.g. --rtol 1e-6")
    options = reading.stated | o.settings(set or [], from_)
    plan = Plan(from_format=from_, mapping=mapping, policy=limits.policy, options=options)
    found = compare(a, b, plan, Tolerance(rtol, atol))
    if json:
        import json as json_module

        print(json_module.dumps(as_dict(found)))
    else:
        _tell(found, quiet=quiet)
    return OK if found.equal else FAILED


def _tell(found: Comparison, *, quiet: bool) -> None:
    from nxconvert.errors import NxconvertError

    if not quiet:
        for notice in found.notices:
            say(f"note: {notice}")
        for difference in found.differences[:SHOWN]:
            print(printable(str(difference)))
        if len(found.differences) > SHOWN:
            print(f"... and {len(found.differences) - SHOWN:,} more; --json has all")
    for where, error in found.unread:
        tip = error.tip if isinstance(error, NxconvertError) else ""
        said = str(error)
        complain(NxconvertError(f"not compared: {said if where in said else f'{where}: {said}'}", tip))
    if found.equal and not quiet:
        print(f"equal: {found.compared:,} compared")


def as_dict(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data: the interface of ``--json``."""
    return {
        "equal": found.equal,
        "compared": found.compared,
        "differences": [{k: getattr(d, k) for k in ("where", "kind", "a", "b", "note")} for d in found.differences],
        "unread": [{"where": w, "error": str(e), "tip": getattr(e, "tip", "")} for w, e in found.unread],
        "notices": found.notices,
    }
