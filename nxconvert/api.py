"""What ``import nxconvert`` offers: open, convert and compare, as functions with keyword arguments.

They do what the commands of the same names do, and raise what those print.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from nxconvert.comparison import Comparison, Tolerance, record_differences, tree_differences
from nxconvert.comparison import compare as compare_files
from nxconvert.conversion import AUTO, Plan, open_source
from nxconvert.conversion import convert as convert_files
from nxconvert.errors import InputError, NxconvertError, UsageError
from nxconvert.format import Records, Report
from nxconvert.held import Held
from nxconvert.location import Location
from nxconvert.opened import DatasetFile, RecordFile, TreeFile
from nxconvert.part import part_of
from nxconvert.policy import DEFAULT_MEMORY, Policy
from nxconvert.record import Record
from nxconvert.tree import Dataset, Group

Place = str | os.PathLike[str]


def open(
    location: Place,
    *,
    from_format: str | None = None,
    memory: int = DEFAULT_MEMORY,
    allow_root: Iterable[Place] = (),
    allow_missing: bool = False,
    allow_external_raw: bool = False,
    **options: Any,
) -> TreeFile | DatasetFile | RecordFile:
    """Open a file for reading; nothing but names is read until it is asked for.

    Parameters
    ----------
    location
        ``scan.h5``, ``scan.h5::/1.1``, ``scan.h5::/1.1/measurement/eiger[0:10]``, ``scan.csv``.
    from_format
        Name of the format; found by content when it is not given.
    memory
        Bytes of values to hold at once where values are read in blocks.
    allow_root
        Other folders that links of the file may lead into.
    allow_missing
        Whether missing sources of virtual datasets are masked; otherwise reading such a dataset is an error.
    allow_external_raw
        Whether HDF5 values that lie raw in another file are read.
    **options
        Options of the format's reader.

    Returns
    -------
    TreeFile, DatasetFile or RecordFile
        For NeXus/HDF5 and other trees a ``TreeFile`` (a mapping of groups and datasets), or a ``DatasetFile`` when the
        location names a dataset; for formats of tables and stacks a ``RecordFile``. All are context managers.

    Raises
    ------
    InputError
        When there is no such file, it is damaged or of an unknown format, or has nothing at the path.
    UsageError
        When an argument is wrong.
    """
    place = Location.parse(os.fspath(location))
    report = Report()
    plan = Plan(
        from_format=from_format,
        policy=_policy(memory, allow_root, allow_missing=allow_missing, allow_external_raw=allow_external_raw),
        options=options,
    )
    source = open_source(place, plan, report)
    if isinstance(source, Records):
        return RecordFile(source, report)
    try:
        node = part_of(source.root, place, report)
        if isinstance(node, Dataset):
            return DatasetFile(source, node, report)
        if not isinstance(node, Group):
            raise InputError(f"{place} is neither a group nor a dataset")
        return TreeFile(source, node, place, plan, report)
    except BaseException:
        source.close()
        raise


def convert(
    inputs: Place | Record | Sequence[Place | Record],
    output: Place,
    *,
    from_format: str | None = None,
    to_format: str | None = None,
    mapping: str = AUTO,
    scans: Iterable[str] = (),
    columns: Iterable[str] = (),
    only_columns: bool = False,
    include: Iterable[str] = (),
    table: Literal["long", "matrix"] | None = None,
    unfinished: bool = False,
    name: str = "",
    validate: Literal["nxdl"] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    strict: bool = False,
    memory: int = DEFAULT_MEMORY,
    allow_root: Iterable[Place] = (),
    allow_missing: bool = False,
    allow_external_raw: bool = False,
    report: Report | None = None,
    **options: Any,
) -> Report:
    """Convert files, or records that are in memory, into a file or a folder.

    Parameters
    ----------
    inputs
        One or more locations (``scan.h5``, ``scan.h5::/1.1``, globs, folders) or records.
    output
        A file; or a folder (it exists, or ends in a slash), for one file a record.
    from_format, to_format
        Names of formats; found by content and by extension when they are not given.
    mapping
        ``auto``, the name of a shipped mapping, or a mapping file.
    scans
        Globs of the scans' names or titles; all when empty.
    columns, only_columns
        Names that come first; whether the other columns are left out.
    include
        Globs of spectra and images that are wanted as text too.
    table
        Whether a 2-D signal becomes a line for each point, or a matrix.
    unfinished
        Whether scans that have not ended are written too.
    name
        Template of the outputs' names, e.g. ``{stem}_{entry}{ext}``.
    validate
        ``nxdl`` checks an HDF5 output against the application definitions that it names, by pynxtools; one that is
        not valid raises, and is there all the same.
    overwrite, dry_run
        Whether outputs that exist are replaced; whether nothing is written at all.
    strict
        Whether a warning, a loss or a scan that was skipped raises too; the outputs are there all the same.
    memory
        Bytes of values to hold at once; the peak is at most 200 MiB more.
    allow_root, allow_missing, allow_external_raw
        As for ``open``.
    report
        Filled as the work goes on; give one to see what was done when an error ends it.
    **options
        Options of the formats, e.g. ``compression="gzip"``, ``chunks=(1, 512, 512)``, ``dialect="excel"``.

    Returns
    -------
    Report
        The outputs, and what was lost, skipped or worth a warning.

    Raises
    ------
    InputError
        When an input fails; the others are converted. Several failures become one error that counts them.
    OutputError
        When an output cannot be written.
    UsageError
        When an argument is wrong or an output exists; nothing has been written then.
    """
    plan = Plan(
        from_format=from_format,
        to_format=to_format,
        mapping=mapping,
        policy=_policy(memory, allow_root, allow_missing=allow_missing, allow_external_raw=allow_external_raw),
        scans=_names(scans, "scans"),
        columns=_names(columns, "columns"),
        only_columns=only_columns,
        include=_names(include, "include"),
        matrix=None if table is None else _choice(table, "table", ("long", "matrix")) == "matrix",
        unfinished=unfinished,
        name=name,
        validate=_choice(validate, "validate", ("nxdl",)) if validate else "",
        overwrite=overwrite,
        dry_run=dry_run,
        options=options,
    )
    report = report if report is not None else Report()
    given = [inputs] if isinstance(inputs, str | os.PathLike | Record) else list(inputs)
    convert_files(_places(given), os.fspath(output), plan, report)
    _raise_failures(report, strict=strict)
    return report


def _places(given: Sequence[Place | Record]) -> list[str | Location]:
    """Return what is to be converted: locations, and all records together as one."""
    if not given:
        raise UsageError("there is no input", "name a file, or give a record")
    records = tuple(g for g in given if isinstance(g, Record))
    places: list[str | Location] = [os.fspath(g) for g in given if not isinstance(g, Record)]
    return [*places, Held("<records>", records=records)] if records else places


def _raise_failures(report: Report, *, strict: bool) -> None:
    if len(report.failed) == 1:
        raise report.failed[0][1]
    if report.failed:
        first = report.failed[0][1]
        tip = first.tip if isinstance(first, NxconvertError) else ""
        raise InputError(f"{len(report.failed)} inputs failed; the first: {first}", tip)
    told = [*report.notices, *report.skipped, *report.losses]
    if strict and told:
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        raise InputError(f"{told[0]}{more}", "without strict this is a warning")


def compare(
    a: Place | Record | Group,
    b: Place | Record | Group,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    from_format: str | None = None,
    mapping: str = AUTO,
    memory: int = DEFAULT_MEMORY,
    allow_root: Iterable[Place] = (),
    allow_missing: bool = False,
    allow_external_raw: bool = False,
    **options: Any,
) -> Comparison:
    """Compare two files, two records or two groups, block by block.

    Parameters
    ----------
    a, b
        Two locations, two records, or two groups of open files.
    rtol, atol
        Numbers may differ by ``atol + rtol * max(|a|, |b|)``; both 0 means equal bits, but NaN equals NaN.
    from_format, memory, allow_root, allow_missing, allow_external_raw, **options
        As for ``open``.
    mapping
        With a name or file, trees are compared as the records that it sees.

    Returns
    -------
    Comparison
        ``equal``, and the ``differences``: each with where it is, both values, and how many differ.

    Raises
    ------
    InputError
        When one of them cannot be opened, or has nothing at its location.
    UsageError
        When they are not of one kind.
    """
    if not rtol >= 0 or not atol >= 0:
        raise UsageError("a tolerance is a number of 0 or more", "give e.g. rtol=1e-6")
    tolerance = Tolerance(rtol, atol)
    found = Comparison()
    if isinstance(a, Record) and isinstance(b, Record):
        found.differences.extend(record_differences(a, b, tolerance=tolerance, budget=memory, told=found))
        return found
    if isinstance(a, Group) and isinstance(b, Group):
        found.differences.extend(
            tree_differences(a, b, tolerance=tolerance, budget=memory, provenance=False, told=found)
        )
        return found
    if not isinstance(a, str | os.PathLike) or not isinstance(b, str | os.PathLike):
        raise UsageError(f"a {type(a).__name__} is not compared with a {type(b).__name__}", "give two of one kind")
    policy = _policy(memory, allow_root, allow_missing=allow_missing, allow_external_raw=allow_external_raw)
    plan = Plan(from_format=from_format, mapping=mapping, policy=policy, options=options)
    return compare_files(os.fspath(a), os.fspath(b), plan, tolerance)


def _policy(memory: int, roots: Iterable[Place], *, allow_missing: bool, allow_external_raw: bool) -> Policy:
    folders = [roots] if isinstance(roots, str | os.PathLike) else roots
    return Policy(memory, tuple(Path(r) for r in folders), allow_missing, allow_external_raw)


def _names(values: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(values, str):
        raise UsageError(f"{what} is one text, {values!r}", f"give a list: {what}=[{values!r}]")
    return tuple(values)


def _choice(value: str, what: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"{what} {value!r} is not one of {', '.join(allowed)}")
    return value
