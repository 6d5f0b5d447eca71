"""XDI: one spectrum of X-ray absorption, with columns of numbers and a header of ``Family.key: value``.

    # XDI/1.0 nxconvert/0.1
    # Column.1: energy eV
    # Element.symbol: Cu
    # ///
    # a comment of the user
    # ---
    # energy i0
     8979.0 100.5

This is its syntax, in both directions; a header line is the field ``Element.symbol`` of the record. What the format
demands is checked: reading warns, writing refuses, and nothing is guessed. All that has no place goes into extension
fields ``nxconvert.memo``. Facts: the XDI/1.0 specification and dictionary of metadata of the XDI working group.
"""

from __future__ import annotations

import re
from pathlib import Path

from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Records, RecordSink, Report


def sniff(head: Head) -> int:
    """Certainly XDI by its first line."""
    return 2 if re.match(rb"#[ \t]*XDI/\d", head.start, re.IGNORECASE) else 0


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open an XDI file."""
    from nxconvert.formats.xdi.read import XdiRecords

    return XdiRecords(location.path, report)


def create(path: Path, report: Report, float_format: str = "") -> RecordSink:
    """Make an XDI file."""
    from nxconvert.formats.xdi.write import XdiSink

    return XdiSink(path, report, float_format)


FORMAT = Format(
    name="xdi",
    title="XDI (X-ray absorption)",
    extensions=(".xdi",),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(
        item_rank=0,
        records=1,
        kinds="biuf",
        note="one spectrum; needs Element.symbol, Element.edge, Mono.d_spacing and an energy or angle",
    ),
    write_options=(Option("float_format", "", "Format of floats, e.g. %.6g; default: exact."),),
    seeks=False,
)
