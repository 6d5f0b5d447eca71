"""SPEC: many scans a file, each with labels, motors, columns of numbers and spectra.

    #F file  #E epoch  #D date  #C comment  #O0 motor  names       the file's header, before its scans
    #S 1 ascan th 0 1 10 1                                         number and command
    #D date  #T seconds  #P0 positions of the motors  #N 3         the scan's header
    #L th  two words  det                                          labels, with two spaces between
    0.1 2 3                                                        a row
    @A 0 1 5 3                                                     its spectrum

``#C nxconvert {...}`` carries all that has no line of its own, so that it comes back exactly. In the key ``N.M`` of a
scan N is its number and M says the how manieth of that number it is. Facts: the SPEC manual of Certified Scientific
Software (standard data file format), and what ``silx.io.specfile`` reads.
"""

from __future__ import annotations

import re
from pathlib import Path

from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Records, RecordSink, Report

_SCAN = re.compile(rb"^#S +\d+", re.MULTILINE)
_LOOSE = re.compile(rb"^#S .*\n(?:#.*\n)*(?:[ \t]*[-+.\d]|#L |$)", re.MULTILINE)


def sniff(head: Head) -> int:
    """Certainly SPEC by a line ``#S 1`` or the file's header; perhaps by a line ``#S`` whose number is elsewhere."""
    start = head.start
    if b"\0" in start or b"#" not in start:
        return 0
    if _SCAN.search(start) or (start.startswith(b"#F ") and re.search(rb"^#E +\d+", start, re.MULTILINE)):
        return 2
    return 1 if _LOOSE.search(start) else 0


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a SPEC file."""
    from nxconvert.formats.spec.read import SpecRecords

    return SpecRecords(location, report)


def create(path: Path, report: Report, float_format: str = "", append: bool = False) -> RecordSink:
    """Make a SPEC file, or add scans to the one that is at ``path``."""
    from nxconvert.formats.spec.write import SpecSink

    return SpecSink(path, report, float_format, append=append)


FORMAT = Format(
    name="spec",
    title="SPEC data file",
    extensions=(".spec", ".dat", ".mca"),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(item_rank=1, records=None, kinds="biuf", note="numbers only; spectra of a row as MCA lines"),
    write_options=(
        Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),
        Option("append", False, "Add scans to an existing file; those it has already are skipped."),
    ),
    seeks=False,
)
