"""Reading Zarr lazily through zarr-python.

What Zarr has no place for is noted in the attribute ``nxconvert`` of a group (``names``: stored name -> real name,
``links``, ``order`` of the children) or an array (``dtype``), and comes back from there; ``write`` puts it there.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore, ZipStore

from nxconvert.array import Box, as_array, full_box, named_type
from nxconvert.errors import InputError, NxconvertError, PolicyError
from nxconvert.format import Policy, Report, Tree
from nxconvert.tree import Dataset, Group, Link, Node
from nxconvert_zarr.attributes import NOTE, from_json

MAX_LINKS = 40

DIMENSIONS = "dimension_names"

UNSAFE = frozenset({"pickle", "numcodecs.pickle"})
"""Codecs that run code which they find in the data."""


def open_store(path: Path, policy: Policy, report: Report) -> ZarrTree:
    """Open a folder or a zip file.

    Raises
    ------
    InputError
        When it is no Zarr store, or a damaged one.
    """
    if not path.exists():
        raise InputError(f"there is no store {path}")
    with damage(str(path)):
        store = _Folder(path, policy.for_input(path / "root")) if path.is_dir() else ZipStore(path, mode="r")
        try:
            node = zarr.open(store, mode="r")
            if isinstance(node, zarr.Group):  # a consolidated copy of the metadata may be out of date
                node = zarr.open_group(store, mode="r", use_consolidated=False)
        except BaseException:
            store.close()
            raise
    return ZarrTree(path, store, node, policy, report)


@contextmanager
def damage(where: str) -> Iterator[None]:
    """Turn what zarr and its codecs raise on a damaged store into one error, and keep their warnings to ourselves."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except NxconvertError:
        raise
    except Exception as error:  # noqa: BLE001 - codecs raise whatever they like on damaged chunks
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} cannot be read: {reason[:300]}", "is the store complete?") from None


