"""Reading TIFF: the pages of one shape and type are the frames of one record, tags are header values and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from nxconvert import memo
from nxconvert.array import Array, Values, named_type
from nxconvert.errors import InputError
from nxconvert.format import Location, Policy, Records, Report
from nxconvert.formats.tiff import private
from nxconvert.formats.tiff.pages import Coding, Frames, Layout, Pixels
from nxconvert.formats.tiff.structure import Page, TiffStructure
from nxconvert.formats.tiff.tags import (
    DESCRIPTION,
    IMAGEJ_DATA,
    OWN,
    RESOLUTION_UNIT,
    X_RESOLUTION,
    Y_RESOLUTION,
    imagej_metadata,
    tag_fields,
)
from nxconvert.record import Field, Record, Role, by_name

FRAME = "data"
"""The name of the frames of a file that does not say it."""

Member = tuple[Page, Coding, int]


class Stored(Protocol):
    """Frames as they are stored, whose items may be given another shape of the same size."""

    def shaped(self, item: tuple[int, ...]) -> Array: ...


def key_of(known: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the key that a memo carries."""
    key = known.get("key", {})
    return key if isinstance(key, dict) else {}


def described(known: Mapping[str, Any], about: Mapping[str, Any], frames: Stored, source: str) -> Record:
    """Return the record that a memo describes.

    Parameters
    ----------
    known
        The memo.
    about
        Its part that is of TIFF alone: the columns' values and which are missing.
    frames
        The frames as they are stored.
    source
        The file.

    Raises
    ------
    InputError
        When the memo is damaged.
    """
    try:
        columns, name = known["columns"], about["frames"]
        stored = frames.shaped(tuple(int(n) for n in columns[name]["item"]))
        fields = memo.header_fields(known, source)
        for column, facts in columns.items():
            where = f"{source}::{column}"
            dtype = named_type(facts["dtype"])
            values = (
                private.frames_as_before(stored, facts, name)
                if column == name
                else Values(private.unpacked(about["values"][column], dtype, where), dtype)
            )
            mask = private.mask_of(about.get("missing", {}).get(column), values.shape[0])
            fields.append(Field(column, values, per_row=True, mask=mask, source=where, **memo.about(facts)))
        mapping, grid = str(known.get("mapping", "")), known.get("grid")
        return Record(key_of(known), by_name(fields), source=source, mapping=mapping, grid=grid)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{source}: the description in its header is damaged: {error!r}") from None


class TiffRecords(Records):
    """The records of a TIFF file: one for each shape and type of its pages."""

    def __init__(self, location: Location, policy: Policy, report: Report) -> None:
        self.path, self.policy, self.report = location.path, policy, report
        self.structure = TiffStructure(self.path)
        self.pixels = Pixels(self.structure, policy.memory)
        try:
            self.groups = self._grouped()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.pixels.close()
        self.structure.close()

    def _grouped(self) -> dict[Layout, list[Member]]:
        groups: dict[Layout, list[Member]] = {}
        for page in self.structure.pages:
            coding = self.pixels.coding(page)
            groups.setdefault(coding.layout, []).append((page, coding, self.pixels.start(page, coding)))
        return groups

    def keys(self) -> list[Mapping[str, str]]:
        return [self._key(members) for members in self.groups.values()]

    def _key(self, members: list[Member]) -> Mapping[str, str]:
        if len(self.groups) > 1:
            return {"pages": _ranges([page.name for page, _, _ in members])}
        return key_of(self.memo(members[0][0]) or {})

    def __iter__(self) -> Iterator[Record]:
        self._note_ome()
        for members in self.groups.values():
            known = self.memo(members[0][0])
            record = self._own(known, members) if known is not None else None
            yield record if record is not None else self._foreign(members)

    def memo(self, page: Page) -> dict[str, Any] | None:
        """Return the memo that a page carries, in its description or in ImageJ's information."""
        text = self.structure.text(page, DESCRIPTION)
        if text.startswith("{"):
            found = memo.loads(text)
        elif text.startswith("ImageJ="):
            found = memo.loads(_last_line(_info(self.structure, page)))
        else:
            return None
        return found if found is not None and isinstance(found.get(private.KEY), dict) else None

    def frames(self, members: list[Member]) -> Frames:
        starts = np.array([start for _, _, start in members], np.int64)
        pages = [(page, coding) for page, coding, _ in members]
        if len(members) == 1 and len(self.structure.pages) == 1 and starts[0] >= 0:
            starts = self._hyperstack(members[0])
        return Frames(self.pixels, pages, starts)

    def _hyperstack(self, member: Member) -> np.ndarray[Any, Any]:
        """Return where the frames of an ImageJ stack are that has one directory for all of them.

        Raises
        ------
        InputError
            When the file ends before the last of them.
        """
        page, coding, start = member
        said = re.match(r"ImageJ=[^\n]*(?:\n[^\n]*)*?\nimages=(\d+)", self.structure.text(page, DESCRIPTION))
        n = int(said[1]) if said else 1
        size = int(np.prod(coding.full)) * coding.layout.dtype.itemsize
        if start + max(n, 1) * size > self.structure.size:
            raise self.structure.damaged(f"it should hold {n} images and ends before the last")
        return start + np.arange(max(n, 1), dtype=np.int64) * size

    def _own(self, known: Mapping[str, Any], members: list[Member]) -> Record | None:
        """Return the record that a memo describes; None when the file's frames are no longer those."""
        frames = self.frames(members)
        if len(self.groups) > 1 or known[private.KEY].get("n") != frames.shape[0]:
            self.report.notice(f"{self.path}: its frames were changed by another program; they are read without names")
            return None
        record = described(known, known[private.KEY], frames, str(self.path))
        tags = tag_fields(self.structure, [page for page, _, _ in members], self.report, OWN | {IMAGEJ_DATA})
        if "row" in known[private.KEY]:
            record = replace(record, grid=None)  # it is but one of the grid's points
        return record.with_fields([*record.fields.values(), *tags])

    def _foreign(self, members: list[Member]) -> Record:
        source = str(self.path)
        frames = self.frames(members)
        layout = members[0][1].layout
        said = {"rgb": "rgb-image", "rgba": "rgba-image"}.get(layout.colour, "image")
        pages = [page for page, _, _ in members]
        fields = tag_fields(self.structure, pages, self.report)
        fields += imagej_fields(self.structure, pages[0], frames.shape[0])
        attrs = {"interpretation": said} if len(layout.item) == 2 or layout.colour else {}
        data = Field(FRAME, frames, True, role=Role.SIGNAL, guessed=True, attrs=attrs, source=f"{source}::{FRAME}")
        fields.append(data)
        return Record(self._key(members), {f.name: f for f in fields}, source=source)

    def _note_ome(self) -> None:
        """Say when OME metadata count on images that are in other files: those are never opened."""
        text = self.structure.text(self.structure.pages[0], DESCRIPTION)
        if "<OME" not in text[:2000]:
            return
        others = sorted({n for n in re.findall(r"FileName=\"([^\"]*)\"", text) if n != self.path.name})
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            self.report.notice(
                f"{self.path}: its OME metadata name other files, which are not read: {others[0]!r}{more}; only the "
                f"{len(self.structure.pages)} pages of this file are"
            )


