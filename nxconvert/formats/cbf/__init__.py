"""CBF: crystallographic images, as PILATUS and EIGER detectors write them: a text header and a compressed frame.

A file holds one frame as a rule, so a record of several frames becomes a folder of files.
"""

from __future__ import annotations

from nxconvert.dissection import Content, Dissection
from nxconvert.format import Format, Head, Holds, Location, Policy, Records, Report

EXTENSION = ".cbf"


def sniff(head: Head) -> int:
    """Look for the mark of CBF, or of a binary section."""
    return 2 if head.start.startswith(b"###CBF") or b"\n--CIF-BINARY-FORMAT-SECTION--" in head.start else 0


def dissect(content: Content) -> Dissection:
    """Say where the frames of a file are; see ``sections``."""
    from nxconvert.formats.cbf import sections

    return sections.dissect(content)


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a CBF file."""
    from nxconvert.image import ImageRecords

    return ImageRecords(location, policy, report, dissect)


FORMAT = Format(
    name="cbf",
    title="CBF images (crystallography)",
    extensions=(EXTENSION,),
    sniff=sniff,
    open=open_records,
    holds=Holds(item_rank=2, min_item_rank=2, records=1, kinds="biuf", note="one frame a file; more become a folder"),
    dissect=dissect,
)
