"""CBF: crystallographic images, as PILATUS and EIGER detectors write them: a text header and a compressed frame.

A file holds one frame as a rule, so a record of several frames becomes a folder of files.
"""

from __future__ import annotations

from typing import Any

from nxconvert.dissection import Content, Dissection
from nxconvert.format import Format, Head, Holds, Location, Policy, Records, RecordSink, Report

EXTENSION = ".cbf"
PRIVATE = "cbf"
"""The part of the memo that is of all files of a folder."""
ROW = "nxconvert~row"
"""The key of a file's row in the record that its folder is; no field has such a key."""


def sniff(head: Head) -> int:
    """Look for the mark of CBF, or of a binary section. A folder is one input when it was written here."""
    if head.path is not None and not head.start and head.path.is_dir():
        first = min((p for p in head.path.iterdir() if p.suffix == EXTENSION and p.is_file()), default=None)
        if first is None:
            return 0
        with first.open("rb") as file:
            return 2 if f"\n# {ROW} ".encode() in file.read(1 << 20) else 0
    return 2 if head.start.startswith(b"###CBF") or b"\n--CIF-BINARY-FORMAT-SECTION--" in head.start else 0


def dissect(content: Content) -> Dissection:
    """Say where the frames of a file are; see ``sections``."""
    from nxconvert.formats.cbf import sections

    return sections.dissect(content)


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a CBF file, or a folder of them that was written here."""
    if location.path.is_dir():
        from nxconvert.formats.cbf.folder import FolderRecords

        return FolderRecords(location, policy, report)
    from nxconvert.image import ImageRecords

    return ImageRecords(location, policy, report, dissect)


def create(path: Any, report: Report) -> RecordSink:
    """Make a CBF file, or a folder of them."""
    from nxconvert.formats.cbf.write import CbfSink

    return CbfSink(path, report)


FORMAT = Format(
    name="cbf",
    title="CBF images (crystallography)",
    extensions=(EXTENSION,),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(
        item_rank=2, min_item_rank=2, records=1, kinds="biuf", note="one frame a file, several are a folder of files"
    ),
    dissect=dissect,
)
