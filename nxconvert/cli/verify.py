"""``nxconvert verify``: whether packed files are whole, and whether the originals come back from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import FAILED, OK, command, printable, say

if TYPE_CHECKING:
    from nxconvert.packed.verify import Verdict

SHOWN = 20
"""How many problems are printed."""


@command
def run(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files that 'pack' made.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against", metavar="FOLDER", help="The originals: each must come back, byte for byte; repeated for more."
        ),
    ] = None,
    delete_verified: Annotated[
        bool, typer.Option("--delete-verified", help="Delete the originals, if nothing at all is wrong.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> int:
    """Verify packed files.

    Every chunk and every other byte is checked by its digest; with --against every original file is compared too.

    Exit code 0 when all is good, 1 when anything is not.
    """
    from nxconvert.errors import UsageError
    from nxconvert.packed.verify import delete_verified as delete
    from nxconvert.packed.verify import verify

    folders = against or []
    if delete_verified and (not folders or len(files) != 1):
        raise UsageError("--delete-verified needs one FILE, and --against FOLDER")
    if delete_verified and not yes and not sys.stdin.isatty():
        raise UsageError("nobody is there to ask whether the originals may go", "add --yes")
    verdicts = []
    for file in files:
        verdict = verify(file, folders)
        verdicts.append(verdict)
        if not json:
            _tell(verdict, quiet=quiet)
    if delete_verified and verdicts[0].good and (yes or _agreed(verdicts[0])):
        delete(files[0], verdicts[0])
        if not (json or quiet):
            print(f"deleted {verdicts[0].deleted} originals in {_named(verdicts[0])}")
    if json:
        import json as json_module

        print(json_module.dumps([v.as_dict() for v in verdicts] if len(verdicts) > 1 else verdicts[0].as_dict()))
    return OK if all(v.good for v in verdicts) else FAILED


def _tell(verdict: Verdict, *, quiet: bool) -> None:
    for problem in verdict.problems[:SHOWN]:
        say(f"error: {problem}")
    if len(verdict.problems) > SHOWN:
        say(f"error: ... and {len(verdict.problems) - SHOWN:,} more; --json has all")
    if verdict.good and not quiet:
        all_ = f"all of them as in {_named(verdict)}" if verdict.against else "as they were packed"
        size = f"{verdict.bytes / 1e6:,.1f} MB"
        print(printable(f"{verdict.file}: good: {verdict.files:,} files ({size}), {verdict.frames:,} frames, {all_}"))


def _named(verdict: Verdict) -> str:
    return printable(" and ".join(verdict.against))


def _agreed(verdict: Verdict) -> bool:
    return typer.confirm(f"Delete {verdict.files:,} originals in {_named(verdict)}?", default=False, err=True)
