"""What h5py raises for damaged files, as one line."""

from __future__ import annotations

from nxconvert.errors import InputError

DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError)
"""What h5py raises for damaged files."""


def last_reason(reason: str) -> str:
    """Return what HDF5 says last, which is what is wrong."""
    inside = reason[reason.find("(") + 1 : reason.rfind(")")] if "(" in reason else reason
    return " ".join((inside.strip() or reason).split()).strip("'\"")


def damaged(source: str, error: Exception) -> InputError:
    """Make an error of what h5py raised."""
    return InputError(f"{source} cannot be read: {last_reason(str(error))}", _filter_tip(error))


def _filter_tip(error: Exception) -> str:
    if "filter" in str(error):
        return "the compression filter is not known to HDF5 here, or the data is damaged"
    return ""
