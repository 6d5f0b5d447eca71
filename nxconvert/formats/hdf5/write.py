"""Writing HDF5 through h5py's low-level interface: groups, attributes, links, datasets, values by box."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from nxconvert.array import TEXT, Array, Values, as_array
from nxconvert.errors import OutputError
from nxconvert.format import Report, TreeSink
from nxconvert.formats.hdf5 import chunks
from nxconvert.formats.hdf5.layout import creation
from nxconvert.tree import Dataset, Group, Link, NewDataset, Node

_VLEN = h5t.py_create(h5py.string_dtype(), logical=True)
_SCALAR = h5s.create(h5s.SCALAR)


class H5Sink(TreeSink):
    """A new HDF5 file, readable by HDF5 1.10 and later."""

    def __init__(self, path: Path, report: Report, compression: str = "none", chunks: Any = None) -> None:
        self.path, self.report = path, report
        self.compression, self.chunks = compression, chunks
        fapl = h5p.create(h5p.FILE_ACCESS)
        fapl.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
        fcpl = h5p.create(h5p.FILE_CREATE)
        fcpl.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        try:
            self.id = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=fcpl, fapl=fapl)
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error}") from None
        self._lcpl = h5p.create(h5p.LINK_CREATE)
        self._lcpl.set_char_encoding(h5t.CSET_UTF8)
        self._gcpl = h5p.create(h5p.GROUP_CREATE)
        self._gcpl.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        self._open: dict[str, h5d.DatasetID] = {}
        self._threaded: dict[str, chunks.Threaded | None] = {}

    def begin(self, root: Group) -> None:
        self._open.clear()
        self._threaded.clear()
        group = h5g.open(self.id, b"/")
        self._attrs(group, root)
        self._children(group, root, "")

    def _children(self, parent: h5g.GroupID, group: Group, path: str) -> None:
        for name in group:
            raw = name.encode("utf-8", "surrogateescape")
            link = group.link(name)
            if link is not None:
                self._link(parent, raw, link, f"{path}/{name}")
                continue
            node = group.child(name)
            if isinstance(node, Group):
                made = self._group(parent, raw, f"{path}/{name}")
                self._attrs(made, node)
                self._children(made, node, f"{path}/{name}")
            elif isinstance(node, Dataset):
                self._dataset(parent, raw, node, f"{path}/{name}")

    def _group(self, parent: h5g.GroupID, raw: bytes, path: str) -> h5g.GroupID:
        if parent.links.exists(raw):
            try:
                return h5g.open(parent, raw)
            except (KeyError, ValueError, TypeError):
                raise OutputError(f"{path} is a dataset and a group at once") from None
        return h5g.create(parent, raw, lcpl=self._lcpl, gcpl=self._gcpl)

    def _link(self, parent: h5g.GroupID, raw: bytes, link: Link, path: str) -> None:
        if parent.links.exists(raw):
            raise OutputError(f"{path} would be written twice", "two inputs have a record of the same key")
        target = link.path.encode("utf-8", "surrogateescape")
        if link.kind == "soft":
            parent.links.create_soft(raw, target, lcpl=self._lcpl)
        else:
            parent.links.create_external(raw, os.fsencode(link.filename), target, lcpl=self._lcpl)

    def _dataset(self, parent: h5g.GroupID, raw: bytes, node: Dataset, path: str) -> None:
        if parent.links.exists(raw):
            raise OutputError(f"{path} would be written twice", "two inputs have a record of the same key")
        shape = node.shape
        space = h5s.create_simple(shape) if shape else _SCALAR
        plist = creation(node, self.compression, self.chunks)
        try:
            type_id = h5t.py_create(node.dtype, logical=True)
        except TypeError:
            raise OutputError(f"{path}: HDF5 has no type for {node.dtype}") from None
        made = h5d.create(parent, raw, type_id, space, dcpl=plist, lcpl=self._lcpl)
        self._attrs(made, node)
        values = in_memory(node)
        if values is not None:
            large = values.nbytes > chunks.SMALL and made.shape == values.shape
            start = (0,) * values.ndim if large else ()
            self._put(made, start, values, chunks.threaded(made, values.dtype) if large else None)
        else:
            self._open[path] = made

    def _attrs(self, id: Any, node: Node) -> None:
        write_attributes(id, node.attrs)

    def annotate(self, path: str, attrs: Mapping[str, Any]) -> None:
        write_attributes(self._open[path], attrs)

    def write(self, path: str, start: tuple[int, ...], values: Any) -> None:
        made = self._open[path]
        values = np.asarray(values)
        if values.nbytes > chunks.SMALL and path not in self._threaded:
            self._threaded[path] = chunks.threaded(made, values.dtype)
        self._put(made, start, values, self._threaded.get(path))

    def _put(
        self,
        made: h5d.DatasetID,
        start: tuple[int, ...],
        values: np.ndarray[Any, Any],
        threaded: chunks.Threaded | None,
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
            raise OutputError(f"{self.path} cannot be written: {error}") from None

    def close(self) -> None:
        self._open.clear()
        self._threaded.clear()
        try:
            h5f.flush(self.id)
            self.id.close()
        except (OSError, RuntimeError) as error:
            raise OutputError(f"{self.path} cannot be completed: {error}", "is the disk full?") from None

    def abort(self) -> None:
        self._open.clear()
        self._threaded.clear()
        try:
            self.id.close()
        except (OSError, RuntimeError):
            return  # the file is thrown away; what made it fail is already being told


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
            h5a.create(id, raw, _VLEN, _SCALAR).write(np.array(value, dtype=TEXT))
        elif isinstance(value, h5py.Empty):
            h5a.create(id, raw, h5t.py_create(value.dtype, logical=True), h5s.create(h5s.NULL))
        else:
            array = as_array(value)
            type_id = h5t.py_create(array.dtype, logical=True)
            space = h5s.create_simple(array.shape) if array.ndim else _SCALAR
            made = h5a.create(id, raw, type_id, space)
            if array.size:
                made.write(np.ascontiguousarray(array).reshape(array.shape))
