"""The journal of a run that packs: what is safely on the disk, so that a run that was killed can be gone on with.

It lies beside the unfinished file. Each line is JSON with its own digest; a line that is torn ends the journal. The
first line says what was to be packed, and how; a run that is to do anything else does not take it up.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xxhash

from nxconvert.errors import OutputError


class Journal:
    """A journal that is being written; a context manager.

    Parameters
    ----------
    path
        Where; a file that is there is replaced.
    plan
        What is to be packed, and how, as plain data.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error.strerror}") from None
        try:
            self.mark(plan)
        except BaseException:
            self.close()
            raise

    def mark(self, entry: Mapping[str, Any]) -> None:
        """Add a line, and wait until it is on the disk.

        Raises
        ------
        OutputError
            When it cannot be written; what the journal said before still holds.
        """
        text = json.dumps(entry, separators=(",", ":")).encode()
        try:
            self._file.write(text + b" " + xxhash.xxh3_64_hexdigest(text).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}", "is the disk full?") from None

    def close(self) -> None:
        """Close it; it stays where it is."""
        with suppress(OSError):  # a line that could not be written was told already
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal, as far as they are whole."""
    with path.open("rb") as file:
        for line in file:
            text, _, digest = line.rstrip(b"\n").rpartition(b" ")
            if not line.endswith(b"\n") or xxhash.xxh3_64_hexdigest(text).encode() != digest:
                return
            entry = json.loads(text)
            assert isinstance(entry, dict)
            yield entry


def names(out: Path, generation: int) -> tuple[Path, Path]:
    """Return the names of the unfinished file and of its journal."""
    return (
        out.with_name(f".{out.name}.{generation}.packing"),
        out.with_name(f".{out.name}.{generation}.journal"),
    )


def lock(out: Path) -> Path:
    """Return the name of the file that a run locks."""
    return out.with_name(f".{out.name}.lock")


def left(out: Path) -> list[int]:
    """Return the generations that earlier runs left beside an output, the latest first."""
    if not out.parent.is_dir():
        return []
    sign = re.compile(re.escape(f".{out.name}.") + r"(\d+)\.(?:packing|journal)")
    found = {int(m[1]) for p in out.parent.iterdir() if (m := sign.fullmatch(p.name))}
    return sorted(found, reverse=True)


def remove(out: Path, generation: int) -> None:
    """Remove what a run left."""
    for path in names(out, generation):
        path.unlink(missing_ok=True)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other runs from the same output as long as the context lasts.

    Raises
    ------
    OutputError
        When another run has it.
    """
    path = lock(out)
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error.strerror}") from None
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            raise OutputError(f"another run is packing {out}", "wait for it, or choose another name") from None
        if _is_there(path, handle):
            break
        os.close(handle)  # the run that had it removed it just now
    try:
        yield
    finally:
        if sys.platform != "win32":  # while it is held, so that nobody waits for a file without a name
            path.unlink(missing_ok=True)
        os.close(handle)
        if sys.platform == "win32":
            path.unlink(missing_ok=True)


def _is_there(path: Path, handle: int) -> bool:
    """Tell whether an open file still bears its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
