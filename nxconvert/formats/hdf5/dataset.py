"""Datasets of an HDF5 file, and what all its objects have: attributes, an identity, a name for messages."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5r, h5s

from nxconvert.array import Box, Chunk, Places, Storage, full_box
from nxconvert.errors import InputError
from nxconvert.formats.hdf5 import check, chunks
from nxconvert.formats.hdf5.damage import DAMAGE, damaged, last_reason
from nxconvert.formats.hdf5.small import Small
from nxconvert.formats.hdf5.values import UnknownTypeError, attribute, dtype_of, memory_type, reference, text_of
from nxconvert.tree import Dataset, Node, Ref

if TYPE_CHECKING:
    from nxconvert.formats.hdf5.read import H5File

_EMPTY: Mapping[str, Any] = {}


class H5Node(Node):
    """An object of a file, by its handle."""

    __slots__ = ()

    id: Any
    file: H5File

    @property
    def attrs(self) -> Mapping[str, Any]:
        try:
            count = h5a.get_num_attrs(self.id)
            if not count:
                return _EMPTY
            out: dict[str, Any] = {}
            for index in range(count):
                attr = h5a.open(self.id, index=index)
                name = text_of(attr.name)
                try:
                    out[name] = attribute(attr, self.file.id)
                except UnknownTypeError as error:
                    self.file.report.lose(f"@{name}", self.source, f"its type cannot be read: {error}")
            return out
        except DAMAGE as error:
            raise InputError(f"the attributes of {self.source} cannot be read: {last_reason(str(error))}") from None

    @property
    def identity(self) -> Hashable:
        try:
            info = h5o.get_info(self.id)
        except DAMAGE as error:
            raise damaged(self.source, error) from None
        return (info.fileno, info.addr)

    def referent(self, value: Any) -> Ref | None:
        return reference(value, self.file.id) if isinstance(value, h5r.Reference) else super().referent(value)

    @property
    def source(self) -> str:
        return f"{self.file.path}::{self.path}"


class H5Dataset(H5Node, Dataset):
    """A dataset; values are read by box."""

    __slots__ = ("_asked", "_checked", "_dtype", "_shape", "_threaded", "file", "foreign", "fragile", "id", "path")

    def __init__(self, id: h5d.DatasetID, path: str, file: H5File) -> None:
        self.id, self.path, self.file = id, path, file
        self._shape: tuple[int, ...] | None = None
        self._dtype: np.dtype[Any] | None = None
        self._checked = self._asked = False
        self.foreign = False  # its filters are not HDF5's own
        self.fragile = False  # its filter may crash on damaged chunks
        self._threaded: chunks.Threaded | None = None

    @property
    def null(self) -> bool:
        """Whether the dataset has a type but no values, not even a scalar."""
        try:
            return bool(self.id.get_space().get_simple_extent_type() == h5s.NULL)
        except DAMAGE as error:
            raise damaged(self.source, error) from None

    @property
    def shape(self) -> tuple[int, ...]:
        if self._shape is None:
            try:
                space = self.id.get_space()
                kind = space.get_simple_extent_type()
                if kind == h5s.SCALAR:
                    self._shape = ()
                    return ()
                self._shape = (0,) if kind == h5s.NULL else space.get_simple_extent_dims()
                if 0 in self._shape and not self._checked:
                    self._checked = True
                    check.readable(self)  # nobody reads nothing, but a virtual dataset may be empty for want of sources
            except DAMAGE as error:
                raise damaged(self.source, error) from None
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        if self._dtype is None:
            try:
                self._dtype = dtype_of(self.id.get_type())
            except DAMAGE as error:
                raise InputError(
                    f"{self.source}: its data type cannot be read: {' '.join(str(error).split())}"
                ) from None
        return self._dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        shape, dtype = self.shape, self.dtype
        try:
            if not self._checked:
                check.readable(self)
                self._checked = True
            if shape and (box or self.size * dtype.itemsize > chunks.SMALL):
                return self._read_box(full_box(box, shape))
            out = np.empty(shape, dtype)
            if out.size:
                self._make_safe(full_box(None, shape))
                self.id.read(h5s.ALL, h5s.ALL, out, memory_type(dtype, self.id))
            return out
        except DAMAGE as error:
            raise damaged(self.source, error) from None

    def _read_box(self, box: Box) -> np.ndarray[Any, Any]:
        out = np.empty(tuple(max(0, s.stop - s.start) for s in box), self.dtype)
        if out.nbytes > chunks.SMALL and self.dtype.subdtype is None:
            if not self._asked:
                self._threaded, self._asked = chunks.threaded(self.id, self.dtype), True
            if self._threaded is not None and self._threaded.read(box, out, self._select):
                return out
        return self._select(box, out)

    def _make_safe(self, box: Box) -> None:
        """Do what must be done before HDF5 itself reads a box."""
        if self.foreign:
            check.register_filters()
        if self.fragile:
            chunks.verify(self.id, box, self.dtype, self.source)

    def _select(self, box: Box, out: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """Read a box through HDF5."""
        count = tuple(max(0, s.stop - s.start) for s in box)
        out = np.empty(count, self.dtype) if out is None else out
        if out.size:
            self._make_safe(box)
            space = self.id.get_space()
            space.select_hyperslab(tuple(s.start for s in box), count)
            self.id.read(h5s.create_simple(count), space, out, memory_type(self.dtype, self.id))
        return out

    @property
    def storage(self) -> Storage | None:
        try:
            plist = self.id.get_create_plist()
            if plist.get_layout() != h5d.CHUNKED or self.dtype.hasobject:
                return None
            filters = []
            for index in range(plist.get_nfilters()):
                code, _flags, values, _name = plist.get_filter(index)
                filters.append((int(code), tuple(int(v) for v in values)))
            return Storage(tuple(plist.get_chunk()), tuple(filters), self._list_chunks, self._read_chunk)
        except DAMAGE as error:
            raise damaged(self.source, error) from None

    def places(self) -> Places | None:
        try:
            if not self._checked:
                check.readable(self)
                self._checked = True
            return chunks.places(self.id, self.file.id, self.dtype)
        except DAMAGE as error:
            raise damaged(self.source, error) from None

    def _list_chunks(self) -> Iterator[Chunk]:
        found: list[Chunk] = []
        try:
            self.id.chunk_iter(lambda c: found.append(Chunk(tuple(c.chunk_offset), int(c.size), int(c.filter_mask))))
        except DAMAGE as error:
            raise damaged(self.source, error) from None
        return iter(found)

    def _read_chunk(self, offset: tuple[int, ...]) -> bytes:
        try:
            _mask, raw = self.id.read_direct_chunk(offset)
        except DAMAGE as error:
            raise damaged(self.source, error) from None
        return bytes(raw)


class SmallDataset(H5Dataset):
    """A dataset of one number or text, read when it was opened; opened again for what else is asked of it."""

    __slots__ = ("_group", "_id", "_name", "_small")

    def __init__(self, group: h5g.GroupID, name: bytes, small: Small, path: str, file: H5File) -> None:
        self._group, self._name, self._small = group, name, small
        self._id: Any = None
        self.path, self.file = path, file
        self._shape, self._dtype = (), small.dtype
        self._checked, self._asked, self._threaded = True, False, None
        self.foreign = self.fragile = False

    @property
    def id(self) -> Any:
        if self._id is None:
            try:
                self._id = h5o.open(self._group, self._name)
            except DAMAGE as error:
                raise damaged(self.source, error) from None
        return self._id

    @property
    def null(self) -> bool:
        return False

    @property
    def attrs(self) -> Mapping[str, Any]:
        return {text_of(name): text_of(text) for name, text in self._small.attrs.items()}

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        value, dtype = self._small.value, self._small.dtype
        if not dtype.hasobject:
            return np.frombuffer(value, dtype).reshape(()).copy()
        out = np.empty((), dtype)
        out[()] = value
        return out
