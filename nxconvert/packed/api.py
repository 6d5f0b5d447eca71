"""``nxconvert.pack``, ``restore`` and ``verify``: what the commands of these names do, with keyword arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nxconvert.conversion.join import ON
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Report
from nxconvert.formats.hdf5.names import COMPRESSIONS
from nxconvert.packed import pack as packing
from nxconvert.packed import restore as restoring
from nxconvert.packed import verify as verifying
from nxconvert.packed.verify import Verdict
from nxconvert.policy import DEFAULT_MEMORY

Place = str | os.PathLike[str]


def pack(
    places: Place | Sequence[Place],
    output: Place,
    *,
    compression: str = "bitshuffle-lz4",
    chunks: tuple[int, ...] | None = None,
    on_problem: str = "error",
    expect: int | None = None,
    begin: int | None = None,
    end: int | None = None,
    mapping: str = "auto",
    join: str = "",
    on: str = "row",
    memory: int = DEFAULT_MEMORY,
    overwrite: bool = False,
    dry_run: bool = False,
    strict: bool = False,
) -> Report:
    """Pack files of images into one HDF5 file.

    Parameters
    ----------
    places
        Folders, globs, files, or patterns such as ``scan_%04d.edf``.
    output
        The packed file.
    compression
        Of the frames.
    chunks
        Shape of a chunk, ``(1, y, x)``; None for one frame.
    on_problem
        ``error`` ends the run before anything is written when a file is damaged or odd; ``skip`` leaves its frames out,
        ``fill`` gives them rows that are marked. All files are kept in any case.
    expect
        How many frames the main record must have.
    begin, end
        First and last number of a pattern.
    mapping
        ``auto``, or a mapping that states the roles of files and the place of their headers.
    join, on
        A scan whose columns go beside the frames, ``FILE`` or ``FILE::SCAN``; and how they belong together: by
        ``row``, ``index`` or ``file``.
    memory
        Bytes to hold at once.
    overwrite, dry_run, strict
        As for ``convert``.

    Returns
    -------
    Report
        The output, and warnings: numbers that are missing, files that are damaged.

    Raises
    ------
    InputError
        When files are damaged or odd: the first of them, and how many there are.
    OutputError
        When the output cannot be written. What was written safely is gone on with by the next run.
    UsageError
        When an argument is wrong or the output exists.
    """
    plan = packing.Plan(
        compression=_choice(compression, "compression", COMPRESSIONS),
        chunks=chunks,
        on_problem=_choice(on_problem, "on_problem", packing.PROBLEMS),
        expect=expect,
        begin=begin,
        end=end,
        mapping=mapping,
        join=join,
        on=_choice(on, "on", ON),
        memory=memory,
        overwrite=overwrite,
        dry_run=dry_run,
        strict=strict,
    )
    given = [places] if isinstance(places, str | os.PathLike) else places
    report = Report()
    packing.pack([os.fspath(p) for p in given], Path(output), plan, report)
    _raise_failures(report)
    if strict and report.notices:
        raise InputError(str(report.notices[0]), "without strict this is a warning")
    return report


def restore(
    source: Place,
    folder: Place,
    *,
    names: Iterable[str] = (),
    frames: tuple[int | None, int | None] | None = None,
    to_format: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
) -> Report:
    """Restore the files of a packed file, each with its bytes, its name and its time.

    Parameters
    ----------
    source
        The packed file.
    folder
        Where the files go.
    names
        Globs of the files' names; all when there are none.
    frames
        First and last (excluded) frame of the main record whose files are wanted.
    to_format
        A format to convert the images to.
    overwrite, dry_run
        As for ``convert``.

    Returns
    -------
    Report
        The files.

    Raises
    ------
    InputError
        When a file does not come back as it was, or the source was not packed.
    OutputError, UsageError
        When a file cannot be written, or exists.
    """
    if isinstance(names, str):
        raise UsageError(f"names is one text, {names!r}", f"give a list: names=[{names!r}]")
    report = Report()
    selection = restoring.Selection(tuple(names), frames)
    restoring.restore(Path(source), Path(folder), report, selection, to_format, overwrite=overwrite, dry_run=dry_run)
    _raise_failures(report)
    return report


def verify(source: Place, against: Place | Iterable[Place] = ()) -> Verdict:
    """Verify a packed file: that it is as it was written, and that the originals come back from it.

    Parameters
    ----------
    source
        The packed file.
    against
        The folder of the originals, or several.

    Returns
    -------
    Verdict
        ``good``, and the ``problems``.

    Raises
    ------
    InputError
        When the source is not there or was not packed.
    """
    folders = [against] if isinstance(against, str | os.PathLike) else against
    return verifying.verify(Path(source), [Path(folder) for folder in folders])


def _raise_failures(report: Report) -> None:
    if len(report.failed) == 1:
        raise report.failed[0][1]
    if report.failed:
        first = report.failed[0][1]
        raise InputError(f"{len(report.failed)} files failed; the first: {first}", getattr(first, "tip", ""))


def _choice(value: str, what: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"{what} {value!r} is not one of {', '.join(allowed)}")
    return value
