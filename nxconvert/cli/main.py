"""The ``nxconvert`` command: its subcommands, each in a file of its own."""

from __future__ import annotations

import os

from nxconvert.cli import loading

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here, and numpy loads in half the time

import typer

from nxconvert.cli import compare, convert, formats, ls, mapping, pack, restore, validate, verify
from nxconvert.cli.boundary import start

app = typer.Typer(
    name="nxconvert",
    help="Convert scientific data between NeXus/HDF5 and CSV, ASCII, SPEC, TIFF and more; pack image files into HDF5.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("convert", no_args_is_help=True)(convert.run)
app.command("compare", no_args_is_help=True)(compare.run)
app.command("formats")(formats.run)
app.command("ls", no_args_is_help=True)(ls.run)
app.add_typer(mapping.app, name="mapping")
app.command("pack", no_args_is_help=True)(pack.run)
app.command("restore", no_args_is_help=True)(restore.run)
app.command("validate", no_args_is_help=True)(validate.run)
app.command("verify", no_args_is_help=True)(verify.run)


def version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        from nxconvert import __version__

        print(f"nxconvert {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
) -> None:
    """Convert scientific data between NeXus/HDF5 and CSV, ASCII, SPEC, TIFF and more; pack image files into HDF5."""


def main() -> None:
    """Run ``nxconvert``."""
    start(app, "nxconvert")


loading.ends()

if __name__ == "__main__":
    main()
