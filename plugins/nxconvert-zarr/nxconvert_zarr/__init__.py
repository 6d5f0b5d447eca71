"""Zarr and OME-Zarr as a tree.

Facts: the Zarr specifications, versions 2 and 3; NGFF (OME-Zarr) 0.4 and 0.5; zarr-python 3.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from nxconvert.format import Format, Head, Holds, Location, Option, Policy, Report, Tree, TreeSink

MARKS = ("zarr.json", ".zgroup", ".zarray")

COMPRESSIONS = ("zstd", "none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd")


def sniff(head: Head) -> int:
    """Look for the metadata of the root, in a folder or in a zip file."""
    if head.path is None:
        return 0
    if head.path.is_dir():
        return 2 if any((head.path / mark).is_file() for mark in MARKS) else 0
    if not head.start.startswith(b"PK\x03\x04"):
        return 0
    try:
        with zipfile.ZipFile(head.path) as file:
            names = set(file.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return 0
    return 2 if names.intersection(MARKS) else 0


def open_tree(location: Location, policy: Policy, report: Report) -> Tree:
    """Open a store for reading; see ``nxconvert_zarr.read``."""
    from nxconvert_zarr.read import open_store

    return open_store(location.path, policy, report)


def create(path: Path, report: Report, **options: Any) -> TreeSink:
    """Make a store; see ``nxconvert_zarr.write``."""
    from nxconvert_zarr.write import ZarrSink

    return ZarrSink(path, report, **options)


FORMAT = Format(
    name="zarr",
    title="Zarr, OME-Zarr",
    extensions=(".zarr", ".ozx"),
    sniff=sniff,
    open=open_tree,
    create=create,
    holds=Holds(tree=True, item_rank=30, kinds="biufcSV", note="trees; links and exact types as notes in attributes"),
    write_options=(
        Option("zarr_format", "3", "Version of Zarr to write.", ("3", "2")),
        Option("compression", "zstd", "Compression of the chunks.", COMPRESSIONS),
        Option("chunks", None, "Shape of the chunks, e.g. 1,512,512; default: as in the input, else one frame."),
        Option("links", "keep", "Links as notes that nxconvert follows, or as copies.", ("keep", "resolve")),
        Option("ome", "", "Path of an image to describe as OME-Zarr 0.5, e.g. /entry/data/frames."),
    ),
)
