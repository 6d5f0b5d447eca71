"""Publishing: nothing half-written ever bears an output's name.

A file, or a folder of files, is written beside its place under a name of its own, flushed to the disk, and renamed;
then its folder is flushed too, so that the new name lasts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from nxconvert.engine import disk
from nxconvert.engine.parallel import FLUSHING
from nxconvert.errors import OutputError, UsageError

SETTLED = 8 << 20
"""Bytes of an output that are worth telling the disk to begin with."""


FLUSHES = 8
"""How many outputs are flushed at once: to do so with one takes as long, since it is the disk that is waited for."""


class Publisher:
    """The outputs of one conversion.

    Parameters
    ----------
    overwrite
        Whether outputs that exist are replaced; otherwise they are refused, before anything is written.
    adding
        Whether an output that exists is added to: what is written begins as a copy of it.
    """

    def __init__(self, *, overwrite: bool = False, adding: bool = False) -> None:
        self.overwrite, self.adding = overwrite, adding
        self._taken: dict[str, str] = {}
        self._written: set[str] = set()
        self._parts: dict[Path, Path] = {}
        self._folders: set[Path] = set()
        self._waiting: dict[Path, int] = {}
        self._flushing: deque[tuple[Path, _Flush, Callable[[], None]]] = deque()

    def reserve(self, path: Path, what: str, *, again: bool = False) -> None:
        """Claim an output's name for what goes there.

        Parameters
        ----------
        path
            The output.
        what
            The input or record, for messages.
        again
            Whether the name may have been claimed by ``reserve`` already.

        Raises
        ------
        UsageError
            When it exists, or another output of this conversion has it, in other case too.
        """
        if str(path) == "-":
            return
        folded = str(path.absolute()).casefold()
        if folded in self._taken:
            if again and folded not in self._written:
                self._written.add(folded)
                return
            self.clash(path, what)
        self._taken[folded] = what
        if again:
            self._written.add(folded)
        if path.exists() and not (self.overwrite or self.adding):
            raise UsageError(f"{path} exists already", "choose another name, or add --overwrite")

    def clash(self, path: Path, what: str, tip: str = "") -> NoReturn:
        """Refuse a name that two outputs would have.

        Parameters
        ----------
        path, what
            As those of ``reserve``.
        tip
            How to mend it; default: by a template of names.

        Raises
        ------
        UsageError
            Always.
        """
        first = self._taken.get(str(path.absolute()).casefold(), "another")
        raise UsageError(
            f"{what} and {first} would both be written to {path}",
            tip or "tell them apart with --name, e.g. --name '{stem}_{entry}{ext}'",
        )

    def part(self, path: Path) -> Path:
        """Return the name under which an output is to be written.

        Raises
        ------
        OutputError
            When its folder cannot be made, or a file that is added to cannot be copied.
        """
        if str(path) == "-":
            from tempfile import mkstemp

            part = Path(mkstemp(prefix="nxconvert-")[1])
            self._parts[path] = part
            return part
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {path.parent} cannot be made: {error.strerror}") from None
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._parts[path] = part
        if self.adding and path.is_file():
            try:
                shutil.copyfile(path, part)
            except OSError as error:
                raise OutputError(f"{path} cannot be copied, to add to it: {error.strerror}") from None
        return part

    def settle(self, path: Path, size: int) -> None:
        """Have the disk begin with an output that has grown by some bytes, so that it is flushed sooner at the end."""
        self._waiting[path] = self._waiting.get(path, 0) + size
        part = self._parts.get(path)
        if self._waiting[path] < SETTLED or part is None or not part.is_file():
            return
        self._waiting[path] = 0
        handle = os.open(part, os.O_RDONLY)
        try:
            disk.start_writing(handle, 0, 0)
        finally:
            os.close(handle)

    def publish(self, path: Path) -> None:
        """Give a complete output its name.

        Raises
        ------
        OutputError
            When it cannot be flushed or renamed.
        """
        part = self._parts[path]
        if str(path) == "-":
            _print(part)
            self.discard(path)
            return
        try:
            for piece in part.rglob("*") if part.is_dir() else [part]:
                if piece.is_file():
                    sync(piece)
            _move(part, path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
        del self._parts[path]
        self._folders.add(path.parent)

    def publish_soon(self, path: Path, done: Callable[[], None]) -> None:
        """Flush a complete output while others are made, then give it its name and call ``done``; ``finish`` waits.

        Raises
        ------
        OutputError
            When it, or one before it, cannot be flushed or renamed.
        """
        if str(path) == "-" or not self._parts[path].is_file():
            self.publish(path)
            done()
            return
        flush = _Flush(self._parts[path])
        flush.start()
        self._flushing.append((path, flush, done))
        if len(self._flushing) > FLUSHES:
            self._end_flush()

    def finish(self) -> None:
        """Wait for the outputs that are to be published soon.

        Raises
        ------
        OutputError
            When one cannot be flushed or renamed; call it again for the others.
        """
        while self._flushing:
            self._end_flush()

    def _end_flush(self) -> None:
        path, flush, done = self._flushing.popleft()
        flush.join()
        try:
            if flush.error is not None:
                raise flush.error
            _move(self._parts[path], path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
        del self._parts[path]
        self._folders.add(path.parent)
        done()

    def discard(self, path: Path) -> None:
        """Remove what was written of an output."""
        part = self._parts.pop(path, None)
        if part is not None:
            with contextlib.suppress(FileNotFoundError):
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        while self._flushing:
            with contextlib.suppress(OutputError):  # another error has been raised already
                self._end_flush()
        for path in list(self._parts):
            self.discard(path)
        for folder in self._folders if sys.platform != "win32" else ():
            sync(folder)


def _print(part: Path) -> None:
    """Copy a complete output to standard output."""
    try:
        with part.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror}") from None


class _Flush(threading.Thread):
    """Flushes a file in a thread; ``error`` is what went wrong."""

    def __init__(self, part: Path) -> None:
        super().__init__(name=FLUSHING)
        self.part = part
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            sync(self.part)
        except OSError as error:
            self.error = error


def _move(part: Path, path: Path) -> None:
    """Rename a complete output. A file replaces a file at once; where folders are involved, the old one steps aside."""
    if not path.exists() or not (part.is_dir() or path.is_dir()):
        part.replace(path)
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.replace(aside)
    try:
        part.replace(path)
    except OSError:
        aside.replace(path)
        raise
    if aside.is_dir():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def sync(path: Path) -> None:
    """Flush a file to its disk."""
    flags = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
