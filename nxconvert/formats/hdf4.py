"""HDF4, the predecessor of HDF5 that old NeXus files are: recognised, not read.

Facts: the HDF4 file format specification (a file begins with the bytes 0e 03 13 01).
"""

from __future__ import annotations

from nxconvert.format import Format, Head

MAGIC = b"\x0e\x03\x13\x01"


def sniff(head: Head) -> int:
    """Look for the signature."""
    return 2 if head.start.startswith(MAGIC) else 0


FORMAT = Format(
    name="hdf4",
    title="HDF4 (old NeXus)",
    extensions=(".hdf", ".nxs", ".h4"),
    sniff=sniff,
    refused="make HDF5 of it with nxconvert of the NeXus library (-h5) or h4toh5 of the HDF Group",
)
