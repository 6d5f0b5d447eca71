"""Reading a folder of CBF files, one frame in each, as the one record that was written so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert import memo
from nxconvert.dissection import Dissection, Entry, FileContent, pixels
from nxconvert.errors import InputError
from nxconvert.folder import FileFrames, Rows, image_files, other_image, stranger
from nxconvert.format import Location, Policy, Records, Report
from nxconvert.formats.cbf import EXTENSION, PRIVATE, ROW
from nxconvert.formats.cbf.sections import dissect
from nxconvert.image import MEMO, described
from nxconvert.record import Record


class FolderRecords(Records):
    """The one record of a folder of files, one a frame, as the writer makes it.

    Raises
    ------
    InputError
        When a frame is missing, is there twice, or is none of this record.
    """

    def __init__(self, location: Location, policy: Policy, report: Report) -> None:
        self.path, self.policy = location.path, policy
        found: Rows[list[Entry]] = Rows(self.path)
        text, dtype = "", np.dtype(np.int32)
        item: tuple[int, ...] = ()
        for path in folder_files(self.path):
            with FileContent(path) as content:
                parts = dissect(content)
            if not found.found:
                item, dtype = parts.frames[0].shape, parts.frames[0].dtype
            header = [*parts.header, *parts.frames[0].header]
            said: dict[str, str] = {}
            for entry in header:
                said.setdefault(entry.key, str(entry.value))
            row, mine = said.get(ROW, ""), said.get(MEMO, "")
            text = text or mine
            if not row.isdecimal() or mine != text:
                raise stranger(path)
            if not _alike(parts, item, dtype):
                raise other_image(path)
            found.add(int(row), path, header)
        if not found.found:
            raise InputError(f"{self.path} holds no CBF file")
        self.known, rows = self._known(text)
        files = found.complete(rows)
        self.headers = [header for _, header in files]

        def frame(path: Path) -> np.ndarray[Any, Any] | None:
            with FileContent(path) as content:
                parts = dissect(content)
                return pixels(content, parts, 0) if _alike(parts, item, dtype) else None

        self.frames = FileFrames([path for path, _ in files], item, dtype.newbyteorder("="), frame)
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
    return image_files(folder, (EXTENSION,))
