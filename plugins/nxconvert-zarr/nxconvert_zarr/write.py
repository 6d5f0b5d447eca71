"""Writing Zarr through zarr-python."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.storage import LocalStore

from nxconvert.array import TEXT, Values, decode, enum_of, is_text, type_name
from nxconvert.errors import InputError, OutputError, UsageError
from nxconvert.format import Report, TreeSink
from nxconvert.location import safe_name
from nxconvert.tree import Dataset, Group, NewDataset, Node
from nxconvert_zarr import ome
from nxconvert_zarr.attributes import NOTE, to_json
from nxconvert_zarr.read import DIMENSIONS, MAX_LINKS

SMALL = 1 << 20
"""Bytes of an array that is one chunk."""

XARRAY = "_ARRAY_DIMENSIONS"


@dataclass
class _Made:
    """A group that was made: what is noted of it when the store is complete."""

    node: Any
    attrs: dict[str, Any] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    links: dict[str, dict[str, str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


@dataclass
class _Filling:
    """An array that is being written, and how many of its values are still to come."""

    array: Any
    left: int


class _Part(LocalStore):
    """The folder of a store that nobody reads yet: plain writes, without a thread and a temporary file for each.

    Zarr writes many chunks at once. When one raises, it lets the others run on, into a folder that is being removed.
    So the first failure is kept here, nothing is written after it, and the sink raises it.
    """

    failure: OSError | None = None

    async def set(self, key: str, value: Any) -> None:
        if self.failure is not None:
            return
        path = self.root / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.to_bytes())
        except OSError as error:
            self.failure = error

    async def exists(self, key: str) -> bool:
        return (self.root / key).is_file()

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        if not await self.exists(key):
            await self.set(key, value)


class ZarrSink(TreeSink):
    """A new store, in a folder.

    Parameters
    ----------
    path
        The folder.
    report
        Told what Zarr cannot hold.
    zarr_format, compression, chunks, links, ome
        Options; see ``FORMAT``.
    """

    def __init__(
        self,
        path: Path,
        report: Report,
        zarr_format: str = "3",
        compression: str = "zstd",
        chunks: Any = None,
        links: str = "keep",
        ome: str = "",
    ) -> None:
        self.path, self.report = path, report
        self.version: Literal[2, 3] = 2 if str(zarr_format) == "2" else 3
        self.compression, self.chunks, self.resolve, self.ome = compression, chunks, links == "resolve", ome
        if ome and self.version != 3:
            raise UsageError("OME-Zarr 0.5 needs Zarr version 3", "leave zarr_format out")
        self._store = _Part(path)
        with self._writing(""):
            root = zarr.create_group(self._store, zarr_format=self.version, overwrite=True)
        self._groups: dict[str, _Made] = {"": _Made(root)}
        self._open: dict[str, _Filling] = {}
        self._seen: dict[Hashable, str] = {}

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of types that the specification does not list yet: see the README
                yield
            if self._store.failure is not None:
                raise self._store.failure
        except OSError as error:
            raise OutputError(f"{self.path}::{path} cannot be written: {error.strerror or error}") from None

    def begin(self, root: Group) -> None:
        self._open.clear()
        self._seen = {root.identity: "/"}
        self._take_attrs(self._groups[""], root)
        self._children(root, "", 0)

    def _children(self, group: Group, path: str, depth: int) -> None:
        made = self._groups[path]
        for name in group:
            here = f"{path}/{name}"
            link = group.link(name)
            if link is not None and not self.resolve:
                self._claim(made, name, here)
                made.links[name] = {"path": link.path} | ({"file": link.filename} if link.kind == "external" else {})
                continue
            try:
                node = group.child(name)
            except InputError as error:
                self.report.lose(here, group.source, f"the link cannot be followed: {error}")
                continue
            if node is not None:
                self._node(made, name, node, here, depth + (link is not None))

    def _node(self, made: _Made, name: str, node: Node, path: str, depth: int) -> None:
        first = self._seen.get(node.identity) if node.identity is not None else None
        if first is not None and not self.resolve:
            self._claim(made, name, path)
            made.links[name] = {"hard": first}
            if first in self._open:
                self._open[path] = self._open[first]
            return
        if first is not None and (depth > MAX_LINKS or (isinstance(node, Group) and _inside(path, first))):
            self.report.lose(path, node.source, f"a copy of {first}, which holds it, would never end")
            return
        if node.identity is not None and first is None:
            self._seen[node.identity] = path
        if isinstance(node, Group):
            if path not in self._groups:
                stored = self._claim(made, name, path)
                with self._writing(path):
                    self._groups[path] = _Made(made.node.create_group(stored))
            self._take_attrs(self._groups[path], node)
            self._children(node, path, depth)
        elif isinstance(node, Dataset):
            self._dataset(made, name, node, path, whole=first is not None or depth > 0)
        else:
            self.report.lose(path, node.source, "Zarr has no named types")

    def _claim(self, made: _Made, name: str, path: str) -> str:
        """Give a child its name in the store, which any file system can hold.

        Raises
        ------
        OutputError
            When the name is taken.
        """
        if name in made.stored:
            raise OutputError(f"{path} would be written twice", "two inputs have a record of the same key")
        wanted = safe_name(name).encode("utf-8", "replace").decode()
        if wanted.startswith(("__", ".")) or wanted in ("zarr.json", "c"):
            wanted = f"_{wanted.lstrip('_.')}_"
        stored, number = wanted, 1
        while stored.casefold() in made.folded:
            number += 1
            stored = f"{wanted}_{number}"
        made.stored[name] = stored
        made.folded.add(stored.casefold())
        made.order.append(name)
        return stored

    def _take_attrs(self, made: _Made, node: Node) -> None:
        new = {n: v for n, v in node.attrs.items() if n not in made.attrs}
        attrs, types = to_json(new, lambda name, why: self._lose_attr(node, name, why))
        made.attrs |= attrs
        made.types |= types

    def _lose_attr(self, node: Node, name: str, why: str) -> None:
        self.report.lose(f"{node.path if node.path != '/' else '/'}@{name}", node.source, why)

    def _dataset(self, made: _Made, name: str, node: Dataset, path: str, *, whole: bool) -> None:
        found = _stored_type(node.dtype, self.version)
        if isinstance(found, str):
            self.report.lose(path, node.source, found)
            return
        dtype, note = found
        attrs, types = to_json(node.attrs, lambda n, why: self._lose_attr(node, n, why))
        dimensions = self._dimensions(attrs, node)
        noted = ({"types": types} if types else {}) | ({"dtype": note} if note is not None else {})
        stored = self._claim(made, name, path)
        with self._writing(path):
            array = made.node.create_array(
                stored,
                shape=node.shape,
                dtype=dtype,
                chunks=self._chunk(node) if node.shape else "auto",
                compressors=_compressor(self.compression, self.version),
                attributes=attrs | ({NOTE: noted} if noted else {}),
                dimension_names=dimensions,
                config={"write_empty_chunks": dtype != "str"},
            )
        array_ = node.array if isinstance(node, NewDataset) else node
        if isinstance(array_, Values):
            self._put(path, array, None, array_.read())
        elif whole:
            for box in _chunk_boxes(array):
                self._put(path, array, tuple(s.start for s in box), node.read(box))
        else:
            self._open[path] = _Filling(array, node.size)

    def _dimensions(self, attrs: dict[str, Any], node: Dataset) -> Any:
        """Take the names of the dimensions out of the attributes, to where each version of Zarr has them."""
        names = attrs.get(DIMENSIONS)
        named = isinstance(names, list) and len(names) == node.ndim and all(isinstance(n, str) for n in names)
        if not named or not names:
            return None
        if self.version == 2:
            attrs.setdefault(XARRAY, names)
            return None
        if not any(names):
            return None
        del attrs[DIMENSIONS]
        return [n or None for n in names]

    def _chunk(self, node: Dataset) -> tuple[int, ...]:
        shape = tuple(max(1, n) for n in node.shape)
        wanted = tuple(self.chunks) if self.chunks is not None else ()
        if len(wanted) != len(shape):
            wanted = node.storage.chunks if node.storage is not None else ()
        if len(wanted) == len(shape):
            return tuple(max(1, min(c, n)) for c, n in zip(wanted, shape, strict=True))
        item = max(1, node.dtype.itemsize)
        if prod(shape) * item <= SMALL:
            return shape
        rows = max(1, SMALL // (prod(shape[1:]) * item))
        return (min(rows, shape[0]), *shape[1:])

    def write(self, path: str, start: tuple[int, ...], values: Any) -> None:
        filling = self._open.get(path)
        if filling is not None and filling.left > 0:  # else it is lost, or was written under its other name
            filling.left -= values.size
            self._put(path, filling.array, start, np.asarray(values))

    def _put(self, path: str, array: Any, start: tuple[int, ...] | None, values: np.ndarray[Any, Any]) -> None:
        if not values.size:
            return
        if is_text(values.dtype) and array.dtype.kind != "S":
            values = self._text(path, decode(values))
        where: Any = ... if start is None else tuple(slice(a, a + n) for a, n in zip(start, values.shape, strict=True))
        if enum_of(values.dtype) is not None or values.dtype.names is not None:
            values = values.astype(array.dtype)
        with self._writing(path):
            array[where if where != () else ...] = values

    def _text(self, path: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        def valid(text: str) -> str:
            good = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            if good != text:
                self.report.lose(path, str(self.path), "text that is not UTF-8")
            return good

        out = np.empty(values.shape, dtype=object)
        for index in np.ndindex(values.shape):
            out[index] = valid(str(values[index]))
        return out

    def annotate(self, path: str, attrs: Mapping[str, Any]) -> None:
        filling = self._open.get(path)
        if filling is None:
            return
        array = filling.array
        known = array.attrs.asdict()
        new = {n: v for n, v in attrs.items() if n not in known}
        plain, types = to_json(new, lambda name, why: self.report.lose(f"{path}@{name}", str(self.path), why))
        note = dict(known.get(NOTE, {}))
        if types:
            note["types"] = {**note.get("types", {}), **types}
            plain[NOTE] = note
        with self._writing(path):
            array.attrs.update(plain)

    def close(self) -> None:
        if self.ome:
            self._describe(self.ome)
        for path, made in self._groups.items():
            note: dict[str, Any] = {}
            if made.types:
                note["types"] = made.types
            if made.links:
                note["links"] = made.links
            names = {stored: name for name, stored in made.stored.items() if name != stored and name not in made.links}
            if names:
                note["names"] = names
            if made.order != _listed(made):
                note["order"] = made.order
            attrs = made.attrs | ({NOTE: note} if note else {})
            if attrs:
                with self._writing(path or "/"):
                    made.node.attrs.update(attrs)
        self._tell()

    def _describe(self, path: str) -> None:
        parent, _, name = path.rstrip("/").rpartition("/")
        made = self._groups.get(parent)
        array = made.node.get(made.stored.get(name, "")) if made is not None and name in made.stored else None
        if made is None or not isinstance(array, zarr.Array):
            raise UsageError(f"ome={path}: there is no such array in {self.path.name}", "name an image by its path")
        neighbours = {n: made.node.get(s) for n, s in made.stored.items() if n != name and n not in made.links}
        made.attrs["ome"] = ome.multiscales(made.stored[name], array, made.attrs, neighbours, path)

    def _tell(self) -> None:
        links = sum(len(made.links) for made in self._groups.values())
        names = sum(name != stored for made in self._groups.values() for name, stored in made.stored.items())
        if links:
            self.report.notice(f"{links} links are notes that only nxconvert follows; --links resolve writes copies")
        if names:
            self.report.notice(f"{names} names that not every file system holds are stored as safe ones")

    def abort(self) -> None:
        self._open.clear()
        self._groups.clear()


def _listed(made: _Made) -> list[str]:
    """Return the children in the order in which a reader would list them unasked."""
    return [*sorted(n for n in made.stored if n not in made.links), *made.links]


def _inside(path: str, first: str) -> bool:
    return path.startswith(f"{first.rstrip('/')}/")


def _chunk_boxes(array: Any) -> Iterator[tuple[slice, ...]]:
    counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(index, array.chunks, array.shape, strict=True))


def _stored_type(dtype: np.dtype[Any], version: int) -> tuple[Any, Any] | str:
    """Return the type to store and the one to note (None when it comes back by itself), or why there is none."""
    name = type_name(dtype)
    if dtype.names is not None:
        return _compound(dtype, name)
    if is_text(dtype):
        if dtype.kind == "S" and version == 2 and dtype.itemsize and ":" not in name:
            return np.dtype(dtype.str), None
        return "str", None if dtype == TEXT and name == "str" else name
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        return f"Zarr has no type for {name}"
    plain = np.dtype(dtype.str)
    if version == 3:
        plain = plain.newbyteorder("<") if plain.itemsize > 1 else plain
    return plain, None if type_name(plain) == name else name


def _compound(dtype: np.dtype[Any], name: str) -> tuple[Any, Any] | str:
    """Compounds of numbers and fixed text; zarr-python stores them, few others read them."""
    assert dtype.names is not None
    for part in dtype.names:
        member = dtype[part]
        known = member.kind in "biufcS" and member.subdtype is None and member.itemsize in range(1, 17)
        if not known or (member.kind == "f" and member.itemsize > 8) or enum_of(member) is not None:
            return f"Zarr has no type for {name}"
    noted = [[part, dtype[part].str] for part in dtype.names]
    plain = np.dtype([(part, dtype[part].newbyteorder("<")) for part in dtype.names])
    return plain, noted


def _compressor(name: str, version: int) -> Any:
    if name == "none":
        return None
    if version == 2:
        import numcodecs

        made: dict[str, Any] = {
            "zstd": lambda: numcodecs.Zstd(level=3),
            "gzip": lambda: numcodecs.GZip(level=4),
            "bitshuffle-lz4": lambda: numcodecs.Blosc("lz4", shuffle=numcodecs.Blosc.BITSHUFFLE),
            "bitshuffle-zstd": lambda: numcodecs.Blosc("zstd", shuffle=numcodecs.Blosc.BITSHUFFLE),
        }
        return made[_known(name)]()
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    codecs: dict[str, Any] = {
        "zstd": lambda: ZstdCodec(level=3),
        "gzip": lambda: GzipCodec(level=4),
        "bitshuffle-lz4": lambda: BloscCodec(cname="lz4", shuffle="bitshuffle"),
        "bitshuffle-zstd": lambda: BloscCodec(cname="zstd", shuffle="bitshuffle"),
    }
    return codecs[_known(name)]()


def _known(name: str) -> str:
    from nxconvert_zarr import COMPRESSIONS

    if name not in COMPRESSIONS:
        raise UsageError(f"Zarr has no compression {name!r} here", f"known are {', '.join(COMPRESSIONS)}")
    return name
