"""XML that holds NeXus or canSAS 1-D data: recognised, not read.

Facts: the NeXus manual (root element ``NXroot``); canSAS 1-D 1.0 and 1.1 (root element ``SASroot``).
"""

from __future__ import annotations

import re

from nxconvert.format import Format, Head

_ROOT = re.compile(r"<(?:\w+:)?(?:NXroot|SASroot)[\s/>]")
_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_BEFORE = {"<?": "?>", "<!--": "-->", "<!DOCTYPE": ">"}
"""What may stand before the root element: how it opens and closes."""


def sniff(head: Head) -> int:
    """Look at the root element."""
    raw = head.start[:8192]
    encoding = next((e for mark, e in _ENCODINGS.items() if raw.startswith(mark)), "utf-8")
    text = raw.decode(encoding, "replace").lstrip()
    while closing := next((c for opening, c in _BEFORE.items() if text.startswith(opening)), ""):
        _, found, text = text.partition(closing)
        if not found:
            return 0
        text = text.lstrip()
    return 2 if _ROOT.match(text) else 0


FORMAT = Format(
    name="nexus-xml",
    title="XML (NeXus or canSAS 1-D)",
    extensions=(".xml", ".nxs"),
    sniff=sniff,
    refused="make HDF5 of it: of canSAS with SasView (save as NXcanSAS), of NeXus with nxconvert of the NeXus library",
)
