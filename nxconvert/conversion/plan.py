"""What is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from nxconvert.dataclass import dataclass
from nxconvert.policy import Policy

AUTO = "auto"


@dataclass(frozen=True)
class Plan:
    """What is asked for, beside the inputs and the output.

    Attributes
    ----------
    from_format, to_format
        Names of formats; None detects them.
    mapping
        ``auto``, the name of a shipped mapping, or a file.
    policy
        What inputs may do, and the budget of memory.
    scans
        Globs of scan names or titles; empty takes all.
    columns
        Names that come first, in this order.
    only_columns
        Whether the other columns are left out, and the motors too, unless they are named.
    include
        Globs of spectra and images that are wanted in tables.
    matrix
        Whether two-dimensional signals become matrices; None leaves it to what is converted: a dataset that is named
        itself becomes a matrix, a signal with its axes a long table.
    unfinished
        Whether scans without an end are written too.
    name
        Template of the outputs' names, with ``{stem}``, ``{entry}``, ``{part}`` and ``{ext}``.
    validate
        ``nxdl`` to validate the output against its application definitions too.
    report
        ``full`` to tell which datasets no rule of the mapping takes too.
    overwrite, dry_run
        Whether outputs that exist are replaced; whether nothing is written at all.
    options
        Options of the writer and reader.
    """

    from_format: str | None = None
    to_format: str | None = None
    mapping: str = AUTO
    policy: Policy = field(default_factory=Policy)
    scans: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    only_columns: bool = False
    include: tuple[str, ...] = ()
    matrix: bool | None = None
    unfinished: bool = False
    name: str = ""
    validate: str = ""
    report: str = ""
    overwrite: bool = False
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
