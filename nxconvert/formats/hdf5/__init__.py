"""NeXus/HDF5: any HDF5 file as a tree.

Facts: the HDF5 file format specification (version 3), the NeXus manual (chapter "NeXus File Format").
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nxconvert.format import Content, Dissection, Format, Head, Holds, Location, Option, Policy, Report, Tree, TreeSink
from nxconvert.formats.hdf5.names import COMPRESSIONS, LINKS

os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")  # before h5py loads: no code from HDF5_PLUGIN_PATH is run

MAGIC = b"\x89HDF\r\n\x1a\n"


def sniff(head: Head) -> int:
    """Look for the signature at 0, or behind a user block at 512, 1024, 2048..."""
    if head.start.startswith(MAGIC):
        return 2
    size = head.path.stat().st_size if head.path and head.path.is_file() else len(head.start)
    offset = 512
    while offset + len(MAGIC) <= size:
        if head.at(offset, len(MAGIC)) == MAGIC:
            return 2
        offset *= 2
    return 0


def open_tree(location: Location, policy: Policy, report: Report) -> Tree:
    """Open a file for reading; see ``nxconvert.formats.hdf5.read``."""
    from nxconvert.formats.hdf5.read import open_file

    return open_file(location, policy, report)


def create(path: Path, report: Report, **options: Any) -> TreeSink:
    """Create a file; see ``nxconvert.formats.hdf5.write``."""
    from nxconvert.formats.hdf5.write import H5Sink

    return H5Sink(path, report, **options)


def dissect(content: Content) -> Dissection:
    """Say where the frames of a file of a series are; see ``nxconvert.formats.hdf5.members``."""
    from nxconvert.formats.hdf5 import members

    return members.dissect(content)


FORMAT = Format(
    name="hdf5",
    title="NeXus/HDF5",
    extensions=(".h5", ".nxs", ".hdf5", ".hdf", ".nx5", ".nexus", ".cxi", ".nx"),
    sniff=sniff,
    open=open_tree,
    create=create,
    dissect=dissect,
    holds=Holds(tree=True, item_rank=30, kinds="biufcSOV", note="everything; NeXus is its layout"),
    write_options=(
        Option("compression", "keep", "Compression of large datasets; default: as stored.", ("keep", *COMPRESSIONS)),
        Option("chunks", None, "Shape of the chunks, e.g. 1,512,512; default: one frame."),
        Option("links", "auto", "Keep links, or copy what they lead to; auto: what lies outside.", LINKS),
    ),
)
