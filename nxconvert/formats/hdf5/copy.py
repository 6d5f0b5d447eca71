"""Copies of HDF5 objects into another HDF5 file: nothing decoded, no type translated where it need not be.

A dataset goes through ``H5Ocopy``, which moves stored chunks, types, fill values and text byte for byte. What that
cannot do is done here: references point at the copies, hard links and named types stay one object, virtual datasets
and raw storage in other files become data.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5p, h5r, h5s, h5t

from nxconvert.dataclass import dataclass
from nxconvert.engine.transfer import boxes, stored_boxes
from nxconvert.errors import InputError, OutputError
from nxconvert.format import Report
from nxconvert.formats.hdf5 import check
from nxconvert.formats.hdf5.alike import (
    as_source,
    attributes_of,
    maximum,
    move_attribute,
    move_chunks,
    nothing_stored,
    plain_chunks,
    proxied,
    refers,
    same_fill,
    source_space,
    special,
    without_layout,
)
from nxconvert.formats.hdf5.dataset import H5Dataset
from nxconvert.formats.hdf5.layout import creation
from nxconvert.formats.hdf5.read import H5File
from nxconvert.tree import Link

_HOLD = b".nxconvert-types"
_REFERRERS = b"REFERENCE_LIST"
_FAILURES = (OSError, RuntimeError, ValueError, TypeError, KeyError)
_NUMBERS = (h5t.INTEGER, h5t.FLOAT, h5t.ENUM)


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a source file that is copied as a whole, and where its top goes."""

    file: H5File
    source: str
    target: str

    def moved(self, path: str) -> str | None:
        """Return where an absolute path of the source lies in the copy; None when it is outside of the part."""
        base = self.source.rstrip("/")
        if path != base and not path.startswith(base + "/"):
            return None
        return (self.target.rstrip("/") + path[len(base) :]) or "/"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """References that are written when all objects are there: of an attribute, or of a dataset (no name)."""

    name: bytes
    source: Any
    made: Any
    file: H5File
    where: str