class _Folder(LocalStore):
    """A folder none of whose files, symbolic links followed, may lie elsewhere unless the policy says so."""

    def __init__(self, root: Path, policy: Policy, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self.policy = policy

    def with_read_only(self, read_only: bool = False) -> _Folder:
        return _Folder(self.root, self.policy, read_only=read_only)

    def _checked(self, key: str) -> None:
        path = self.root / key
        if os.path.realpath(path) != os.path.join(os.path.realpath(self.root), *key.split("/")):  # noqa: PTH118
            self.policy.check(path, f"{self.root}::/{key}", "symbolic link")

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self._checked(key)
        return await super().get(key, *args, **kwargs)

    def get_sync(self, key: str, **kwargs: Any) -> Any:
        self._checked(key)
        return super().get_sync(key, **kwargs)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
        ranges = list(key_ranges)
        for key, _ in ranges:
            self._checked(key)
        return await super().get_partial_values(prototype, ranges)


class ZarrTree(Tree):
    """An open store. A root that is an array becomes a group that holds it as ``data``."""

    def __init__(self, path: Path, store: Any, node: Any, policy: Policy, report: Report) -> None:
        self.path, self.store, self.policy, self.report = path, store, policy, report
        self.root: Group = ZarrGroup(node, "/", self) if isinstance(node, zarr.Group) else _Alone(node, self)

    def close(self) -> None:
        self.store.close()

    def resolve(self, path: str, asked_by: str, depth: int) -> Node:
        """Follow an absolute path."""
        if depth > MAX_LINKS:
            raise InputError(f"{asked_by}: more than {MAX_LINKS} links follow one another: a cycle")
        node: Node | None = self.root
        for part in path.split("/"):
            if part and part != ".":
                node = node.child(part, depth) if isinstance(node, ZarrGroup) else None
        if node is None:
            raise InputError(f"{asked_by}: the link to {path} leads nowhere")
        return node


class _ZarrNode(Node):
    __slots__ = ()

    node: Any
    tree: ZarrTree

    @property
    def note(self) -> Mapping[str, Any]:
        """What is noted of the node."""
        note = self.node.attrs.asdict().get(NOTE, {})
        parts = ("types", "links", "names")
        if not isinstance(note, dict) or not all(isinstance(note.get(part, {}), dict) for part in parts):
            raise InputError(f"{self.source}: the attribute {NOTE!r} is damaged", "delete it to read plain values")
        return note

    @property
    def attrs(self) -> Mapping[str, Any]:
        with damage(self.source):
            return from_json(self.node.attrs.asdict(), self.note.get("types", {}), self.source)

    @property
    def identity(self) -> Hashable:
        return (str(self.tree.path), self.node.path)

    @property
    def source(self) -> str:
        return f"{self.tree.path}::{self.path}"


class ZarrGroup(_ZarrNode, Group):
    """A group; its children are opened together, when the first is asked for."""

    __slots__ = ("_members", "node", "path", "tree")

    def __init__(self, node: Any, path: str, tree: ZarrTree) -> None:
        self.node, self.path, self.tree = node, path, tree
        self._members: dict[str, Any] | None = None

    @property
    def members(self) -> Mapping[str, Any]:
        """Groups and arrays of zarr, by their real names."""
        if self._members is None:
            with damage(self.source):
                names = self.note.get("names", {})
                found = {str(names.get(name, name)): node for name, node in self.node.members()}
                self._members = dict(sorted(found.items()))
        return self._members

    def moved(self, path: str) -> ZarrGroup:
        """Return the same group as found under another name."""
        return ZarrGroup(self.node, path, self.tree)

    def _links(self) -> Mapping[str, Any]:
        links: Mapping[str, Any] = self.note.get("links", {})
        return {name: link for name, link in links.items() if name not in self.members}

    def __iter__(self) -> Iterator[str]:
        known = [*self.members, *self._links()]
        place = {name: n for n, name in enumerate(self.note.get("order", ()))}
        return iter(sorted(known, key=lambda name: place.get(name, len(place))))

    def __len__(self) -> int:
        return len(self.members) + len(self._links())

    def __contains__(self, name: object) -> bool:
        return name in self.members or name in self._links()

    def link(self, name: str) -> Link | None:
        link = self._links().get(name)
        if link is None or "hard" in link:
            return None
        return Link(str(link.get("path", "")), "external" if "file" in link else "soft", str(link.get("file", "")))

    def child(self, name: str, depth: int = 0) -> Node | None:
        path = f"{self.path.rstrip('/')}/{name}"
        node = self.members.get(name)
        if isinstance(node, zarr.Group):
            return ZarrGroup(node, path, self.tree)
        if node is not None:
            return ZarrDataset(node, path, self.tree)
        link = self._links().get(name)
        if link is None:
            return None
        where = f"{self.tree.path}::{path}"
        if "file" in link:
            raise InputError(f"{where}: the link leads to another file, {link['file']}", "convert that file itself")
        target = str(link.get("hard", link.get("path", "")))
        if not target.startswith("/"):
            target = f"{self.path.rstrip('/')}/{target}"
        found = self.tree.resolve(target, where, depth + 1)
        return found.moved(path) if "hard" in link and isinstance(found, ZarrGroup | ZarrDataset) else found


class _Alone(Group):
    """The root of a store that is one array."""

    path = "/"

    def __init__(self, node: Any, tree: ZarrTree) -> None:
        self.dataset = ZarrDataset(node, "/data", tree)

    @property
    def attrs(self) -> Mapping[str, Any]:
        return {}

    @property
    def source(self) -> str:
        return self.dataset.source.rpartition("/")[0] + "/"

    def __iter__(self) -> Iterator[str]:
        return iter(("data",))

    def __len__(self) -> int:
        return 1

    def child(self, name: str) -> Node | None:
        return self.dataset if name == "data" else None


class ZarrDataset(_ZarrNode, Dataset):
    """An array; values are read by box."""

    __slots__ = ("_dtype", "node", "path", "tree")

    def __init__(self, node: Any, path: str, tree: ZarrTree) -> None:
        self.node, self.path, self.tree = node, path, tree
        self._dtype: np.dtype[Any] | None = None

    def moved(self, path: str) -> ZarrDataset:
        """Return the same array as found under another name."""
        return ZarrDataset(self.node, path, self.tree)

    @property
    def attrs(self) -> Mapping[str, Any]:
        out = dict(super().attrs)
        names = getattr(self.node.metadata, DIMENSIONS, None)
        if names and any(names):
            out[DIMENSIONS] = as_array(np.array([n or "" for n in names], dtype=object))
        stored = self._stored
        if stored.kind in "mM" and "units" not in out:
            unit = np.datetime_data(stored)
            step = unit[0] if unit[1] == 1 else f"{unit[1]} {unit[0]}"
            out["units"] = f"{step} since 1970-01-01" if stored.kind == "M" else step
        return out

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.node.shape)

    @property
    def _stored(self) -> np.dtype[Any]:
        stored: np.dtype[Any] = np.dtype(self.node.dtype)
        return stored

    @property
    def dtype(self) -> np.dtype[Any]:
        if self._dtype is None:
            with damage(self.source):
                dtype: np.dtype[Any] = self._read_dtype()
            self._dtype = dtype
        return self._dtype

    def _read_dtype(self) -> np.dtype[Any]:
        noted = self.note.get("dtype")
        if isinstance(noted, list):
            return np.dtype([tuple(part) for part in noted])
        if noted is not None:
            return named_type(str(noted))
        stored = self._stored
        if stored.kind in "UTO":
            return named_type("str")
        return np.dtype(np.int64) if stored.kind in "mM" else stored

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        self._check()
        box = full_box(box, self.shape)
        box = tuple(slice(s.start, max(s.start, s.stop)) for s in box)
        shape = tuple(s.stop - s.start for s in box)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        with damage(self.source):
            return self._cast(np.asarray(self.node[box or ...]))

    def _check(self) -> None:
        """Refuse chunks that do not fit the memory, or that run code."""
        size = self._stored.itemsize
        for n in self.node.chunks:
            size *= n
        if size > self.tree.policy.memory:
            raise InputError(
                f"{self.source}: one chunk takes {size:,} bytes, more than the budget of {self.tree.policy.memory:,}",
                "give more with --memory",
            )
        with damage(self.source):
            metadata = self.node.metadata.to_dict()
        codecs = [*(metadata.get("codecs") or ()), *(metadata.get("filters") or ()), metadata.get("compressor") or {}]
        for codec in codecs:
            name = codec.get("name", codec.get("id")) if isinstance(codec, dict) else getattr(codec, "codec_id", "")
            if name in UNSAFE:
                raise PolicyError(f"{self.source}: its codec {name!r} would run code that the data holds")

    def _cast(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        dtype = self.dtype
        metadata: Mapping[str, Any] = dtype.metadata or {}
        if metadata.get("vlen") is str:
            return as_array(values.astype(object), dtype)
        if metadata.get("vlen") is bytes or (dtype.kind == "S" and values.dtype.kind != "S"):
            out = np.empty(values.shape, dtype)
            for index in np.ndindex(values.shape):
                out[index] = str(values[index]).encode("utf-8", "surrogateescape")
            return out
        if values.dtype.kind in "mM":
            return np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(values.shape).view(np.int64)
        out = np.empty(values.shape, dtype)
        out[...] = values
        return out
