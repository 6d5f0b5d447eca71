"""``nxtotiff``: the images of NeXus/HDF5 files as TIFF, with options like those of ``nxtoascii``."""

from __future__ import annotations

import os
from typing import Annotated

from nxconvert.cli import loading

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
    *,
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
    selected: o.Selected,
    limits: o.Limits,
    running: o.Running,
) -> int:
    """Write the images of NeXus/HDF5 files as TIFF: one file (or folder) for each stack, everything else in its header."""
    from nxconvert.cli.report import run_plan

    o.refuse_output(files, (".tif", ".tiff"), "nxtotiff")
    plan = o.plan(
        selected,
        limits,
        running,
        to_format="tiff",
        options=o.stated(profile=profile, compression=compression, cast=cast, range=range),
    )
    return run_plan(files, outdir.rstrip("/\\") + "/", plan, running)


def main() -> None:
    """Run ``nxtotiff``."""
    start(app, "nxtotiff")


loading.ends()

if __name__ == "__main__":
    main()
