"""Reading a folder of TIFF files, one frame in each, as the one record that was written so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.array import named_type
from nxconvert.errors import InputError
from nxconvert.folder import FileFrames, Rows, image_files, other_image, stranger
from nxconvert.format import Location, Policy, Records, Report
from nxconvert.formats.tiff import private
from nxconvert.formats.tiff.pages import Layout
from nxconvert.formats.tiff.read import TiffRecords, described, key_of
from nxconvert.record import Record


class SequenceRecords(Records):
    """The one record of a folder of files, one a frame, as the profile ``sequence`` writes them.

    Raises
    ------
    InputError
        When a frame is missing, is there twice, or is none of this sequence.
    """

    def __init__(self, location: Location, policy: Policy, report: Report) -> None:
        self.path, self.policy, self.report = location.path, policy, report
        found: Rows[dict[str, Any]] = Rows(self.path)
        layout: Layout | None = None
        for path in sequence_files(self.path):
            with TiffRecords(Location(str(path)), policy, report) as file:
                known = file.memo(file.structure.pages[0])
                about = known.get(private.KEY, {}) if known else {}
                row, rows = about.get("row"), about.get("rows")
                if known is None or not isinstance(row, int) or not isinstance(rows, int):
                    raise stranger(path)
                mine = next(iter(file.groups))
                layout = layout or mine
                if len(file.groups) != 1 or mine != layout:
                    raise other_image(path)
                found.add(row, path, known)
        if layout is None:
            raise InputError(f"{self.path} holds no TIFF file")
        self.layout = layout
        self.known = found.found[min(found.found)][1]
        self.found = found.complete(self.known[private.KEY]["rows"])

    def _frame(self, path: Path) -> np.ndarray[Any, Any] | None:
        with TiffRecords(Location(str(path)), self.policy, Report()) as file:
            frames = file.frames(next(iter(file.groups.values())))
            return frames.read()[0] if frames.shape[0] == 1 and frames.dtype == self.layout.dtype else None

    def keys(self) -> list[Mapping[str, str]]:
        return [key_of(self.known)]

    def __iter__(self) -> Iterator[Record]:
        frames = FileFrames([path for path, _ in self.found], self.layout.item, self.layout.dtype, self._frame)
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
    return image_files(folder, (".tif", ".tiff"))
