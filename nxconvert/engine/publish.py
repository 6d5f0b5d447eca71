"""Publishing: nothing half-written ever bears an output's name.

A file is written beside its place under a name of its own, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from nxconvert.errors import OutputError, UsageError


class Publisher:
    """The outputs of one conversion.

    Parameters
    ----------
    overwrite
        Whether outputs that exist are replaced; otherwise they are refused, before anything is written.
    """

    def __init__(self, *, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self._taken: dict[str, str] = {}
        self._parts: dict[Path, Path] = {}

    def reserve(self, path: Path, what: str) -> None:
        """Claim an output's name.

        Raises
        ------
        UsageError
            When it exists, or another output of this conversion has it, in other case too.
        """
        folded = str(path.absolute()).casefold()
        if folded in self._taken:
            raise UsageError(
                f"{what} and {self._taken[folded]} would both be written to {path}",
                "tell them apart with --name, e.g. --name '{stem}_{entry}{ext}'",
            )
        self._taken[folded] = what
        if path.exists() and not self.overwrite:
            raise UsageError(f"{path} exists already", "choose another name, or add --overwrite")

    def part(self, path: Path) -> Path:
        """Return the name under which an output is to be written.

        Raises
        ------
        OutputError
            When its folder cannot be made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {path.parent} cannot be made: {error.strerror}") from None
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._parts[path] = part
        return part

    def publish(self, path: Path) -> None:
        """Give a complete output its name.

        Raises
        ------
        OutputError
            When it cannot be flushed or renamed.
        """
        part = self._parts[path]
        try:
            if part.is_file():
                sync(part)
            part.replace(path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
        del self._parts[path]

    def discard(self, path: Path) -> None:
        """Remove what was written of an output."""
        part = self._parts.pop(path, None)
        if part is not None:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for path in list(self._parts):
            self.discard(path)


def sync(path: Path) -> None:
    """Flush a file to its disk."""
    flags = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
