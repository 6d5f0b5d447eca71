"""Who made an output, of what, when and with which version: NXprocess in NXroot."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import nxconvert
from nxconvert.format import TreeSink
from nxconvert.tree import NewDataset, NewGroup


def stamp(sink: TreeSink, sources: Sequence[str], taken: Collection[str] = ()) -> None:
    """Write the provenance of an output into its root, beside those of earlier conversions (names in ``taken``)."""
    root = NewGroup("NXroot")
    names = ("nxconvert", *(f"nxconvert_{n}" for n in range(2, len(taken) + 3)))
    process = root.require(next(n for n in names if n not in taken), "NXprocess")
    process.add("program", NewDataset("nxconvert"))
    process.add("version", NewDataset(nxconvert.__version__))
    process.add("date", NewDataset(datetime.now().astimezone().isoformat(timespec="seconds")))
    process.add("source", NewDataset(list(sources)))
    sink.begin(root)
    sink.sign()
