"""Reading a folder of TIFF files, one frame in each, as the one record that was written so."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.array import Array, Box, full_box, named_type
from nxconvert.errors import InputError
from nxconvert.format import Location, Policy, Records, Report
from nxconvert.formats.tiff import private
from nxconvert.formats.tiff.pages import Layout
from nxconvert.formats.tiff.read import TiffRecords, described, key_of
from nxconvert.record import Record


class FileFrames(Array):
    """The frames of a sequence of files, one in each.

    Parameters
    ----------
    paths
        The files, in the order of their rows.
    layout
        What each holds.
    policy
        What they may do.
    """

    __slots__ = ("_layout", "_paths", "_policy")

    def __init__(self, paths: Sequence[Path], layout: Layout, policy: Policy) -> None:
        self._paths, self._layout, self._policy = paths, layout, policy

    def shaped(self, item: tuple[int, ...]) -> FileFrames:
        """Return the same frames with another shape of an item, which has as many elements."""
        if math.prod(item) != math.prod(self._layout.item):
            raise ValueError(f"frames of {self._layout.item} are no {item}")
        return FileFrames(self._paths, replace(self._layout, item=item), self._policy)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._paths), *self._layout.item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._layout.dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        rows, *inner = full_box(box, self.shape)
        paths = self._paths[rows]
        out = np.empty((len(paths), *self._layout.item), self._layout.dtype)

        def fill(i: int) -> None:
            with TiffRecords(Location(str(paths[i])), self._policy, Report()) as file:
                found = file.frames(next(iter(file.groups.values())))
                if found.shape[0] != 1 or found.dtype != out.dtype:
                    raise InputError(f"{paths[i]} is another image than when it was opened")
                out[i] = found.read()[0].reshape(self._layout.item)

        if len(paths) < 2:
            for i in range(len(paths)):
                fill(i)
        else:
            with ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2))) as pool:
                list(pool.map(fill, range(len(paths))))
        return out[(slice(None), *inner)]


class SequenceRecords(Records):
    """The one record of a folder of files, one a frame, as the profile ``sequence`` writes them.

    Raises
    ------
    InputError
        When a frame is missing, is there twice, or is none of this sequence.
    """

    def __init__(self, location: Location, policy: Policy, report: Report) -> None:
        self.path, self.policy, self.report = location.path, policy, report
        found: dict[int, tuple[Path, dict[str, Any]]] = {}
        layout: Layout | None = None
        for path in sequence_files(self.path):
            with TiffRecords(Location(str(path)), policy, report) as file:
                known = file.memo(file.structure.pages[0])
                about = known.get(private.KEY, {}) if known else {}
                row, rows = about.get("row"), about.get("rows")
                if known is None or not isinstance(row, int) or not isinstance(rows, int):
                    raise InputError(f"{path} is no file of the sequence", "take it out of the folder")
                mine = next(iter(file.groups))
                layout = layout or mine
                if len(file.groups) != 1 or mine != layout:
                    raise InputError(f"{path} holds another image than the files before it")
                if row in found:
                    raise InputError(f"{path} and {found[row][0]} are both frame {row}", "take one out of the folder")
                found[row] = path, known
        if layout is None:
            raise InputError(f"{self.path} holds no TIFF file")
        self.layout = layout
        self.known = found[min(found)][1]
        rows = self.known[private.KEY]["rows"]
        gone = [r for r in range(rows) if r not in found]
        if gone or len(found) != rows:
            some = ", ".join(map(str, gone[:5])) + (", ..." if len(gone) > 5 else "")
            raise InputError(
                f"{self.path}: {len(found)} of {rows} frames are there; missing: {some}", "bring them back"
            )
        self.found = [found[r] for r in range(rows)]

    def keys(self) -> list[Mapping[str, str]]:
        return [key_of(self.known)]

    def __iter__(self) -> Iterator[Record]:
        frames = FileFrames([path for path, _ in self.found], self.layout, self.policy)
        abouts = [known[private.KEY] for _, known in self.found]
        try:
            columns = self.known["columns"]
            values: dict[str, Any] = {}
            for name, facts in columns.items():
                if name != abouts[0]["frames"]:
                    dtype = named_type(facts["dtype"])
                    parts = [private.unpacked(a["values"][name], dtype, f"{self.path}::{name}") for a in abouts]
                    values[name] = np.concatenate(parts)
            missing = {n: [i for i, a in enumerate(abouts) if n in a.get("missing", {})] for n in columns}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{self.path}: the description in a header is damaged: {error!r}") from None
        merged = abouts[0] | {"values": values, "missing": missing}
        yield described(self.known, merged, frames, str(self.path))


def sequence_files(folder: Path) -> list[Path]:
    """Return the TIFF files of a folder."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in (".tif", ".tiff") and not p.name.startswith("."))
