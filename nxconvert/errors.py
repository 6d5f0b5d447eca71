"""The few kinds of error and the notices a conversion leaves behind.

Every error is one line that says what and where, and a tip that says how to mend it. Only ``cli`` turns
them into words on a terminal and an exit code.
"""

from __future__ import annotations

from nxconvert.dataclass import dataclass


class NxconvertError(Exception):
    """Base of all errors that are the input's, the output's or the caller's, not ours.

    Parameters
    ----------
    message
        What is wrong, and where: file, line or HDF5 path.
    tip
        How to mend it, or an empty string.
    """

    exit_code = 1

    def __init__(self, message: str, tip: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.tip = tip

    def __reduce__(self) -> tuple[type[NxconvertError], tuple[str, str]]:
        return type(self), (self.message, self.tip)

    def __str__(self) -> str:
        return self.message


class InputError(NxconvertError):
    """An input that is missing, damaged, of an unknown format or that holds nothing to convert."""


class OutputError(NxconvertError):
    """An output that cannot be written: a full disk, a name that clashes, a value the format cannot hold."""


class PolicyError(NxconvertError):
    """An input that wants to reach another file which it may not."""


class UsageError(NxconvertError):
    """Wrong arguments: an unknown option value, an output that already exists, a selection that is empty."""

    exit_code = 2


class MappingError(UsageError):
    """A mapping file that is wrong; the message names file, line and column."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that the output does not carry although the input had it.

    Attributes
    ----------
    what
        The field, dataset, attribute or scan.
    where
        The file and path it came from.
    why
        The reason, in a few words.
    """

    what: str
    where: str
    why: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.what, self.why) if part)


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning: the conversion went on, but somebody should know. ``--strict`` makes it a failure."""

    message: str

    def __str__(self) -> str:
        return self.message
