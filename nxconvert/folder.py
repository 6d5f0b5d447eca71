"""A folder of image files, one frame in each, that a writer made of one record: its files, their rows, its frames."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from nxconvert.array import Array, Box, full_box
from nxconvert.errors import InputError

T = TypeVar("T")

FEW = 10
"""More than so many times the frames that are there are not listed as missing: the number of rows is damaged."""


def image_files(folder: Path, extensions: Sequence[str]) -> list[Path]:
    """Return the files of a folder that have one of some extensions, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in extensions and not p.name.startswith("."))


class Rows(Generic[T]):
    """Which file holds which row, and what else is known of each.

    Parameters
    ----------
    folder
        Where they are, for messages.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[int, tuple[Path, T]] = {}

    def add(self, row: int, path: Path, about: T) -> None:
        """Take a file.

        Raises
        ------
        InputError
            When another one has the same row.
        """
        if row in self.found:
            twin = self.found[row][0]
            raise InputError(f"{path} and {twin} are both frame {row}", "take one out of the folder")
        self.found[row] = path, about

    def complete(self, rows: int) -> list[tuple[Path, T]]:
        """Return the files in the order of their rows.

        Raises
        ------
        InputError
            When some are missing.
        """
        found = self.found
        gone = [r for r in range(rows) if r not in found] if rows < FEW * len(found) else [len(found)]
        if gone or len(found) != rows:
            some = ", ".join(map(str, gone[:5])) + (", ..." if len(gone) > 5 else "")
            raise InputError(
                f"{self.folder}: {len(found):,} of {rows:,} frames are there; missing: {some}", "bring them back"
            )
        return [found[row] for row in range(rows)]


def stranger(path: Path) -> InputError:
    """Return the error of a file that is none of the record."""
    return InputError(f"{path} is no file of the sequence", "take it out of the folder")


def other_image(path: Path) -> InputError:
    """Return the error of a file whose image is of another shape or type than those before it."""
    return InputError(f"{path} holds another image than the files before it")


class FileFrames(Array):
    """The frames of such files, read by threads.

    Parameters
    ----------
    paths
        The files, in the order of their rows.
    item
        Shape of a frame.
    dtype
        Its type.
    frame
        Reads the frame of a file: an array of that many items and that type, or None when it is another one.
    """

    __slots__ = ("_dtype", "_frame", "_item", "_paths")

    def __init__(
        self,
        paths: Sequence[Path],
        item: tuple[int, ...],
        dtype: np.dtype[Any],
        frame: Callable[[Path], np.ndarray[Any, Any] | None],
    ) -> None:
        self._paths, self._item, self._dtype, self._frame = paths, item, dtype, frame

    def shaped(self, item: tuple[int, ...]) -> FileFrames:
        """Return the same frames with another shape of an item, which has as many elements."""
        if math.prod(item) != math.prod(self._item):
            raise ValueError(f"frames of {self._item} are no {item}")
        return FileFrames(self._paths, item, self._dtype, self._frame)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._paths), *self._item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *inner = full_box(box, self.shape)
        paths = self._paths[rows]
        out = np.empty((len(paths), *self._item), self._dtype)

        def fill(i: int) -> None:
            frame = self._frame(paths[i])
            if frame is None:
                raise InputError(f"{paths[i]} is another image than when it was opened")
            out[i] = frame.reshape(self._item)

        if len(paths) == 1:
            fill(0)
        elif paths:
            with ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2))) as pool:
                list(pool.map(fill, range(len(paths))))
        return out[(slice(None), *inner)]
