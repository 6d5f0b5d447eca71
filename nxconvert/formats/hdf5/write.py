"""Writing HDF5 through h5py's low-level interface: groups, attributes, links, datasets, values by box."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5i, h5l, h5p, h5r, h5s, h5t

from nxconvert.array import TEXT, Array, Values, as_array
from nxconvert.dataclass import dataclass
from nxconvert.engine import disk
from nxconvert.engine.items import Items
from nxconvert.errors import InputError, OutputError, PolicyError, UsageError
from nxconvert.format import Report, TreeSink
from nxconvert.formats.hdf5 import chunks as chunks_
from nxconvert.formats.hdf5.alike import same_order
from nxconvert.formats.hdf5.copy import Area, Copier, failed, unwritten
from nxconvert.formats.hdf5.dataset import H5Dataset
from nxconvert.formats.hdf5.layout import creation
from nxconvert.formats.hdf5.read import H5Group, H5Type
from nxconvert.tree import Dataset, Group, Link, NewDataset, Node, Ref, Virtual

_VLEN = h5t.py_create(h5py.string_dtype(), logical=True)
_SCALAR = h5s.create(h5s.SCALAR)
_BEHIND = 32 << 20


class H5Sink(TreeSink):
    """A new HDF5 file, readable by HDF5 1.10 and later, or with ``adding`` one that is added to."""

    def __init__(
        self,
        path: Path,
        report: Report,
        compression: str = "keep",
        chunks: Any = None,
        links: str = "auto",
        adding: bool = False,
    ) -> None:
        self.path, self.report, self.links = path, report, links
        self.compression = None if compression == "keep" else compression
        self.chunks = tuple(chunks) if chunks is not None else None
        fapl = h5p.create(h5p.FILE_ACCESS)
        fapl.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
        fcpl = h5p.create(h5p.FILE_CREATE)
        fcpl.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        try:
            if adding:
                self.id = h5f.open(os.fsencode(path), h5f.ACC_RDWR, fapl=fapl)
            else:
                self.id = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=fcpl, fapl=fapl)
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error}") from None
        self._lcpl = h5p.create(h5p.LINK_CREATE)
        self._lcpl.set_char_encoding(h5t.CSET_UTF8)
        self._gcpl = h5p.create(h5p.GROUP_CREATE)
        self._gcpl.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        self._open: dict[str, h5d.DatasetID] = {}
        self._unfilled: list[tuple[str, Dataset]] = []
        self._like: set[str] = set()  # datasets with the fill value of their source
        self._threaded: dict[str, chunks_.Threaded | None] = {}
        self._referring: list[tuple[Any, Node, Mapping[str, Any]]] = []
        self._hard: list[tuple[h5g.GroupID, bytes, Link, str]] = []
        self._copier: Copier | None = None
        self._ranks: set[int] = set()
        self._misfit = ""

    def begin(self, root: Group) -> None:
        if self._open:
            try:
                h5f.flush(self.id)  # a handle that goes cannot say what fails
            except (OSError, RuntimeError) as error:
                raise unwritten(error, self.path) from None
        self._forget()
        top = h5g.open(self.id, b"/")
        self._copier = Copier(top, self.path, self.report, self.compression, self.chunks, self._lcpl)
        try:
            self._groups(top, root, self._copier)
            self._hard_links(top)
            self._copier.finish()
            self._references(top, self._copier)
        except (OSError, RuntimeError) as error:
            raise failed(error, self.path, root.source) from None

    def unfilled(self, root: Group) -> Iterator[tuple[str, Dataset]]:
        return iter(self._unfilled)

    def fills_gaps(self, path: str) -> bool:
        return path in self._like

    def _forget(self) -> None:
        self._open.clear()
        self._like.clear()
        self._unfilled.clear()
        self._threaded.clear()
        self._referring.clear()
        self._hard.clear()
        self._copier = None
        if self.id.valid:
            for held in h5f.get_obj_ids(self.id, (h5f.OBJ_ALL & ~h5f.OBJ_FILE) | h5f.OBJ_LOCAL):
                while held.valid:  # an error's traceback may hold it; the file shall be closed all the same
                    h5i.dec_ref(held)

    def _groups(self, top: h5g.GroupID, root: Group, copier: Copier) -> None:
        """Make all that is below a group, one group after another: trees may be deeper than Python can recurse."""
        area = Area(root.file, root.path, "/") if isinstance(root, H5Group) else None
        self._attrs(top, root, copier)
        copier.remember(root.identity, None, b"")
        pending: list[_Pending] = [_Pending(top, root, "", area)]
        while pending:
            here = pending.pop()
            below: list[_Pending] = []
            for name in here.node:
                made = self._child(here, name, copier)
                if made is not None:
                    below.append(made)
            pending.extend(reversed(below))

    def _child(self, here: _Pending, name: str, copier: Copier) -> _Pending | None:
        """Make one member of a group; return it when it is a group whose members are to be made."""
        raw = name.encode("utf-8", "surrogateescape")
        path = f"{here.path}/{name}"
        area = here.area
        if isinstance(here.node, H5Group) and here.node.id.links.get_info(raw).type > h5l.TYPE_EXTERNAL:
            self.report.lose(name, here.node.source, "a user-defined link cannot be followed")
            return None
        link = here.node.link(name)
        kept, node = (link, None) if link is not None else (None, here.node.child(name))
        if link is not None and area is not None:
            kept, node = self._followed(here, area, name, link, copier)
        if kept is not None:
            self._link(here.id, raw, kept, path)
        if node is None:
            return None
        return self._node(here, raw, node, path, copier, area if link is None else None)

    def _node(
        self, here: _Pending, raw: bytes, node: Node, path: str, copier: Copier, area: Area | None
    ) -> _Pending | None:
        """Make a node under a name, a second name for it when it is there, or its first part when it is a group."""
        identity = node.identity
        known = copier.place(identity)
        if known is not None:
            self._refuse_twice(here.id, raw, path)
            here.id.links.create_hard(raw, copier.root, known, lcpl=self._lcpl)
            return None
        copier.remember(identity, here.identity, raw)
        if isinstance(node, H5Group | H5Dataset) and area is None:
            area = Area(node.file, node.path, path)
        if isinstance(node, Group):
            made = self._group(here.id, raw, path, node)
            self._attrs(made, node, copier)
            return _Pending(made, node, path, area, identity)
        self._refuse_twice(here.id, raw, path)
        if isinstance(node, H5Dataset) and area is not None:
            self._look_at_chunks(node, path)
            unfilled = copier.dataset(node, here.id, raw, area, self.links, path)
            if unfilled is not None:
                self._open[path] = unfilled
                self._unfilled.append((path, node))
                self._like.add(path)
        elif isinstance(node, Virtual):
            self._attrs(self._virtual(here.id, raw, node, path), node, copier)
        elif isinstance(node, Dataset):
            self._dataset(here.id, raw, node, path, copier)
        elif isinstance(node, H5Type):
            copier.named_type(node.id, here.id, raw, node.file, node.source)
        return None

    def _followed(
        self, here: _Pending, area: Area, name: str, link: Link, copier: Copier
    ) -> tuple[Link | None, Node | None]:
        """Return a link as it is in the copy, or else the node that it leads to."""
        target = link.path
        if link.kind == "external":
            stays: Link | None = copier.external(link, area.file)
            keep = self.links == "keep"
        else:
            base = "" if target.startswith("/") else here.node.path.rstrip("/") + "/"
            moved = area.moved("/" + "/".join(p for p in (base + target).split("/") if p and p != "."))
            stays = link if moved is None or not target.startswith("/") else Link(moved)
            keep = self.links == "keep" or (self.links == "auto" and moved is not None)
        if keep:
            return stays, None
        try:
            node = here.node.child(name)
        except PolicyError as error:
            if link.kind == "soft" or (area.file.path.parent / link.filename).exists():
                raise
            self.report.notice(f"{error.message}, which is missing; the link is kept as it is")
            return stays, None
        except InputError as error:
            self.report.notice(f"{error.message}; the link is kept as it is")
            return stays, None
        return None, node

    def _group(self, parent: h5g.GroupID, raw: bytes, path: str, node: Group) -> h5g.GroupID:
        if parent.links.exists(raw):
            try:
                return h5g.open(parent, raw)
            except (KeyError, ValueError, TypeError):
                raise OutputError(f"{path} is a dataset and a group at once") from None
        if isinstance(node, H5Group):
            return h5g.create(parent, raw, lcpl=self._lcpl, gcpl=same_order(node.id.get_create_plist()))
        return h5g.create(parent, raw, lcpl=self._lcpl, gcpl=self._gcpl)

    def _link(self, parent: h5g.GroupID, raw: bytes, link: Link, path: str) -> None:
        self._refuse_twice(parent, raw, path)
        target = link.path.encode("utf-8", "surrogateescape")
        if link.kind == "hard":
            self._hard.append((parent, raw, link, path))
        elif link.kind == "soft":
            parent.links.create_soft(raw, target, lcpl=self._lcpl)
        else:
            parent.links.create_external(raw, os.fsencode(link.filename), target, lcpl=self._lcpl)

    def _hard_links(self, top: h5g.GroupID) -> None:
        """Make the hard links, now that all that they lead to is there."""
        for parent, raw, link, path in self._hard:
            try:
                parent.links.create_hard(raw, top, link.path.encode("utf-8", "surrogateescape"), lcpl=self._lcpl)
            except (KeyError, ValueError, RuntimeError):
                raise OutputError(f"{path}: there is nothing at {link.path}, which it would be a link to") from None
        self._hard.clear()

    def _refuse_twice(self, parent: h5g.GroupID, raw: bytes, path: str) -> None:
        if parent.links.exists(raw):
            raise OutputError(f"{path} would be written twice", "two inputs have a record of the same key")

    def _look_at_chunks(self, node: Dataset, path: str) -> None:
        """Note whether the chunks that were asked for fit any dataset."""
        if self.chunks is not None and node.shape:
            self._ranks.add(len(node.shape))
            self._misfit = self._misfit or f"{path} has {len(node.shape)}"

    def _dataset(self, parent: h5g.GroupID, raw: bytes, node: Dataset, path: str, copier: Copier) -> None:
        shape = node.shape
        self._look_at_chunks(node, path)
        space = h5s.create_simple(shape) if shape else _SCALAR
        plist = creation(node, self.compression or "none", self.chunks)
        try:
            type_id = h5t.py_create(node.dtype, logical=True)
        except TypeError:
            raise OutputError(f"{path}: HDF5 has no type for {node.dtype}") from None
        made = h5d.create(parent, raw, type_id, space, dcpl=plist, lcpl=self._lcpl)
        self._attrs(made, node, copier)
        values = in_memory(node)
        if values is not None:
            large = values.nbytes > chunks_.SMALL and made.shape == values.shape
            start = (0,) * values.ndim if large else ()
            self._put(made, start, values, chunks_.threaded(made, values.dtype) if large else None)
        else:
            self._open[path] = made
            self._unfilled.append((path, node))

    def _virtual(self, parent: h5g.GroupID, raw: bytes, node: Virtual, path: str) -> h5d.DatasetID:
        """Make a virtual dataset of rows of other datasets of the file."""
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_layout(h5d.VIRTUAL)
        space, row, sources = h5s.create_simple(node.shape), 0, dict[str, h5s.SpaceID]()
        item, origin = node.shape[1:], (0,) * (len(node.shape) - 1)
        top = h5g.open(self.id, b"/")
        for run in node.runs:
            name = run.path.encode("utf-8", "surrogateescape")
            if run.path not in sources:
                sources[run.path] = h5d.open(top, name).get_space()
            source = sources[run.path]
            if source.shape[1:] != item or run.start + run.count > source.shape[0]:
                raise OutputError(f"{path}: the rows that it is made of are not in {run.path}")
            source.select_hyperslab((run.start, *origin), (run.count, *item))
            space.select_hyperslab((row, *origin), (run.count, *item))
            plist.set_virtual(space, b".", name, source)
            row += run.count
        type_id = h5t.py_create(node.dtype, logical=True)
        return h5d.create(parent, raw, type_id, h5s.create_simple(node.shape), dcpl=plist, lcpl=self._lcpl)

    def _attrs(self, id: Any, node: Node, copier: Copier) -> None:
        if isinstance(node, H5Group | H5Dataset | H5Type):
            copier.attributes(node.id, id, node.file, node.source)
            return
        attrs = node.attrs
        referring = {name: value for name, value in attrs.items() if _is_reference(value)}
        if referring:
            self._referring.append((id, node, referring))
        write_attributes(id, {n: v for n, v in attrs.items() if n not in referring} if referring else attrs)

    def _references(self, top: h5g.GroupID, copier: Copier) -> None:
        """Write the references of trees that are not HDF5, now that all nodes are there."""
        for id, node, attrs in self._referring:
            for name, value in attrs.items():
                raw = name.encode("utf-8", "surrogateescape")
                refs: Any = np.atleast_1d(np.array(value, dtype=object))
                out = np.empty(refs.shape, h5py.ref_dtype)
                for index in np.ndindex(refs.shape):
                    target = refs[index].path.encode() if isinstance(refs[index], Ref) else b""
                    if target and target.strip(b"/") and target in top:
                        out[index] = h5r.create(top, target, h5r.OBJECT)
                    else:
                        out[index] = h5r.Reference()
                        self.report.lose(f"@{name}", f"{node.source}", "what it refers to is not copied")
                scalar = isinstance(value, Ref)
                if not h5a.exists(id, raw):
                    space = _SCALAR if scalar else h5s.create_simple(out.shape)
                    h5a.create(id, raw, h5t.STD_REF_OBJ, space).write(out.reshape(()) if scalar else out)
        self._referring.clear()

    def annotate(self, path: str, attrs: Mapping[str, Any]) -> None:
        write_attributes(self._open[path], attrs)

    def write(self, path: str, start: tuple[int, ...], values: Any) -> None:
        made = self._open[path]
        values = np.asarray(values)
        if values.nbytes > chunks_.SMALL and path not in self._threaded:
            self._threaded[path] = chunks_.threaded(made, values.dtype)
        self._put(made, start, values, self._threaded.get(path))

    def fetch(self, path: str, values: Array, source: str, moved: Callable[[str, int], None]) -> bool:
        made = self._open[path]
        threaded = chunks_.threaded(made, values.dtype) if made.shape == values.shape else None
        places = values.places() if threaded is not None else None
        if threaded is None or places is None:
            return False
        items, waiting = Items(values, places, source), 0
        handle = self.id.get_vfd_handle(h5p.create(h5p.FILE_ACCESS))

        def tell(i: int) -> None:
            nonlocal waiting
            moved(source, items.nbytes)
            waiting += items.nbytes
            if waiting > _BEHIND:
                disk.start_writing(handle, 0, 0)
                waiting = 0

        try:
            return threaded.fetch(items, tell)
        except (OSError, RuntimeError) as error:
            raise unwritten(error, self.path) from None

    def _put(
        self,
        made: h5d.DatasetID,
        start: tuple[int, ...],
        values: np.ndarray[Any, Any],
        threaded: chunks_.Threaded | None,
    ) -> None:
        if not values.size:
            return

        def plain(start: tuple[int, ...], values: np.ndarray[Any, Any]) -> None:
            space = made.get_space()
            space.select_hyperslab(start, values.shape)
            made.write(h5s.create_simple(values.shape), space, np.ascontiguousarray(values))

        try:
            if not start:
                made.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values).reshape(values.shape))
            elif threaded is None or not threaded.write(start, values, plain):
                plain(start, values)
        except (OSError, RuntimeError) as error:
            raise unwritten(error, self.path) from None

    def close(self) -> None:
        if self.chunks is not None and self._ranks and len(self.chunks) not in self._ranks:
            raise UsageError(
                f"--chunks has {len(self.chunks)} numbers, and fits no dataset: {self._misfit} dimensions",
                "give a number for each dimension",
            )
        try:
            h5f.flush(self.id)  # what fails must fail here: a handle that goes cannot say so
            self._forget()
            self.id.close()
        except (OSError, RuntimeError) as error:
            raise unwritten(error, self.path) from None

    def sign(self) -> None:
        """Write the attributes that the NeXus manual wants at the root, unless they are there."""
        own = re.fullmatch(r"\.(.+)\.\d+\.(part|packing)", self.path.name)
        write_attributes(
            h5g.open(self.id, b"/"),
            {
                "file_name": own[1] if own else self.path.name,
                "file_time": datetime.now().astimezone().isoformat(timespec="seconds"),
                "creator": "nxconvert",
                "HDF5_Version": h5py.version.hdf5_version,
                "h5py_version": h5py.version.version,
            },
        )

    def abort(self) -> None:
        self._to_nowhere()
        self._forget()
        try:
            self.id.close()
        except (OSError, RuntimeError):
            return  # the file is thrown away; what made it fail is already being told

    def _to_nowhere(self) -> None:
        """Let HDF5 write what it still holds into a file without a name, in memory where there is such.

        The file is thrown away, and on a full disk HDF5 brings the process down at exit when it cannot get rid of it.
        """
        if os.name != "posix":
            return
        with contextlib.suppress(OSError, RuntimeError):
            handle = self.id.get_vfd_handle(h5p.create(h5p.FILE_ACCESS))
            nameless = os.memfd_create("nowhere") if sys.platform == "linux" else _nameless()
            os.dup2(nameless, handle)
            os.close(nameless)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A group that is made, and whose members are to be made; what it is a part of, when it is HDF5's."""

    id: h5g.GroupID
    node: Group
    path: str
    area: Area | None
    identity: Hashable = None


