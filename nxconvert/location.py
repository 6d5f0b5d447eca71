"""Where something is: a file, a path inside it, a box of its values. ``scan.h5::/1.1/measurement/eiger[0:10]``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nxconvert.dataclass import dataclass
from nxconvert.errors import UsageError

_BOX = re.compile(r"\[([^\[\]]*)\]$")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True, slots=True)
class Location:
    """A place that can be written down, sent to another process and opened there.

    Attributes
    ----------
    file
        Path of the file as given; ``-`` is standard input or output.
    inner
        Path inside the file, or an empty string.
    box
        Slices of the array at ``inner``, as ``(start, stop)`` pairs with None for an open end, or None.
    """

    file: str
    inner: str = ""
    box: tuple[tuple[int | None, int | None], ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Location:
        """Read the written form.

        Raises
        ------
        UsageError
            When the box is not one of plain slices.
        """
        file, sep, inner = text.partition("::")
        box = None
        if sep and (found := _BOX.search(inner)):
            inner = inner[: found.start()]
            box = tuple(_slice(part, text) for part in found[1].split(","))
        if not file:
            raise UsageError(f"{text!r} names no file", "write FILE or FILE::/path")
        return cls(file, inner, box)

    @property
    def path(self) -> Path:
        return Path(self.file)

    @property
    def is_stream(self) -> bool:
        return self.file == "-"

    @property
    def stem(self) -> str:
        """The file's name without its folder and last extension, for names made from it."""
        return "stdout" if self.is_stream else self.path.stem

    def slices(self, ndim: int) -> tuple[slice, ...] | None:
        """Return the box as slices, one for each dimension given.

        Raises
        ------
        UsageError
            When it has more parts than the array has dimensions.
        """
        if self.box is None:
            return None
        if len(self.box) > ndim:
            raise UsageError(f"{self} has {len(self.box)} slices, the array {ndim} dimensions")
        return tuple(slice(a, b) for a, b in self.box)

    def __str__(self) -> str:
        text = f"{self.file}::{self.inner}" if self.inner else self.file
        if self.box is not None:
            text += "[" + ",".join(f"{_open(a)}:{_open(b)}" for a, b in self.box) + "]"
        return text


def meant(file: str) -> str:
    """Return the place that was meant where one colon, or none, stands between a file that is there and a path in it.

    An empty text when no beginning of the name is a file.
    """
    for at, sign in enumerate(file):
        if sign in "/\\:" and Path(file[:at]).is_file():
            inner = file[at:].strip("/\\:")
            return f"{file[:at]}::/{inner}" if inner else file[:at]
    return ""


STDIN = "standard input"


@dataclass(frozen=True, slots=True)
class Spooled(Location):
    """A place in standard input, which is kept in a file while it is read.

    Attributes
    ----------
    kept
        Path of that file.
    """

    kept: str = ""

    @property
    def path(self) -> Path:
        return _Kept(self.kept)

    @property
    def stem(self) -> str:
        return "stdin"


class _Kept(type(Path())):  # type: ignore[misc]
    """The path of that file: it opens as any other, but in messages and outputs it says what is in it."""

    def __str__(self) -> str:
        return STDIN

    def __fspath__(self) -> str:
        return str(super().__str__())

    @property
    def parent(self) -> Path:
        return Path(os.fspath(self)).parent

    def resolve(self, strict: bool = False) -> Path:
        return Path(os.fspath(self)).resolve(strict)

    def absolute(self) -> Path:
        return Path(os.fspath(self)).absolute()


def _open(n: int | None) -> str:
    return "" if n is None else str(n)


def _slice(part: str, text: str) -> tuple[int | None, int | None]:
    ends = part.strip().split(":")
    try:
        numbers = [int(e) if e.strip() else None for e in ends]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None:
        return (numbers[0], numbers[0] + 1 if numbers[0] != -1 else None)
    if len(numbers) == 2:
        return (numbers[0], numbers[1])
    raise UsageError(
        f"{text!r}: {part.strip()!r} is no slice", "write [START:STOP] or [N], with commas between dimensions"
    )


def safe_name(name: str) -> str:
    """Make a text fit to be a file's name on every system: no separators, no reserved names, no ending dot."""
    out = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(" .") or "_"
    if out.split(".")[0].lower() in _RESERVED:
        out = f"_{out}"
    return out[:200]


def is_reserved(name: str) -> bool:
    """Tell whether Windows reserves a file's name."""
    return safe_name(name) != name
