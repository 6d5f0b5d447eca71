"""What a packed file says besides its frames: headers as values and columns, the plot, the origin of each frame."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from nxconvert import provenance
from nxconvert.array import Box, Lazy, Values
from nxconvert.conversion.join import Join, Rows, Sources, joined
from nxconvert.dissection import Entry
from nxconvert.engine.transfer import array_to_tree
from nxconvert.errors import OutputError, UsageError
from nxconvert.format import Report
from nxconvert.formats.hdf5.write import H5Sink, write_attributes
from nxconvert.headers import Key, Keys, encoded, fixed_text, named, value_field
from nxconvert.mapping.imports import Importer
from nxconvert.mapping.load import load
from nxconvert.mapping.model import LABEL
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.stack import check_frames
from nxconvert.packed import seal
from nxconvert.packed.names import named_fields, printable, unsaid
from nxconvert.packed.origin import Origin
from nxconvert.policy import Policy
from nxconvert.record import Field, Record, Role, by_name
from nxconvert.series import Catalogue, FrameRecord
from nxconvert.tree import NewDataset, NewGroup

if TYPE_CHECKING:
    from nxconvert.packed.pack import Plan

STATUS = np.dtype(np.uint8, metadata={"enum": {"ok": 0, "damaged": 1}})
OWN = frozenset({"data", "frame_number", "status", "source_file", "missing_numbers"})
"""Names of fields that are not of the headers."""

Read = Callable[[Box], np.ndarray[Any, Any]]

_STEP = 4 << 20
"""Bytes of a column that are read at once."""

_MOST_RESERVED = 256 << 20
"""Bytes of the disk that are kept free for all that is no frame."""

LONGEST_INFO = 1 << 20
"""Bytes of a file beside a series that is read for what it says."""


class Columns:
    """The values of the keys that vary, of all records; in a file when they are many.

    Parameters
    ----------
    records
        The records; their keys are known.
    budget
        Bytes that may be held in memory.
    folder
        Where the file is made, without a name that lasts.
    """

    def __init__(self, records: Sequence[FrameRecord], budget: int, folder: Path) -> None:
        self._keys: list[dict[str, Key]] = [{k.name: k for k in r.keys.varying} for r in records]
        self._file: Any = None
        cells = [{name: _cell(key) for name, key in keys.items()} for keys in self._keys]
        sizes = [len(r) * sum(c.itemsize for c in known.values()) for r, known in zip(records, cells, strict=True)]
        if sum(sizes) > budget:
            self._file = tempfile.TemporaryFile(prefix=".nxconvert-", dir=folder, buffering=0)  # noqa: SIM115 - closed by close
        self.nbytes = sum(sizes)
        self._columns: list[dict[str, _Column]] = []
        at = 0
        for r, known in zip(records, cells, strict=True):
            columns = {}
            for name, dtype in known.items():
                columns[name] = _Column(dtype, len(r), self._file, at)
                at += len(r) * dtype.itemsize
            self._columns.append(columns)
        if self._file is not None:
            self._file.truncate(at)

    def put(self, record: int, row: int, header: Iterable[Entry]) -> None:
        """Take the header of one frame."""
        columns, keys = self._columns[record], self._keys[record]
        if not columns:
            return
        for name, value, _ in named(header):
            if name in columns:
                columns[name].put(row, encoded(str(value)) if keys[name].dtype.kind == "O" else value)

    def fields(self, record: int, source: str) -> list[Field]:
        """Return the columns of a record as fields."""
        out = []
        for name, column in self._columns[record].items():
            key = self._keys[record][name]
            dtype = fixed_text(column.dtype.itemsize) if column.dtype.kind == "S" else column.dtype
            there = column.there()
            mask = None if there.all() else Values(~there)
            where = f"{source}::{name}"
            values = Lazy((column.rows,), dtype, partial(column.read, dtype))
            out.append(Field(own_name(name), values, True, attrs=key.attrs, mask=mask, source=where))
        return out

    def close(self) -> None:
        """Let go of the file."""
        self._columns.clear()
        if self._file is not None:
            self._file.close()


def _cell(key: Key) -> np.dtype[Any]:
    """Return the dtype of a value of a column, and whether it is there."""
    value = np.dtype(f"S{max(1, key.longest)}") if key.dtype.kind == "O" else key.dtype
    return np.dtype([("value", value), ("there", np.bool_)])


class _Column:
    """A value for each row, in memory or in a file; not mapped, since a full disk would end the process.

    Parameters
    ----------
    cell
        The dtype of a value and whether it is there.
    rows
        How many.
    file, at
        Where they are, or None for memory.
    """

    def __init__(self, cell: np.dtype[Any], rows: int, file: Any, at: int) -> None:
        self.cell, self.rows, self._file, self._at = cell, rows, file, at
        self.dtype = cell["value"]
        self._held = np.zeros(rows if file is None else 1, cell)
        self._values, self._there = self._held["value"], self._held["there"]

    def put(self, row: int, value: Any) -> None:
        """Set a value."""
        if self._file is None:
            self._values[row], self._there[row] = value, True
            return
        self._values[0], self._there[0] = value, True
        try:
            self._file.seek(self._at + row * self.cell.itemsize)
            if self._file.write(self._held.data.cast("B")) != self.cell.itemsize:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(f"columns of headers cannot be written: {error.strerror}", "is the disk full?") from None

    def read(self, dtype: np.dtype[Any], box: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Return some values."""
        rows = box[0]
        out = np.empty(rows.stop - rows.start, dtype)
        out[...] = self._cells(rows.start, rows.stop)["value"]
        return out

    def there(self) -> np.ndarray[Any, Any]:
        """Return for each row whether it has a value."""
        step = max(1, _STEP // self.cell.itemsize)
        parts = [self._cells(i, min(i + step, self.rows))["there"].copy() for i in range(0, self.rows, step)]
        return np.concatenate(parts) if parts else np.ones(0, bool)

    def _cells(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        if self._file is None:
            return self._held[start:stop]
        out = np.zeros(stop - start, self.cell)
        self._file.seek(self._at + start * self.cell.itemsize)
        view = out.view(np.uint8).data
        at = 0
        while at < len(view) and (n := self._file.readinto(view[at:])):
            at += n
        return out


def own_name(name: str) -> str:
    """Tell a key of a header from the fields that have its name."""
    return f"header/{name}" if name in OWN else name


def describe(
    path: Path,
    catalogue: Catalogue,
    columns: Columns,
    mapping: str,
    origin: Origin,
    digests: Mapping[str, tuple[str, np.ndarray[Any, Any]]],
    plan: Plan,
    report: Report,
) -> None:
    """Write all but the frames into a file whose frames are there, by a mapping."""
    _reserve(path, columns.nbytes + _about(catalogue))
    attrs = _headers(path, catalogue, columns, mapping, plan, report)
    with h5py.File(path, "r+", libver=("v110", "v110"), track_order=True) as file:
        main = next((r.entry for r in catalogue.records if r.entry == "entry"), None)
        if main is not None:
            file.attrs["default"] = main
        for place, extra in attrs.items():
            write_attributes(file[place].id, extra)
        origin.write(file)
        group = file.create_group(seal.DIGESTS, track_order=True)
        for name, (place, values) in digests.items():
            made = group.create_dataset(
                name, data=values, chunks=(max(1, min(len(values), 1 << 17)),), maxshape=(None,), compression="gzip"
            )
            made.attrs["of"] = place
        seal.make_room(file)


def _about(catalogue: Catalogue) -> int:
    """Return about how many bytes are not frames and columns: some for each file, frame and key."""
    names = sum(len(file.name) for file in catalogue.files)
    keys = sum(len(record.keys.known) for record in catalogue.records)
    return 2 * names + 200 * len(catalogue.files) + 64 * len(catalogue.row_of) + (keys << 13) + (2 << 20)


def _reserve(path: Path, size: int) -> None:
    """Have the disk keep room behind a file, since HDF5 does not survive a disk that is full when it flushes.

    What is not needed of it is given back when the file is closed.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    handle = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(handle, os.fstat(handle).st_size, min(size, _MOST_RESERVED))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"{path} cannot be written: {error.strerror}", "is the disk full?") from None
    finally:
        os.close(handle)


def _headers(
    path: Path, catalogue: Catalogue, columns: Columns, mapping: str, plan: Plan, report: Report
) -> dict[str, Mapping[str, Any]]:
    """Write what is known of the frames; return the attributes that those themselves shall have, by path."""
    attrs: dict[str, Mapping[str, Any]] = {}
    sink = H5Sink(path, report, compression="gzip", adding=True)
    try:
        importer = Importer(load(mapping), report)
        for number, record in enumerate(catalogue.records):
            said = named_fields(catalogue, record, importer.layout.file, report)
            whole = as_record(catalogue, number, columns, partial(_stored, sink, record.path), said, report)
            if record.entry == "entry":
                whole = _with_sidecars(whole, catalogue, record, plan, importer.layout, report)
            written = importer.translated(whole)
            imported = importer.tree(written)
            attrs[record.path] = _taken_out(imported.root, record.path)
            if number:
                imported.root.attrs.pop("default", None)
            sink.begin(imported.root)
            for name, place in imported.paths.items():
                f = written.fields[name]
                if place == record.path or isinstance(f.values, Values):
                    continue
                if f.per_row:
                    _copy(sink, place, f, plan.memory // 8)
                else:  # a header value that the mapping changes
                    array_to_tree(f.values, place, sink, plan.memory // 8)
            importer.stack(whole, written, imported)
        for root in importer.stacked():
            sink.begin(root)
        provenance.stamp(sink, [printable(f"{r.entry}: {r.series}") for r in catalogue.records])
        sink.close()
    except BaseException:
        sink.abort()
        raise
    return attrs


def _stored(sink: H5Sink, path: str, box: Box) -> np.ndarray[Any, Any]:
    """Return frames that were packed."""
    values: np.ndarray[Any, Any] = h5py.File(sink.id)[path][box]
    return values


def as_record(
    catalogue: Catalogue, number: int, columns: Columns, read: Read, said: Sequence[Field], report: Report
) -> Record:
    """Return a record of frames, which ``read`` reads, with all that is known of them; ``said`` is by their names."""
    record = catalogue.records[number]
    n = len(record)
    numbers: Any = np.frombuffer(record.numbers, np.int64)
    frames: Any = np.frombuffer(record.frames, np.int64)
    if bool((numbers < 0).any()) or len(np.unique(numbers)) != n or bool((frames > 0).any()):
        numbers = np.arange(n, dtype=np.int64)
    status = np.zeros(n, STATUS)
    for row in record.damaged:
        status[row] = 1
    longest = max(len(encoded(catalogue.files[f].name)) for f in record.files)
    names = fixed_text(longest)

    def name_of(box: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        chosen = [encoded(catalogue.files[f].name) for f in record.files[box[0]]]
        out = np.empty(len(chosen), names)
        out[:] = chosen
        return out

    source = record.series
    mask = Values(status.view(np.uint8) != 0) if record.damaged else None
    fields = [
        Field(LABEL, Values(numbers), True, axes=(LABEL,), role=Role.AXIS, source=source),
        replace(frames_of(record, read), mask=mask),
        Field("status", Values(status), True, source=source),
        Field("source_file", Lazy((n,), names, name_of), True, source=source),
    ]
    if missing := record.missing():
        fields.append(Field("missing_numbers", Values(np.array(missing, np.int64)), source=source))
    known = {f.name for f in fields}
    fields += [value_field(key, source, own_name(key.name)) for key in record.keys.constant]
    fields += columns.fields(number, source)
    fields += unsaid(said, fields, report)
    if "title" not in {f.name for f in fields[len(known) :]}:
        fields.append(Field("title", Values(printable(record.series)), source=source))
    return Record(record.key or {"scan": record.entry}, by_name(_distinct(fields)), source=source)


def frames_of(record: FrameRecord, read: Read) -> Field:
    """Return the frames of a record as a field."""
    image = {"interpretation": "rgba-image" if len(record.shape) > 2 else "image"}
    values = Lazy((len(record), *record.shape), record.dtype, read)
    return Field("data", values, True, axes=(LABEL,), role=Role.SIGNAL, attrs=image, source=record.series)


def placed(catalogue: Catalogue, mapping: str) -> None:
    """Say of each record which key it has and where its frames lie, by a mapping.

    Raises
    ------
    UsageError
        When the mapping gives frames no place, or those of two records the same one.
    """
    layout = load(mapping)
    importer = Importer(layout, Report())
    taken: dict[str, FrameRecord] = {}
    if layout.stack is None:
        keys = [{"scan": record.entry} for record in catalogue.records]
    else:
        keys = [{layout.stack.over: name} for name in _names(catalogue)]
        _one_scan(catalogue, layout.stack.order[-1])
        check_frames(layout, [(printable(r.series), r.role, r.shape) for r in catalogue.records])
    for record, key in zip(catalogue.records, keys, strict=True):
        record.key = key
        path = importer.place(frames_of(record, lambda box: np.empty(0)), Record(record.key, {}))
        if path is None:
            raise UsageError(
                f"the mapping {layout.name} gives the frames of {record.series} no place",
                'add a rule such as {tree: "data:NXdata/{y@signal}", field: "{y}", each: row}',
            )
        if (first := taken.setdefault(path, record)) is not record:
            raise UsageError(
                f"the mapping {layout.name} puts the frames of {first.series} and of {record.series} at {path}",
                "let the paths of its rules have captures of the key",
            )
        record.path = path


def _names(catalogue: Catalogue) -> list[str]:
    """Return a name for each record: its role, and a number for the second one of a role; the main one comes first."""
    records = catalogue.records
    names = [""] * len(records)
    count: dict[str, int] = {}
    for i in sorted(range(len(records)), key=lambda i: (records[i].entry != "entry", i)):
        n = count[records[i].role] = count.get(records[i].role, 0) + 1
        names[i] = records[i].role if n == 1 else f"{records[i].role}_{n}"
    return names


def _one_scan(catalogue: Catalogue, role: str) -> None:
    """Refuse two series that would be one scan."""
    series = list(dict.fromkeys(r.series for r in catalogue.records if r.role == role))
    if len(series) > 1:
        raise UsageError(
            f"{printable(series[0])} and {printable(series[1])} would both be the {role}s of one scan",
            "pack one scan at a time, or say in the mapping's series: of which role the others are",
        )


def _distinct(fields: Sequence[Field]) -> Iterator[Field]:
    """Give fields of one name names of their own: a header may say anything."""
    taken = {f.name for f in fields}
    seen: set[str] = set()
    for f in fields:
        if f.name in seen:
            name = next(n for i in count(2) if (n := f"{f.name}#{i}") not in taken)
            taken.add(name)
            f = replace(f, name=name)
        seen.add(f.name)
        yield f


def info_fields(catalogue: Catalogue, record: FrameRecord) -> list[Field]:
    """Return what the ``.info`` file beside a series says, as ESRF tomography had it: lines of ``key= value``."""
    beside = [file for file in catalogue.files if file.name.endswith(".info") and file.size < LONGEST_INFO]
    alike = [file for file in beside if record.series.startswith(file.name[: -len(".info")])] or beside
    if len(alike) != 1:
        return []
    text = Path(alike[0].path).read_bytes().decode("utf-8", "replace")
    lines = [line.partition("=") for line in text.splitlines() if "=" in line]
    keys = Keys()
    keys.add([Entry(key.strip(), value.strip()) for key, _, value in lines if key.strip()])
    return [value_field(key, alike[0].name, f"info/{key.name}") for key in keys.constant]


def _with_sidecars(
    whole: Record, catalogue: Catalogue, record: FrameRecord, plan: Plan, layout: Layout, report: Report
) -> Record:
    fields = [*whole.fields.values(), *info_fields(catalogue, record)]
    of_record = Rows.of_record(whole)
    rows = Rows(
        len(record), lambda: record.numbers, lambda: [catalogue.files[f].name for f in record.files], of_record.column
    )
    if plan.join:
        fields += joined(Join(plan.join, plan.on), rows, report)
    else:
        folder = Path(catalogue.files[record.files[0]].path).parent
        said = layout.file.said(whole) if layout.file is not None else {}
        fields += Sources(layout.sources, folder, Policy(), report).fields(rows, {**said, **record.key})
    return whole.with_fields(fields)


def _taken_out(root: NewGroup, path: str) -> Mapping[str, Any]:
    """Take a dataset out of a tree; return its attributes."""
    parent, _, name = path.rpartition("/")
    group = root[parent]
    assert isinstance(group, NewGroup)
    dataset = group.children.pop(name)
    assert isinstance(dataset, NewDataset)
    return dict(dataset.attrs)


def _copy(sink: H5Sink, path: str, f: Field, budget: int) -> None:
    """Write a column."""
    step = max(1, budget // max(1, f.dtype.itemsize))
    for start in range(0, f.shape[0], step):
        sink.write(path, (start,), f.values.read((slice(start, min(start + step, f.shape[0])),)))
