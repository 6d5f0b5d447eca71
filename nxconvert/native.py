"""Header values that stand in a line of a format's own: left out of its memo, and put back from that line.

So a value is in a file once, people see it where they look for it, and what they change there is what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nxconvert.array import is_text, named_type, type_name
from nxconvert.record import Field, Record, plain


def leave_out(header: dict[str, Any], record: Record, native: Mapping[str, Field]) -> None:
    """Leave those values out of a memo's header that come back from the format's own lines, exactly.

    A value alone becomes None; one that is described keeps its description, without ``value``.

    Parameters
    ----------
    header
        The memo's header, changed in place.
    record
        The record that it describes.
    native
        What the reader makes of the lines without the memo.
    """
    for name, entry in header.items():
        if name in native and stands(record.fields[name], native[name]):
            header[name] = {k: v for k, v in entry.items() if k != "value"} if isinstance(entry, dict) else None


def stands(f: Field, native: Field) -> bool:
    """Tell whether a value comes back from its line."""
    if f.values.ndim or native.values.ndim:
        return False
    if is_text(f.dtype) or is_text(native.dtype):
        return type_name(native.dtype) == type_name(f.dtype) and bool(plain(native.values) == plain(f.values))
    if f.dtype.kind not in "iuf" or f.dtype.itemsize > 8:
        return False
    mine, there = f.values.read()[()], float(plain(native.values))
    if f.dtype.kind == "f":
        same = f.dtype.newbyteorder("=").type
        with np.errstate(over="ignore"):
            return bool(np.isfinite(mine)) and same(there).tobytes() == same(mine).tobytes()
    return abs(int(mine)) < 2**53 and int(mine) == there


def put_back(
    header: Mapping[str, Any], native: Mapping[str, Field], gone: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """Return a memo's header with the values that were left out.

    Parameters
    ----------
    header
        The memo's header.
    native
        What the reader makes of the lines without the memo.
    gone
        Called with the name of a value whose line is not there any more.
    """
    out: dict[str, Any] = {}
    for name, entry in header.items():
        if entry is not None and not (isinstance(entry, dict) and "value" not in entry):
            out[name] = entry
        elif name not in native:
            gone(name)
        else:
            value = plain(native[name].values)
            value = value if isinstance(value, str) else float(value)
            if entry is not None and named_type(entry["dtype"]).kind in "iu":
                value = int(value)
            out[name] = value if entry is None else {**entry, "value": value}
    return out
