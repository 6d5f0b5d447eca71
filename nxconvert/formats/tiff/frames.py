"""What becomes of a record in a TIFF file: the frames as they are stored, the tags, the memo."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nxconvert import __version__, memo
from nxconvert.array import decode, is_text, type_name
from nxconvert.dataclass import dataclass
from nxconvert.errors import OutputError, UsageError
from nxconvert.format import Report
from nxconvert.formats.tiff import encode, private
from nxconvert.record import Field, Record, plain

_STORED = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3, "c": 6}
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "micron": 1e-6, "nm": 1e-9, "inch": 0.0254}
_METRES |= {"meter": 1.0, "metre": 1.0, "millimeter": 1e-3, "micrometer": 1e-6, "μm": 1e-6, "microns": 1e-6}
_BINS = 1 << 16
_PASS = 32 << 20


@dataclass(frozen=True)
class Cast:
    """How values are stored in another type: ``values = stored * scale + offset``; no scale: just converted."""

    dtype: np.dtype[Any]
    scale: float | None = None
    offset: float = 0.0
    steps: tuple[float, float] = (0.0, 0.0)

    def stored(self, values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], int]:
        """Return the values as they are stored, and how many were out of range or not numbers."""
        if self.scale is None:
            with np.errstate(over="ignore"):
                out = values.astype(self.dtype)
            lost = np.count_nonzero(np.isinf(out) & np.isfinite(values)) if self.dtype.kind == "f" else 0
            return out, int(lost)
        low, high = self.steps
        steps = np.asarray(values, np.float64) - self.offset
        steps /= self.scale
        np.rint(steps, out=steps)
        lost = np.count_nonzero(~((steps >= low) & (steps <= high)))
        if lost:
            steps = np.clip(np.nan_to_num(steps, nan=low, posinf=high, neginf=low), low, high)
        return steps.astype(self.dtype), int(lost)


class Frames:
    """The frames of a record, and what a TIFF file says of them.

    Parameters
    ----------
    record
        A record with one per-row field of frames.
    report
        Told what is not carried.
    cast, range_
        Type to store the frames as, and the range of values that is stretched over it; empty for none.

    Raises
    ------
    OutputError
        When TIFF cannot hold them.
    UsageError
        When ``cast`` or ``range_`` is wrong.
    """

    def __init__(self, record: Record, report: Report, cast: str, range_: str) -> None:
        self.report = report
        frames = [f for f in record.columns if f.item_shape]
        if len(frames) != 1 or len(frames[0].item_shape) not in (2, 3):
            raise OutputError(f"{record.source}: a TIFF file holds one stack of frames, not {len(frames)}")
        self.field = frames[0]
        self.record = self._carried(record)
        self.rows, self.item = self.field.shape[0], self.field.item_shape
        if not self.rows or 0 in self.item:
            raise OutputError(f"{record.source}: {self.field.name} has no pixels", "TIFF has no empty images")
        self.samples = self.item[2] if len(self.item) == 3 else 1
        said = str(self.field.attrs.get("interpretation", ""))
        self.colour = self.samples in (3, 4) and "rgb" in said
        self.cast = _cast(self.field, cast, range_)
        dtype = self.cast.dtype if self.cast else self.field.dtype
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else np.dtype(f"<{dtype.kind}{dtype.itemsize}")
        self._check()
        self.lost = 0

    def _carried(self, record: Record) -> Record:
        """Leave out the columns that JSON cannot carry."""
        gone = set()
        for f in record.columns:
            kept = is_text(f.dtype) or (f.dtype.kind in "biufc" and f.dtype.subdtype is None)
            if f is not self.field and not kept:
                self.report.lose(f.name, record.source, f"a column of type {type_name(f.dtype)} has no place in TIFF")
                gone.add(f.name)
        return record.with_fields({n: f for n, f in record.fields.items() if n not in gone}) if gone else record

    def _check(self) -> None:
        kind, size = self.dtype.kind, self.dtype.itemsize
        if size not in _STORED.get(kind, ()):
            better = "--cast float64" if kind == "f" else "choose another format"
            raise OutputError(f"{self.field.source}: TIFF has no {type_name(self.field.dtype)} images", better)
        if max(*self.item[:2], self.samples) > encode.CLASSIC_LIMIT or self.samples > 65535:
            raise OutputError(f"{self.field.source}: frames of {self.item} are too large for TIFF")

    @property
    def nbytes(self) -> int:
        """Bytes of one stored frame."""
        return math.prod(self.item) * self.dtype.itemsize

    def stored(self, values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[int]]:
        """Return frames as they are stored, and which of them are missing."""
        missing: list[int] = []
        data = np.ma.getdata(values)
        if isinstance(values, np.ma.MaskedArray) and (mask := np.ma.getmaskarray(values)).any():
            rows = mask.reshape(len(mask), -1)
            missing = np.flatnonzero(rows.all(axis=1)).tolist()
            if int(rows.sum()) != len(missing) * rows.shape[1]:
                self.report.lose(f"mask of {self.field.name}", self.record.source, "TIFF has no mask of single pixels")
            data = data.copy()
            data[missing] = 0
        if self.cast is not None:
            data, lost = self.cast.stored(data)
            self.lost += lost
            data[missing] = 0
        elif data.dtype.kind == "b":
            data = data.astype(np.uint8) * np.uint8(255)
        return np.ascontiguousarray(data, self.dtype), missing

    def describe(self) -> dict[str, Any]:
        """Return the memo, with what people want to know first."""
        record = self.record
        out: dict[str, Any] = {}
        title = record.fields.get("title")
        if title is not None and not title.per_row and is_text(title.dtype):
            out["title"] = decode(title.values.read()).tolist()
        out["frames"] = self.field.name
        if self.field.units:
            out["units"] = self.field.units
        out |= memo.describe(record, lambda name, why: self.report.lose(name, record.source, why))
        if self.cast is not None:
            made: dict[str, Any] = {"dtype": self.dtype.name}
            if self.cast.scale is not None:
                made |= {"scale": self.cast.scale, "offset": self.cast.offset}
            out["columns"][self.field.name]["cast"] = made
        out[private.KEY] = {"frames": self.field.name, "n": self.rows}
        return out

    def entries(self, rows_per_strip: int, compression: int) -> list[encode.Entry]:
        """Return the tags that all pages share."""
        height, width = self.item[:2]
        n, bits = self.samples, self.dtype.itemsize * 8
        out = [encode.long(256, width), encode.long(257, height), encode.short(258, *[bits] * n)]
        out += [encode.short(259, compression), encode.short(262, 2 if self.colour else 1), encode.short(277, n)]
        out += [encode.long(278, rows_per_strip), encode.short(284, 1)]
        out.append(encode.short(339, *[_SAMPLE_FORMATS[self.dtype.kind]] * n))
        extra = n - (3 if self.colour else 1)
        if extra:
            out.append(encode.short(338, *[2 if self.colour else 0] * extra))
        return out

    def resolution(self, unit: float, code: int) -> list[encode.Entry]:
        """Return the tags of the size of a pixel, in pixels for each unit of so many metres; none when unknown."""
        sizes = [pixel_size(self.record, axis) for axis in "xy"]
        if None in sizes:
            return []
        per_unit = [unit / s for s in sizes if s]
        return [encode.rational(282, per_unit[0]), encode.rational(283, per_unit[1]), encode.short(296, code)]

    def provenance(self) -> list[encode.Entry]:
        """Return the tags of the program and, when the record says it, of the time."""
        out = [encode.text(305, f"nxconvert {__version__}")]
        started = self.record.fields.get("start_time")
        if started is not None and not started.per_row and is_text(started.dtype):
            time = str(plain(started.values))
            if len(time) >= 19 and time[:19].translate(_NO_DIGITS) == "--T::":
                out.append(encode.text(306, time[:19].replace("-", ":").replace("T", " ")))
        return out

    def finish(self) -> None:
        """Say what the cast cost."""
        if self.lost:
            low = self.cast.offset if self.cast else 0.0
            why = f"outside the range of the cast, or no numbers; they became its ends (from {low:g})"
            self.report.lose(f"{self.lost:,} values of {self.field.name}", self.record.source, why)


_NO_DIGITS = {ord(d): None for d in "0123456789"}


def pixel_size(record: Record, axis: str) -> float | None:
    """Return the size of a pixel in metres, when a header field such as ``x_pixel_size`` says it with its unit."""
    for f in record.header:
        if f.name.rpartition("/")[2] == f"{axis}_pixel_size" and f.dtype.kind in "iuf" and f.values.size == 1:
            value = float(f.values.read().reshape(-1)[0]) * _METRES.get(f.units, 0.0)
            return value if math.isfinite(value) and value > 0 else None
    return None


def _cast(field: Field, cast: str, range_: str) -> Cast | None:
    if not cast:
        if range_:
            raise UsageError("--range means nothing without --cast", "add e.g. --cast uint16")
        return None
    try:
        dtype = np.dtype(cast)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or field.dtype.kind not in "biuf":
        raise UsageError(f"--cast {cast!r}: {type_name(field.dtype)} cannot be stored so", "write e.g. --cast uint16")
    if dtype.kind == "f":
        if range_:
            raise UsageError("--range is for a cast to integers", f"leave it out, --cast {cast} keeps the values")
        return Cast(dtype)
    low, high = _range(field, range_)
    first, last = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if dtype.itemsize == 8:
        raise UsageError(f"--cast {cast}: 64-bit integers are finer than the arithmetic", "choose uint32 or smaller")
    scale = (high - low) / (last - first) or 1.0
    if not math.isfinite(scale):
        raise UsageError(f"--cast {cast}: the range {low:g} to {high:g} is too wide", "give a smaller one with --range")
    return Cast(dtype, scale, low - first * scale, (first, last))


def _range(field: Field, text: str) -> tuple[float, float]:
    """Return the lowest and highest value of a range: numbers as they are, ``%`` as percentiles of the data."""
    parts = [p.strip() for p in text.split(",")] if text else ["0%", "100%"]
    try:
        ends = [float(p.rstrip("%")) for p in parts]
    except ValueError:
        ends = []
    relative = [p.endswith("%") for p in parts]
    wrong = len(ends) != 2 or not all(map(math.isfinite, ends))
    if wrong or any(r and not 0 <= e <= 100 for e, r in zip(ends, relative, strict=True)):
        raise UsageError(f"--range {text!r} is no range", "write LOW,HIGH or percentiles such as 1%,99%")
    if any(relative):
        ends = [_percentile(field, e) if r else e for e, r in zip(ends, relative, strict=True)]
    if ends[0] > ends[1] or (text and ends[0] == ends[1] and not any(relative)):
        raise UsageError(f"--range {text!r} is empty", "write the lower value first")
    return ends[0], ends[1]


def _percentile(field: Field, percent: float) -> float:
    """Return a percentile of the finite values; between the ends it is found to 1/65536 of their distance."""
    low, high = math.inf, -math.inf
    for values in _finite(field):
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        raise OutputError(f"{field.source} has no finite values", "give --range LOW,HIGH")
    if percent in (0, 100) or low == high:
        return high if percent == 100 else low
    counts = np.zeros(_BINS, np.int64)
    for values in _finite(field):
        counts += np.histogram(values, _BINS, (low, high))[0]
    sums = np.cumsum(counts)
    at = int(np.searchsorted(sums, sums[-1] * percent / 100))
    return low + (high - low) * (min(at, _BINS - 1) + 0.5) / _BINS


def _finite(field: Field) -> Iterator[np.ndarray[Any, Any]]:
    """Read a field in pieces, the finite values of each."""
    alone = Record({}, {field.name: replace(field, role=None)}, source=field.source)
    size = math.prod(field.item_shape) * field.dtype.itemsize
    for block in alone.blocks(budget=max(_PASS, size)):
        column = block.columns[field.name]
        values = np.ma.compressed(column) if isinstance(column, np.ma.MaskedArray) else column.reshape(-1)
        if values.dtype.kind == "b":
            values = values.view(np.uint8)
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if values.size:
            yield values.astype(np.float64) if values.dtype.itemsize < 4 and values.dtype.kind == "f" else values


def columns_of(block: Mapping[str, Any], frame: str) -> Iterator[tuple[str, Any, list[int]]]:
    """Yield the scalar columns of a block: name, values and which rows are missing."""
    for name, values in block.items():
        if name != frame:
            mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
            yield name, np.ma.getdata(values), np.flatnonzero(mask).tolist() if mask is not None else []
