"""``nxtotiff``: the images of NeXus/HDF5 files as TIFF, with options like those of ``nxtoascii``."""

from __future__ import annotations

import os
from typing import Annotated

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here, and numpy loads in half the time

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import command, start

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(no_args_is_help=True)
@command
def run(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="NeXus/HDF5 files, FILE::/path[0:10], folders.")
    ],
    outdir: Annotated[
        str, typer.Option("--outdir", metavar="DIR", help="Folder of the outputs; default: this one.")
    ] = ".",
    profile: o.Profile = None,
    compression: Annotated[
        str | None,
        typer.Option("--compression", metavar="NAME", help="none, deflate, lzw, zstd, packbits, lzma; default: none."),
    ] = None,
    cast: o.Cast = None,
    range: o.Range = None,
    scans: o.Scans = None,
    unfinished: o.Unfinished = False,
    name: o.Name = "",
    mapping: o.Mapping = "auto",
    memory: o.Memory = "256MiB",
    allow_root: o.AllowRoot = None,
    allow_missing: o.AllowMissing = False,
    allow_external_raw: o.AllowRaw = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
    strict: o.Strict = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> int:
    """Write the images of NeXus/HDF5 files as TIFF: one file (or folder) for each stack, everything else in its header."""
    from nxconvert.cli.report import run_plan
    from nxconvert.conversion import Plan

    plan = Plan(
        to_format="tiff",
        mapping=mapping,
        policy=o.policy(memory, allow_root, allow_missing, allow_external_raw),
        scans=tuple(scans or ()),
        unfinished=unfinished,
        name=name,
        overwrite=overwrite,
        dry_run=dry_run,
        options=o.stated(profile=profile, compression=compression, cast=cast, range=range),
    )
    return run_plan(files, outdir.rstrip("/\\") + "/", plan, strict=strict, json=json, quiet=quiet)


def main() -> None:
    """Run ``nxtotiff``."""
    start(app, "nxtotiff")


if __name__ == "__main__":
    main()
