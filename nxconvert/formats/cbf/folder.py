"""Reading a folder of CBF files, one frame in each, as the one record that was written so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo
from nxconvert.array import Array, Box, full_box
from nxconvert.dissection import Dissection, Entry, FileContent, pixels
from nxconvert.errors import InputError
from nxconvert.format import Location, Policy, Records, Report
from nxconvert.formats.cbf import EXTENSION, PRIVATE, ROW
from nxconvert.formats.cbf.sections import dissect
from nxconvert.image import MEMO, described
from nxconvert.record import Record


class FileFrames(Array):
    """The frames of a sequence of files, one in each.

    Parameters
    ----------
    paths
        The files, in the order of their rows.
    item
        Shape of a frame.
    dtype
        As it is stored.
    """

    __slots__ = ("_item", "_paths", "_stored")

    def __init__(self, paths: Sequence[Path], item: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._paths, self._item, self._stored = paths, item, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._paths), *self._item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._stored.newbyteorder("=")

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *inner = full_box(box, self.shape)
        paths = self._paths[rows]
        out = np.empty((len(paths), *self._item), self.dtype)
        for i, path in enumerate(paths):
            with FileContent(path) as content:
                found = dissect(content)
                if not _alike(found, self._item, self._stored):
                    raise InputError(f"{path} is another image than when it was opened")
                out[i] = pixels(content, found, 0)
        return out[(slice(None), *inner)]


class FolderRecords(Records):
    """The one record of a folder of files, one a frame, as the writer makes it.

    Raises
    ------
    InputError
        When a frame is missing, is there twice, or is none of this record.
    """

    def __init__(self, location: Location, policy: Policy, report: Report) -> None:
        self.path, self.policy = location.path, policy
        found: dict[int, tuple[Path, list[Entry]]] = {}
        text, dtype = "", np.dtype(np.int32)
        item: tuple[int, ...] = ()
        for path in folder_files(self.path):
            with FileContent(path) as content:
                parts = dissect(content)
            if not found:
                item, dtype = parts.frames[0].shape, parts.frames[0].dtype
            header = [*parts.header, *parts.frames[0].header]
            said: dict[str, str] = {}
            for entry in header:
                said.setdefault(entry.key, str(entry.value))
            row, mine = said.get(ROW, ""), said.get(MEMO, "")
            text = text or mine
            if not row.isdecimal() or mine != text:
                raise InputError(f"{path} is no file of the sequence", "take it out of the folder")
            if not _alike(parts, item, dtype):
                raise InputError(f"{path} holds another image than the files before it")
            if int(row) in found:
                twin = found[int(row)][0]
                raise InputError(f"{path} and {twin} are both frame {int(row)}", "take one out of the folder")
            found[int(row)] = path, header
        if not found:
            raise InputError(f"{self.path} holds no CBF file")
        self.known, rows = self._known(text)
        gone = [r for r in range(rows) if r not in found] if rows < 10 * len(found) else [len(found)]
        if gone or len(found) != rows:
            some = ", ".join(map(str, gone[:5])) + (", ..." if len(gone) > 5 else "")
            raise InputError(
                f"{self.path}: {len(found):,} of {rows:,} frames are there; missing: {some}", "bring them back"
            )
        self.headers = [found[row][1] for row in range(rows)]
        self.frames = FileFrames([found[row][0] for row in range(rows)], item, dtype)
        if int(np.prod(item)) * dtype.itemsize > policy.memory:
            raise InputError(f"{self.path}: a frame of {item} is too large", "give more with --memory")

    def _known(self, text: str) -> tuple[dict[str, Any], int]:
        """Return the memo as it was before it was split over the files, and the number of rows."""
        known = memo.loads(text) or {}
        try:
            about = known.pop(PRIVATE)
            rows = int(about["rows"])
            for name, length in about["lengths"].items():
                known["columns"][name]["length"] = int(length)
            known |= {"rows": rows, "grid": about["grid"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{self.path}: the description in its headers is damaged: {error!r}") from None
        return known, rows

    def keys(self) -> list[Mapping[str, str]]:
        return [dict(self.known.get("key", {}))]

    def __iter__(self) -> Iterator[Record]:
        yield described(self.known, self.headers, self.frames, str(self.path))


def _alike(found: Dissection, item: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return len(found.frames) == 1 and found.frames[0].shape == item and found.frames[0].dtype == dtype


def folder_files(folder: Path) -> list[Path]:
    """Return the CBF files of a folder."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == EXTENSION and not p.name.startswith("."))
