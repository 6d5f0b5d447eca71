"""``nxtoascii``: scans to text, with the options of the tool of that name that ESRF has."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

from nxconvert.cli import loading

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
    *,
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
    selected: o.Selected,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", metavar="NAME...", help="Columns that come first; may be repeated.")
    ] = None,
    only_columns: Annotated[
        bool, typer.Option("--only_columns", "--only-columns", help="Leave the other columns and the motors out.")
    ] = False,
    dialect: o.Dialect = None,
    float_format: o.FloatFormat = None,
    append: o.Append = False,
    tables: o.Tables,
    limits: o.Limits,
    running: o.Running,
) -> int:
    """Write the scans of NeXus/HDF5 files as text: one file a scan, x first, everything else in its header."""
    from nxconvert.cli.report import run_plan

    format = o.choice(format.upper(), "--format", tuple(_FORMATS))
    o.refuse_output(files, (".csv", ".dat", ".txt", ".spec", ".asc"), "nxtoascii")
    if not selected.name and format == "SPEC":
        selected = replace(selected, name="{stem}_{entry}{ext}")
    plan = o.plan(
        selected,
        limits,
        running,
        to_format=_FORMATS[format],
        columns=tuple(columns or ()),
        only_columns=only_columns,
        include=tuple(tables.include or ()),
        matrix=tables.matrix,
        options=o.stated(dialect=dialect, float_format=float_format, append=append or None),
    )
    return run_plan(files, outdir.rstrip("/\\") + "/", plan, running)


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


loading.ends()

if __name__ == "__main__":
    main()
