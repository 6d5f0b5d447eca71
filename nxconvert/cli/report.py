"""Telling what a conversion did: in words or as JSON, with the exit code."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Any

from nxconvert.cli.boundary import FAILED, OK, complain, printable, say
from nxconvert.cli.progress import Progress
from nxconvert.errors import NxconvertError
from nxconvert.format import Report

if TYPE_CHECKING:
    from nxconvert.cli.options import Running
    from nxconvert.conversion import Plan

SHOWN = 10
"""How many warnings are printed."""


def run_plan(inputs: list[str], output: str, plan: Plan, running: Running) -> int:
    """Convert and tell; return the exit code."""
    from nxconvert.conversion import convert

    with Progress(quiet=running.quiet or running.json) as progress:
        report = Report(progress=progress)
        convert(inputs, output, plan, report)
    return tell(report, running)


def tell(report: Report, running: Running, more: dict[str, Any] | None = None) -> int:
    """Print a report; return the exit code. ``more`` is added to what ``--json`` prints."""
    if running.json:
        print(json_module.dumps({**as_dict(report), **(more or {})}))
    else:
        if not running.quiet:
            for notice in report.notices[:SHOWN]:
                say(f"warning: {notice}")
            if len(report.notices) > SHOWN:
                say(f"warning: ... and {len(report.notices) - SHOWN} more; --json has all")
            for line in summed_losses(report):
                say(f"warning: {line}")
            for remark in report.remarks[:SHOWN]:
                say(f"note: {remark}")
            if report.untaken is not None:
                _tell_untaken(report.untaken)
        for where, error in report.failed:
            complain(error if isinstance(error, NxconvertError) else NxconvertError(f"{where}: {error}"))
        if not running.quiet:
            for path in report.outputs:
                print(printable(f"would write {path}" if running.dry_run else path))
    if report.failed or (running.strict and (report.notices or report.losses or report.skipped)):
        return FAILED
    return OK


def _tell_untaken(paths: list[str]) -> None:
    """Say how many datasets no rule took, and the first of them."""
    count = "one dataset" if len(paths) == 1 else f"{len(paths):,} datasets"
    say(f"note: no rule of the mapping takes {count}" + (":" if paths else ""))
    for path in paths[:SHOWN]:
        say(f"  {path}")
    if len(paths) > SHOWN:
        say(f"  ... and {len(paths) - SHOWN:,} more; --json has all")


def summed_losses(report: Report) -> list[str]:
    """Say losses in few lines: by reason, with how many and the first."""
    by_reason: dict[str, list[Any]] = {}
    for loss in report.losses:
        by_reason.setdefault(loss.why, []).append(loss)
    lines = []
    for why, losses in by_reason.items():
        if why == "not a column of scalars":
            continue  # told in a line of its own, by scan
        more = f" and {len(losses) - 1} more" if len(losses) > 1 else ""
        lines.append(f"not carried: {losses[0].where}: {losses[0].what}{more}: {why}")
    return lines


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as plain data: the interface of ``--json``."""
    untaken = {} if report.untaken is None else {"untaken": report.untaken}
    return {
        "outputs": report.outputs,
        "warnings": [str(n) for n in report.notices],
        "notes": report.remarks,
        "losses": [{"what": x.what, "where": x.where, "why": x.why} for x in report.losses],
        "skipped": [{"what": x.what, "where": x.where, "why": x.why} for x in report.skipped],
        "failed": [{"input": w, "error": str(e), "tip": getattr(e, "tip", "")} for w, e in report.failed],
        **untaken,
    }