def _nameless() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def in_memory(node: Dataset) -> np.ndarray[Any, Any] | None:
    """Return a dataset's values when they are there already, else None."""
    array: Array = node.array if isinstance(node, NewDataset) else node
    return array.read() if isinstance(array, Values) else None


def write_attributes(id: Any, attrs: Mapping[str, Any]) -> None:
    """Write attributes; those that exist are kept, as the first writer wins."""
    for name, value in attrs.items():
        raw = name.encode("utf-8", "surrogateescape")
        if h5a.exists(id, raw):
            continue
        if isinstance(value, str):
            _write_text(id, raw, np.array(value, dtype=TEXT))
        elif isinstance(value, h5py.Empty):
            h5a.create(id, raw, h5t.py_create(value.dtype, logical=True), h5s.create(h5s.NULL))
        else:
            array = as_array(value)
            if array.dtype.kind == "O" and array.dtype.metadata and array.dtype.metadata.get("vlen") is str:
                _write_text(id, raw, array)
                continue
            type_id = h5t.py_create(array.dtype, logical=True)
            space = h5s.create_simple(array.shape) if array.ndim else _SCALAR
            made = h5a.create(id, raw, type_id, space)
            if array.size:
                made.write(np.ascontiguousarray(array).reshape(array.shape))


def _write_text(id: Any, raw: bytes, values: np.ndarray[Any, Any]) -> None:
    """Write text byte for byte, also what is not UTF-8; text of a fixed length when it holds NUL."""
    encoded = [str(v).encode("utf-8", "surrogateescape") for v in values.flat]
    space = h5s.create_simple(values.shape) if values.ndim else _SCALAR
    if any(b"\0" in item for item in encoded):
        type_id = h5t.C_S1.copy()
        type_id.set_size(max(map(len, encoded)))
        type_id.set_strpad(h5t.STR_NULLPAD)
        type_id.set_cset(h5t.CSET_UTF8)
        fixed = np.array(encoded, dtype=f"V{type_id.get_size()}").reshape(values.shape)
        h5a.create(id, raw, type_id, space).write(fixed, type_id)
        return
    made = h5a.create(id, raw, _VLEN, space)
    if encoded:
        out = np.empty(values.shape, dtype=TEXT)
        for index, item in zip(np.ndindex(values.shape), encoded, strict=True):
            out[index] = item
        made.write(out)


def _is_reference(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return any(isinstance(v, Ref) for v in value.flat)
    return isinstance(value, Ref)