_UNITS = {"micron": "um", "microns": "um", "\\u00B5m": "um", "µm": "um"}


def _last_line(text: str) -> str:
    return text.rstrip("\n").rpartition("\n")[2]


def _ranges(names: list[str]) -> str:
    """Return page names in few words: ``0-4,7,9.0``."""
    out: list[list[str]] = []
    for name in names:
        if out and "." not in name and "." not in out[-1][-1] and int(name) == int(out[-1][-1]) + 1:
            out[-1] = [out[-1][0], name]
        else:
            out.append([name])
    return ",".join("-".join(run) for run in out)


def imagej_fields(structure: TiffStructure, page: Page, n: int) -> list[Field]:
    """Return what ImageJ says of a stack of ``n`` images: the size of a pixel, the slices' labels, its Info."""
    text = structure.text(page, DESCRIPTION)
    if not text.startswith("ImageJ="):
        return []
    source = str(structure.path)
    fields: list[Field] = []
    unit = re.search(r"^unit=(.*)$", text, re.MULTILINE)
    if unit and unit[1].strip() not in ("", "pixel", "inch") and structure.number(page, RESOLUTION_UNIT, 1) == 1:
        for axis, code in (("x", X_RESOLUTION), ("y", Y_RESOLUTION)):
            tag = page.tags.get(code)
            per_unit = structure.numbers(tag, "the resolution") if tag is not None else np.zeros(1)
            if len(per_unit) == 1 and per_unit.dtype.kind in "iuf" and np.isfinite(per_unit[0]) and per_unit[0] > 0:
                units = {"units": _UNITS.get(unit[1].strip(), unit[1].strip())}
                size = np.float64(1 / per_unit[0])
                fields.append(Field(f"{axis}_pixel_size", Values(size), attrs=units, source=source))
    order = "utf-16-le" if structure.order == "<" else "utf-16-be"
    labels = [raw.decode(order, "replace") for raw in imagej_metadata(structure, page).get("labl", [])]
    if len(labels) == n and not any("\0" in label for label in labels):
        fields.append(Field("label", Values(labels), per_row=True, source=source))
    info = _info(structure, page)
    if info and "\0" not in info:
        fields.append(Field("tiff/Info", Values(info), source=source))
    return fields


def _info(structure: TiffStructure, page: Page) -> str:
    parts = imagej_metadata(structure, page).get("info", [])
    return parts[0].decode("utf-16-le" if structure.order == "<" else "utf-16-be", "replace") if parts else ""
