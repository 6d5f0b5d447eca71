"""``nxtoascii``: scans to text, with the options of the tool of that name that ESRF has."""

from __future__ import annotations

import os
import sys
from typing import Annotated

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here, and numpy loads in half the time

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import command, start

_FORMATS = {"CSV": "csv", "ASCII": "plain", "SPEC": "spec", "MULTISPEC": "spec"}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(no_args_is_help=True)
@command
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="NeXus/HDF5 files, FILE::/1.1, folders.")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="CSV|ASCII|SPEC|MULTISPEC",
            help="CSV, whitespace columns, SPEC a file a scan, SPEC in one file.",
        ),
    ] = "CSV",
    outdir: Annotated[
        str, typer.Option("--outdir", metavar="DIR", help="Folder of the outputs; default: this one.")
    ] = ".",
    scans: o.Scans = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", metavar="NAME...", help="Columns that come first; may be repeated.")
    ] = None,
    only_columns: Annotated[
        bool, typer.Option("--only_columns", "--only-columns", help="Leave the other columns and the motors out.")
    ] = False,
    dialect: o.Dialect = None,
    float_format: o.FloatFormat = None,
    include: o.Include = None,
    table: o.Table = None,
    unfinished: o.Unfinished = False,
    name: o.Name = "",
    mapping: o.Mapping = "auto",
    memory: o.Memory = "256MiB",
    allow_root: o.AllowRoot = None,
    allow_missing: o.AllowMissing = False,
    allow_external_raw: o.AllowRaw = False,
    overwrite: o.Overwrite = False,
    append: o.Append = False,
    dry_run: o.DryRun = False,
    strict: o.Strict = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> int:
    """Write the scans of NeXus/HDF5 files as text: one file a scan, x first, everything else in its header."""
    from nxconvert.cli.report import run_plan
    from nxconvert.conversion import Plan

    format = o.choice(format.upper(), "--format", tuple(_FORMATS))
    if not name and format == "SPEC":
        name = "{stem}_{entry}{ext}"
    plan = Plan(
        to_format=_FORMATS[format],
        mapping=mapping,
        policy=o.policy(memory, allow_root, allow_missing, allow_external_raw),
        scans=tuple(scans or ()),
        columns=tuple(columns or ()),
        only_columns=only_columns,
        include=tuple(include or ()),
        matrix=None if table is None else o.choice(table, "--table", ("long", "matrix")) == "matrix",
        unfinished=unfinished,
        name=name,
        overwrite=overwrite,
        dry_run=dry_run,
        options=o.stated(dialect=dialect, float_format=float_format, append=append or None),
    )
    return run_plan(files, outdir.rstrip("/\\") + "/", plan, strict=strict, json=json, quiet=quiet)


def spread(arguments: list[str], option: str = "--columns") -> list[str]:
    """Let one ``--columns`` take several names, as the older tool does."""
    out: list[str] = []
    taking = False
    for argument in arguments:
        if argument == option:
            taking = True
        elif argument.startswith("-"):
            taking = False
            out.append(argument)
        elif taking:
            out += [option, argument]
        else:
            out.append(argument)
    return out


def main() -> None:
    """Run ``nxtoascii``."""
    sys.argv[1:] = spread(sys.argv[1:])
    start(app, "nxtoascii")


if __name__ == "__main__":
    main()
