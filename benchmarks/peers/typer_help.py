"""A minimal typer application."""

import typer

app = typer.Typer(add_completion=False)


@app.command()
def convert(source: str, target: str, overwrite: bool = False) -> None:
    """Convert a file."""


@app.command()
def formats() -> None:
    """List formats."""


app()