class Copier:
    """Copies objects into one file, and knows what became of each.

    Parameters
    ----------
    root
        Root group of the new file.
    path
        The new file.
    compression, chunks
        How datasets are stored anew; None keeps what they have.
    """

    def __init__(
        self, root: h5g.GroupID, path: Path, report: Report, compression: str | None, chunks: Any, lcpl: h5p.PropLCID
    ) -> None:
        self.root, self.path, self.report = root, path, report
        self.compression, self.chunks, self._lcpl = compression, chunks, lcpl
        self._made: dict[Hashable, tuple[Hashable, bytes]] = {}
        self._waiting: list[_Waiting] = []
        self._plain, self._bare = h5p.create(h5p.OBJECT_COPY), h5p.create(h5p.OBJECT_COPY)
        self._bare.set_copy_object(h5o.COPY_WITHOUT_ATTR_FLAG)

    # -- what became of objects

    def remember(self, identity: Hashable, parent: Hashable, raw: bytes) -> None:
        """Note that the object of that identity was made in a parent, under a name."""
        if identity is not None:
            self._made.setdefault(identity, (parent, raw))

    def place(self, identity: Hashable) -> bytes | None:
        """Return the path of the copy of an object, or None."""
        if identity is None or identity not in self._made:
            return None
        parts: list[bytes] = []
        here: Hashable = identity
        while here in self._made:
            here, raw = self._made[here]
            if raw:
                parts.append(raw)
            else:
                break
        return b"/" + b"/".join(reversed(parts))

    # -- links

    def external(self, link: Link, file: H5File) -> Link:
        """Return an external link that leads to the same file from the new one."""
        return Link(link.path, "external", self.relative(link.filename, file))

    def relative(self, filename: str, file: H5File) -> str:
        """Return the name of a file, as a file in the new one's folder says it."""
        if Path(filename).is_absolute():
            return filename
        try:
            name = os.path.relpath(file.path.resolve().parent / filename, self.path.resolve().parent)
        except ValueError:  # on another drive
            return str(file.path.resolve().parent / filename)
        return name.replace(os.sep, "/")

    # -- types

    def named_type(self, id: h5t.TypeID, parent: h5g.GroupID, raw: bytes, file: H5File, where: str) -> None:
        """Copy a named type, with its attributes."""
        held = self._held(id)
        if held is not None:
            parent.links.create_hard(raw, self.root, held, lcpl=self._lcpl)
        else:
            bare = any(refers(h5a.open(id, index=i).get_type()) for i in range(h5a.get_num_attrs(id)))
            h5o.copy(id, b".", parent, raw, self._bare if bare else self._plain, self._lcpl)
            if bare:
                self.attributes(id, h5t.open(parent, raw), file, where)

    def _held(self, id: h5t.TypeID) -> bytes | None:
        info = h5o.get_info(id)
        name = _HOLD + b"/%d-%d" % (info.fileno, info.addr)
        return name if _HOLD in self.root and name in self.root else None

    def type_of(self, id: h5t.TypeID) -> h5t.TypeID:
        """Return the type to create with: a named type's copy, which is made when it is not there."""
        if not id.committed():
            return id
        info = h5o.get_info(id)
        known = self.place((info.fileno, info.addr)) or self._held(id)
        if known is None:
            if _HOLD not in self.root:
                h5g.create(self.root, _HOLD)
            known = _HOLD + b"/%d-%d" % (info.fileno, info.addr)
            h5o.copy(id, b".", self.root, known, self._plain, self._lcpl)
        return h5t.open(self.root, known)

    # -- datasets

    def dataset(
        self, node: H5Dataset, parent: h5g.GroupID, raw: bytes, area: Area, links: str, where: str
    ) -> h5d.DatasetID | None:
        """Copy a dataset. It is returned when its values are still to be written; otherwise it is complete.

        Raises
        ------
        InputError
            When it cannot be read, and PolicyError when its values lie where the input may not reach.
        OutputError
            When the new file cannot be written.
        """
        try:
            return self._dataset(node, parent, raw, area, links, where)
        except _FAILURES as error:
            raise failed(error, self.path, node.source) from None

    def _dataset(
        self, node: H5Dataset, parent: h5g.GroupID, raw: bytes, area: Area, links: str, where: str
    ) -> h5d.DatasetID | None:
        plist, type_id = node.id.get_create_plist(), node.id.get_type()
        virtual = plist.get_layout() == h5d.VIRTUAL
        elsewhere = plist.get_layout() == h5d.CONTIGUOUS and plist.get_external_count() > 0
        if virtual and (kept := self._virtual(node, plist, area, links)) is not None:
            made = h5d.create(parent, raw, self.type_of(type_id), node.id.get_space(), dcpl=kept, lcpl=self._lcpl)
            self.attributes(node.id, made, node.file, node.source)
            return None
        if virtual or elsewhere:
            check.readable(node)
            anew = self._stored_anew(node, type_id) or as_source(node, plist, type_id) or without_layout(plist, type_id)
        else:
            anew = self._stored_anew(node, type_id)
            if anew is None and not type_id.committed() and not plain_chunks(plist, type_id):
                self._whole(node, parent, raw, type_id)
                return None
        space = node.id.get_space()
        if anew is not None and anew.get_layout() != h5d.CHUNKED and node.shape and not node.null:
            space = h5s.create_simple(node.shape)  # only chunks can grow
        made = h5d.create(parent, raw, self.type_of(type_id), space, dcpl=anew or plist, lcpl=self._lcpl)
        self.attributes(node.id, made, node.file, node.source)
        return self._values(node, made, type_id, anew is None)

    def _whole(self, node: H5Dataset, parent: h5g.GroupID, raw: bytes, type_id: h5t.TypeID) -> None:
        """Copy a dataset as it is."""
        bare = any(special(attr.get_type()) for attr in attributes_of(node.id))
        h5o.copy(node.id, b".", parent, raw, self._bare if bare else self._plain, self._lcpl)
        if bare or refers(type_id):
            made = h5d.open(parent, raw)
            if bare:
                self.attributes(node.id, made, node.file, node.source)
            if refers(type_id):
                self._waiting.append(_Waiting(b"", node.id, made, node.file, node.source))

    def _values(
        self, node: H5Dataset, made: h5d.DatasetID, type_id: h5t.TypeID, same_layout: bool
    ) -> h5d.DatasetID | None:
        """Copy the values of a dataset; return it when they are to be written box by box."""
        if refers(type_id):
            self._waiting.append(_Waiting(b"", node.id, made, node.file, node.source))
        elif same_layout and made.get_create_plist().get_layout() == h5d.CHUNKED and not proxied(type_id):
            move_chunks(node.id, made)
        elif not node.null and node.size and not nothing_stored(node):
            if type_id.get_class() in _NUMBERS or proxied(type_id):
                return made
            self._raw_values(node, made, type_id)
        return None

    def _stored_anew(self, node: H5Dataset, type_id: h5t.TypeID) -> h5p.PropDCID | None:
        """Return how a dataset is stored when another compression or chunks were asked for, else None."""
        if (self.compression is None and self.chunks is None) or proxied(type_id) or node.null:
            return None
        plist = creation(node, self.compression or "none", self.chunks)
        old = node.id.get_create_plist()
        if plist is None:
            if old.get_layout() != h5d.CHUNKED or any(n is None or n < 0 for n in maximum(node.id)):
                return None
            if maximum(node.id) != node.id.shape:
                return None
            plist = h5p.create(h5p.DATASET_CREATE)
            if node.id.get_num_chunks() < math.prod(
                -(-n // c) for n, c in zip(node.shape, old.get_chunk(), strict=True)
            ):
                plist.set_chunk(old.get_chunk())  # only chunks may be missing
        same_fill(old, plist, type_id)
        return plist

    def _virtual(self, node: H5Dataset, plist: h5p.PropDCID, area: Area, links: str) -> h5p.PropDCID | None:
        """Return the creation properties of a virtual dataset that stays one, or None to copy its values.

        Raises
        ------
        InputError
            When its values are to be copied and sources are missing.
        """
        sources = [
            (plist.get_virtual_filename(i), plist.get_virtual_dsetname(i)) for i in range(plist.get_virtual_count())
        ]
        inside = all(f == "." and area.moved("/" + p.strip("/")) is not None for f, p in sources)
        keep = links == "keep" or (links == "auto" and inside)
        if not keep:
            check.sources(node)
            return None
        new = without_layout(plist, node.id.get_type())
        for i, (filename, path) in enumerate(sources):
            moved = area.moved("/" + path.strip("/")) if filename == "." else None
            if filename != ".":
                filename = self.relative(filename, node.file)
            elif moved is None:
                filename = self.relative(node.file.path.name, node.file)
            spaces = plist.get_virtual_vspace(i), source_space(plist, i)
            name = (moved or path).encode("utf-8", "surrogateescape")
            new.set_virtual(spaces[0], os.fsencode(filename), name, spaces[1])
        return new

    def _raw_values(self, node: H5Dataset, made: h5d.DatasetID, type_id: h5t.TypeID) -> None:
        """Copy values byte by byte, a box after another."""
        size = type_id.get_size()
        if not node.shape:
            one = np.empty((), f"V{size}")
            node.id.read(h5s.ALL, h5s.ALL, one, type_id)
            made.write(h5s.ALL, h5s.ALL, one, type_id)
            return
        for box in stored_boxes(node, node.file.policy.memory):
            start, count = tuple(s.start for s in box), tuple(s.stop - s.start for s in box)
            values = np.empty(count, f"V{size}")
            space = node.id.get_space()
            space.select_hyperslab(start, count)
            node.id.read(h5s.create_simple(count), space, values, type_id)
            made.write(h5s.create_simple(count), space, values, type_id)

    # -- attributes

    def attributes(self, id: Any, made: Any, file: H5File, where: str) -> None:
        """Copy attributes, each with its own type; those that exist are kept, as the first writer wins."""
        for attr in attributes_of(id):
            raw = attr.name if isinstance(attr.name, bytes) else attr.name.encode("utf-8", "surrogateescape")
            if h5a.exists(made, raw):
                continue
            shown = f"{where}@{raw.decode('utf-8', 'replace')}"
            try:
                type_id, space = attr.get_type(), attr.get_space()
                if raw == _REFERRERS:
                    self._waiting.append(_Waiting(raw, attr, made, file, shown))
                    continue
                new = h5a.create(made, raw, self.type_of(type_id), space)
                if refers(type_id):
                    self._waiting.append(_Waiting(raw, attr, new, file, shown))
                elif space.get_simple_extent_npoints():
                    move_attribute(attr, new, type_id)
            except _FAILURES as error:
                if "o space left" in str(error):
                    raise failed(error, self.path, where) from None
                self.report.lose(f"@{raw.decode('utf-8', 'replace')}", where, f"it cannot be copied: {error}")

    # -- references

    def finish(self) -> None:
        """Write the references, now that all objects are there."""
        for waiting in self._waiting:
            try:
                if waiting.name:
                    self._attribute_references(waiting)
                else:
                    self._dataset_references(waiting)
            except _FAILURES as error:
                if "o space left" in str(error):
                    raise failed(error, self.path, waiting.where) from None
                self.report.lose("references", waiting.where, f"they cannot be copied: {error}")
        self._waiting.clear()
        if _HOLD in self.root:
            self.root.unlink(_HOLD)

    def _attribute_references(self, waiting: _Waiting) -> None:
        attr = waiting.source
        if not attr.get_space().get_simple_extent_npoints():
            return
        dtype = np.dtype(attr.dtype)
        values = np.empty(attr.shape, dtype)
        attr.read(values)
        if waiting.name != _REFERRERS:
            waiting.made.write(self._retarget(values, dtype, waiting))
            return
        member = dtype.names[0] if dtype.names else None
        values = self._retarget(values, dtype, None, waiting.file)
        if member is not None and values.ndim:
            values = values[[bool(ref) for ref in values[member]]]
        if values.size and not h5a.exists(waiting.made, _REFERRERS):
            new = h5a.create(waiting.made, _REFERRERS, attr.get_type(), h5s.create_simple(values.shape))
            new.write(np.ascontiguousarray(values))

    def _dataset_references(self, waiting: _Waiting) -> None:
        node = H5Dataset(waiting.source, waiting.where.rpartition("::")[2], waiting.file)
        for box in boxes(node, waiting.file.policy.memory):
            values = self._retarget(node.read(box or None), node.dtype, waiting)
            if not node.shape:
                waiting.made.write(h5s.ALL, h5s.ALL, values)
                continue
            space = waiting.made.get_space()
            space.select_hyperslab(tuple(s.start for s in box), values.shape)
            waiting.made.write(h5s.create_simple(values.shape), space, values)

    def _retarget(self, values: Any, dtype: np.dtype[Any], waiting: _Waiting | None, file: H5File | None = None) -> Any:
        """Return values with references to the copies."""
        metadata: Mapping[str, Any] = dtype.metadata or {}
        if dtype.names is not None:
            out = values.copy()
            for name in dtype.names:
                out[name] = self._retarget(values[name], dtype[name].base, waiting, file)
            return out
        if "ref" in metadata:
            out = np.empty(np.shape(values), dtype)
            for index in np.ndindex(out.shape):
                out[index] = self._reference(values[index], waiting, file)
            return out
        if metadata.get("vlen") not in (None, str, bytes):
            out = np.empty(values.shape, dtype)
            for index in np.ndindex(values.shape):
                item = values[index]
                out[index] = None if item is None else self._retarget(item, np.dtype(metadata["vlen"]), waiting, file)
            return out
        return values

    def _reference(self, ref: Any, waiting: _Waiting | None, file: H5File | None) -> Any:
        empty = type(ref)()
        if not ref:
            return empty
        file = waiting.file if waiting is not None else file
        assert file is not None
        try:
            info = h5o.get_info(h5r.dereference(ref, file.id))
            place = self.place((info.fileno, info.addr))
        except _FAILURES:
            place = None
        if place is not None:
            if isinstance(ref, h5r.RegionReference):
                return h5r.create(self.root, place, h5r.DATASET_REGION, h5r.get_region(ref, file.id))
            return h5r.create(self.root, place, h5r.OBJECT)
        if waiting is not None:
            self.report.lose("a reference", waiting.where, "what it refers to is not copied")
        return empty


def failed(error: Exception, path: Path, where: str) -> InputError | OutputError:
    """Say whose fault it is that a copy failed."""
    text = str(error)
    if "o space left" in text or "unable to write" in text.lower() or "file write failed" in text:
        return unwritten(error, path)
    return InputError(f"{where} cannot be copied: {' '.join(text.split())}")


def unwritten(error: Exception, path: Path) -> OutputError:
    """Say that an output cannot be written: why, without the addresses and times that HDF5 tells too."""
    text = " ".join(str(error).split())
    said = re.search(r"error message = '([^']*)'", text)
    return OutputError(f"{path} cannot be written: {said[1] if said else text}", "is the disk full?")
