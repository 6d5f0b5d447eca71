"""TIFF: stacks of frames, with everything else of the record in the description of the first page.

Profiles of the writer: ``stack`` (one file, a page a frame; BigTIFF only when it would not fit 4 GiB), ``sequence``
(a folder of files, one a frame) and ``imagej`` (a stack as ImageJ writes it itself).
"""

from __future__ import annotations

from typing import Any

from nxconvert.format import (
    Content,
    Dissection,
    Format,
    Head,
    Holds,
    Location,
    Option,
    Policy,
    Records,
    RecordSink,
    Report,
)

PROFILES = ("stack", "sequence", "imagej")
COMPRESSIONS = ("none", "deflate", "zlib", "gzip", "lzw", "zstd", "packbits", "lzma")


def sniff(head: Head) -> int:
    """Tell by the header; a MarCCD image is a TIFF too, and its own format may claim it.

    A folder is one input when it is a sequence that was written here.
    """
    if head.path is not None and not head.start and head.path.is_dir():
        first = min((p for p in head.path.iterdir() if p.suffix == ".tif" and p.is_file()), default=None)
        if first is None:
            return 0
        with first.open("rb") as file:
            start = file.read(65536)
        return 2 if start[:2] == b"II" and b'{"' in start and b'"frames":' in start else 0
    if head.start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return 0
    return 1 if head.start[1028:1031] == b"MMX" else 2


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a TIFF file."""
    if location.path.is_dir():
        from nxconvert.formats.tiff.sequence import SequenceRecords

        return SequenceRecords(location, policy, report)
    from nxconvert.formats.tiff.read import TiffRecords

    return TiffRecords(location, policy, report)


def create(path: Any, report: Report, **options: Any) -> RecordSink:
    """Make a TIFF file, or for the profile ``sequence`` a folder of them."""
    from nxconvert.formats.tiff.write import made

    return made(path, report, **options)


def taken_apart(content: Content) -> Dissection:
    """Say how a TIFF file is made."""
    from nxconvert.formats.tiff.dissect import dissect

    return dissect(content)


FORMAT = Format(
    name="tiff",
    title="TIFF images",
    extensions=(".tif", ".tiff", ".btf"),
    sniff=sniff,
    open=open_records,
    create=create,
    holds=Holds(
        item_rank=3,
        min_item_rank=2,
        records=1,
        kinds="biufc",
        note="one stack of frames a file, grey or colour",
    ),
    write_options=(
        Option("profile", "stack", "One file, a file a frame, or a stack as ImageJ writes it.", PROFILES),
        Option("compression", "none", "Compression of the frames.", COMPRESSIONS),
        Option("cast", "", "Type to store frames as, e.g. uint16; recorded, so that reading undoes it."),
        Option("range", "", "Values that --cast stretches over the type: LOW,HIGH or LOW%,HIGH%; default: all."),
    ),
    dissect=taken_apart,
    spreads=lambda options: options.get("profile") == "sequence",
)
