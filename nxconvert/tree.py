"""A tree: groups, datasets and links, each with attributes, as in NeXus/HDF5, Zarr or MATLAB.

A reader subclasses ``Group`` and ``Dataset`` lazily; ``NewGroup`` and ``NewDataset`` are trees made in memory.
Nodes are immutable to their readers. ``identity`` tells whether two paths lead to one node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from nxconvert.array import Array, Values
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError


@dataclass(frozen=True, slots=True)
class Link:
    """A link that is a name for another place.

    ``kind`` is ``soft``, or ``external`` with the file's name. A tree that is to be written may have ``hard`` ones: a
    second name for what the file has at that path when the rest of the tree is written.
    """

    path: str
    kind: str = "soft"
    filename: str = ""

    def __str__(self) -> str:
        return f"{self.filename}::{self.path}" if self.filename else self.path


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to another node, or to a region of it; it moves with its target or is a loss."""

    path: str
    region: Any = None


class Node(ABC):
    """What groups and datasets share."""

    __slots__ = ()

    path: str
    """Where the node was found, absolute in its file."""

    @property
    @abstractmethod
    def attrs(self) -> Mapping[str, Any]:
        """Attributes: ``str``, numpy scalars or arrays, ``Ref``; in the order of the file."""

    @property
    def identity(self) -> Hashable:
        """Equal for two nodes that are one; None when the format has no such thing."""
        return None

    def referent(self, value: Any) -> Ref | None:
        """Say what a reference refers to that is among the values of this node or its attributes; None: to nothing."""
        return value if isinstance(value, Ref) else None

    @property
    def source(self) -> str:
        """File and path, for messages."""
        return self.path

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class Dataset(Node, Array):
    """A leaf: a lazy array with attributes."""

    __slots__ = ()


class Group(Node, Mapping[str, "Node"]):
    """A mapping of names to nodes, links followed. ``link(name)`` says whether a child is a link."""

    __slots__ = ()

    @abstractmethod
    def __iter__(self) -> Iterator[str]: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def child(self, name: str) -> Node | None:
        """Return the child of that name, links followed, or None when there is no such name.

        Raises
        ------
        InputError
            When the name is there but leads nowhere.
        """

    def link(self, name: str) -> Link | None:
        """Return the link of that name, or None when the child is there itself."""
        return None

    def __getitem__(self, path: str) -> Node:
        node: Node | None = self
        for part in path.strip("/").split("/"):
            if not part:
                continue
            node = node.child(part) if isinstance(node, Group) else None
            if node is None:
                raise KeyError(path)
        assert node is not None
        return node

    def __repr__(self) -> str:
        return f"<group {self.path}: {self.nx_class or 'no NX_class'}, {len(self)} members>"

    @property
    def nx_class(self) -> str:
        """The NeXus class, from ``NX_class`` or, as canSAS files have it, ``canSAS_class``; or an empty string."""
        for name in ("NX_class", "canSAS_class"):
            value = self.attrs.get(name)
            if isinstance(value, str):
                return value
        return ""


class _ToBeWritten(Dataset):
    """A dataset that is not in a file yet."""

    __slots__ = ("_attrs", "path")

    def __init__(self, attrs: Mapping[str, Any] | None) -> None:
        self._attrs: dict[str, Any] = dict(attrs or {})
        self.path = ""

    @property
    def attrs(self) -> Mapping[str, Any]:
        return self._attrs

    def set_attr(self, name: str, value: Any) -> None:
        """Add an attribute before the dataset is written."""
        self._attrs[name] = value

    @property
    def identity(self) -> Hashable:
        return id(self)


class NewDataset(_ToBeWritten):
    """A dataset that is to be written: any array with attributes."""

    __slots__ = ("array",)

    def __init__(self, array: Any, attrs: Mapping[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.array = array if isinstance(array, Array) else Values(array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def read(self, box: Any = None) -> Any:
        return self.array.read(box)

    @property
    def storage(self) -> Any:
        return self.array.storage


@dataclass(frozen=True, slots=True)
class Run:
    """Successive rows of a dataset of the file that is written: part of a ``Virtual``."""

    path: str
    start: int
    count: int


class Virtual(_ToBeWritten):
    """A dataset that is to be written as a view of others of its file, row after row: nothing is stored twice.

    Parameters
    ----------
    runs
        The rows, in the order that they have here.
    shape, dtype
        Of the whole; what the others hold is cast to the dtype when it is read.
    """

    __slots__ = ("_dtype", "_shape", "runs")

    def __init__(
        self, runs: Sequence[Run], shape: tuple[int, ...], dtype: Any, attrs: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(attrs)
        self.runs, self._shape, self._dtype = tuple(runs), shape, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> Any:
        return self._dtype

    def read(self, box: Any = None) -> Any:
        raise InputError(f"{self.path} is a view of what is being written, and cannot be read yet")


class NewGroup(Group):
    """A group that is to be written. Children are nodes or links."""

    __slots__ = ("_attrs", "children", "path")

    def __init__(self, nx_class: str = "", attrs: Mapping[str, Any] | None = None, path: str = "/") -> None:
        self._attrs: dict[str, Any] = {"NX_class": nx_class} if nx_class else {}
        self._attrs.update(attrs or {})
        self.children: dict[str, Node | Link] = {}
        self.path = path

    @property
    def attrs(self) -> dict[str, Any]:
        return self._attrs

    @property
    def identity(self) -> Hashable:
        return id(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.children)

    def __len__(self) -> int:
        return len(self.children)

    def __contains__(self, name: object) -> bool:
        return name in self.children

    def link(self, name: str) -> Link | None:
        child = self.children.get(name)
        return child if isinstance(child, Link) else None

    def child(self, name: str) -> Node | None:
        child = self.children.get(name)
        if isinstance(child, Link):
            raise InputError(f"{self.path}/{name}: the link to {child} has no root to be followed from")
        return child

    def add(self, name: str, node: Node | Link) -> Node | Link:
        """Put a node under a name; what is made in memory learns its path."""
        if name in self.children:
            raise InputError(f"{self.path.rstrip('/')}/{name} is written twice")
        self.children[name] = node
        if isinstance(node, NewGroup | NewDataset | Virtual):
            node.path = f"{self.path.rstrip('/')}/{name}"
        return node

    def require(self, name: str, nx_class: str = "") -> NewGroup:
        """Return the child group of that name, made when it is not there."""
        child = self.children.get(name)
        if child is None:
            child = self.add(name, NewGroup(nx_class))
        if not isinstance(child, NewGroup):
            raise InputError(f"{self.path.rstrip('/')}/{name} is a dataset and a group at once")
        if nx_class and child.nx_class != nx_class:
            if child.nx_class:
                raise InputError(f"{child.path} would be {child.nx_class} and {nx_class} at once")
            child.attrs["NX_class"] = nx_class
        return child


def walk(group: Group) -> Iterator[Node]:
    """Yield every node below a group once, by its first path; links not followed, parents first.

    Nodes are told apart by ``identity``, so that a group that holds itself has an end.
    """
    pending: list[Group] = [group]
    seen: set[Hashable] = {group.identity}
    while pending:
        here = pending.pop()
        below: list[Group] = []
        for name in here:
            if here.link(name) is not None:
                continue
            node = here.child(name)
            if node is None:
                continue
            identity = node.identity
            if identity is not None:
                if identity in seen:
                    continue
                seen.add(identity)
            yield node
            if isinstance(node, Group):
                below.append(node)
        pending.extend(reversed(below))
