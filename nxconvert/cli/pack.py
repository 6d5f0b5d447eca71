"""``nxconvert pack``: files of images into one HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import command, say

if TYPE_CHECKING:
    from nxconvert.series import Catalogue


@command
def run(
    places: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Folders, globs, files, or patterns: 'scan_%04d.edf', '{index:04d}'."),
    ],
    *,
    out: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The packed file, e.g. scan.h5.")],
    compression: Annotated[
        str, typer.Option("--compression", metavar="NAME", help="Of the frames: bitshuffle-lz4, gzip, none...")
    ] = "bitshuffle-lz4",
    chunks: Annotated[
        str | None, typer.Option("--chunks", metavar="1,Y,X", help="Shape of a chunk; default: one frame.")
    ] = None,
    on_problem: Annotated[
        str,
        typer.Option(
            "--on-problem",
            metavar="error|skip|fill",
            help="What becomes of frames that cannot be read or are odd; their files are kept in any case.",
        ),
    ] = "error",
    expect: Annotated[int | None, typer.Option("--expect", metavar="N", help="How many frames there must be.")] = None,
    begin: Annotated[int | None, typer.Option("--begin", metavar="N", help="First number of a pattern.")] = None,
    end: Annotated[int | None, typer.Option("--end", metavar="N", help="Last number of a pattern.")] = None,
    mapping: o.Mapping = "auto",
    join: Annotated[
        str, typer.Option("--join", metavar="FILE[::SCAN]", help="A scan whose columns go beside the frames.")
    ] = "",
    on: Annotated[
        str, typer.Option("--on", metavar="row|index|file", help="How rows of --join and frames belong together.")
    ] = "row",
    memory: o.Memory = "256MiB",
    running: o.Running,
) -> int:
    """Pack image files into one HDF5 file.

    Each has one or more frames; 'restore' gives the files back, byte for byte.

    All files of a folder are kept, those that are no images too. Names, sizes and headers are checked before anything
    is written. A run that was stopped goes on where it was when the same command is given again.
    """
    from nxconvert.cli.progress import Progress
    from nxconvert.cli.report import tell
    from nxconvert.conversion.join import ON
    from nxconvert.format import Report
    from nxconvert.formats.hdf5.names import COMPRESSIONS
    from nxconvert.packed.journal import left
    from nxconvert.packed.pack import PROBLEMS, Plan, pack

    plan = Plan(
        compression=o.choice(compression, "--compression", COMPRESSIONS),
        chunks=o.numbers(chunks, "--chunks"),
        on_problem=o.choice(on_problem, "--on-problem", PROBLEMS),
        expect=expect,
        begin=begin,
        end=end,
        mapping=mapping,
        join=join,
        on=o.choice(on, "--on", ON),
        memory=o.size(memory),
        overwrite=running.overwrite,
        dry_run=running.dry_run,
        strict=running.strict,
    )
    with Progress(quiet=running.quiet or running.json) as progress:
        report = Report(progress=progress)
        try:
            catalogue = pack(places, Path(out), plan, report)
        except KeyboardInterrupt:
            if left(Path(out)):
                say("what was packed so far is kept: the same command goes on with it")
            raise
    if not (running.json or running.quiet or report.failed):
        for line in _lines(catalogue):
            print(f"would pack {line}" if running.dry_run else line)
    return tell(report, running, _as_dict(catalogue))


def _lines(catalogue: Catalogue) -> list[str]:
    from nxconvert.cli.boundary import printable

    lines = []
    for record in catalogue.records:
        shape = " x ".join(map(str, (len(record), *record.shape)))
        lines.append(printable(f"{record.path}  {shape} {record.dtype.name}  {record.series}"))
    other = [printable(file.name) for file in catalogue.files if not file.format]
    if other:
        names = ", ".join(other[:5]) + (", ..." if len(other) > 5 else "")
        those = f"{len(other):,} files that are" if len(other) > 1 else "1 file that is"
        lines.append(f"{those} no image, kept whole: {names}")
    return lines


def _as_dict(catalogue: Catalogue) -> dict[str, Any]:
    records = [
        {
            "entry": record.entry,
            "path": record.path,
            "series": record.series,
            "role": record.role,
            "frames": len(record),
            "shape": list(record.shape),
            "dtype": record.dtype.str,
            "missing": record.missing(),
            "damaged": sorted(record.damaged),
        }
        for record in catalogue.records
    ]
    return {
        "files": len(catalogue.files),
        "bytes": sum(file.size for file in catalogue.files),
        "records": records,
        "problems": [{"file": p.file, "what": p.what} for p in catalogue.problems],
    }
