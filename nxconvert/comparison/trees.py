"""Comparing two trees."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator, Hashable, Iterator
from typing import Any

from nxconvert.array import decode, is_text
from nxconvert.comparison.pair import Comparison, Pair
from nxconvert.comparison.values import EXACT, Difference, Tolerance, plainly_same, shown
from nxconvert.errors import InputError, NxconvertError
from nxconvert.policy import DEFAULT_MEMORY
from nxconvert.tree import Dataset, Group, Link, Node

FILE = (
    "HDF5_Version",
    "HDF_version",
    "NeXus_release",
    "NeXus_version",
    "XML_version",
    "creator",
    "creator_version",
    "file_name",
    "file_time",
    "file_update_time",
    "h5py_version",
)
"""Attributes of a root that tell of the file and not of the data. Source: NeXus definitions, NXroot."""


def tree_differences(
    a: Group,
    b: Group,
    *,
    tolerance: Tolerance = EXACT,
    budget: int = DEFAULT_MEMORY,
    provenance: bool = True,
    told: Comparison | None = None,
) -> Iterator[Difference]:
    """Yield the differences of two trees: names, links and what they lead to, attributes, types, values, hard links.

    Parameters
    ----------
    a, b
        Groups of trees that are open.
    tolerance
        How far numbers may be apart.
    budget
        Bytes of values that are held at once.
    provenance
        Whether what a root says of its file (who wrote it and when, its name) is compared too.
    told
        Gets what could not be read, and the notices; without it the first such error is raised.
    """
    return Trees(tolerance, budget, told, provenance=provenance).compare(a, b)


class Trees(Pair):
    """Compares two trees. Pairs of nodes are compared once, so that cycles end."""

    def __init__(self, tolerance: Tolerance, budget: int, told: Comparison | None, *, provenance: bool) -> None:
        super().__init__(tolerance, budget, told)
        self.provenance = provenance
        self.bases = ("", "")
        self.seen: set[tuple[Hashable, Hashable]] = set()
        self.first_a: dict[Hashable, str] = {}
        self.first_b: dict[Hashable, str] = {}

    def compare(self, a: Node, b: Node, inner_a: str = "", inner_b: str = "") -> Iterator[Difference]:
        """Compare two nodes and all below them."""
        self.bases = (inner_a.strip("/"), inner_b.strip("/"))
        root = f"/{self.bases[0]}"
        self.seen.add((a.identity, b.identity))
        if not isinstance(a, Group) or not isinstance(b, Group):
            yield from self._nodes(root, a, b)
            return
        skip = set() if self.provenance or {a.path, b.path} != {"/"} else self._skipped(a, b)
        yield from self._nodes(root, a, b, skip)
        pending: list[tuple[str, Group, Group, str]] = []
        yield from self._children(root, a, b, pending, skip)
        links: deque[tuple[str, Group, Group, str]] = deque()
        while pending or links:
            at_links = not pending
            path, parent_a, parent_b, name = links.popleft() if at_links else pending.pop()
            here = f"{path.rstrip('/')}/{name}"
            try:
                if not at_links and (parent_a.link(name) or parent_b.link(name)):
                    links.append((path, parent_a, parent_b, name))  # what is there itself is named first
                    continue
                found = yield from self._links(here, parent_a, parent_b, name)
                if found is None:
                    continue
                yield from self._nodes(here, *found)
                mine, other = found
                if isinstance(mine, Group) and isinstance(other, Group):
                    yield from self._children(here, mine, other, pending)
            except NxconvertError as error:
                self.unread(here, error)

    def _skipped(self, a: Group, b: Group) -> set[str]:
        """Return the names in two roots, ``@`` before attributes, that tell of the file and not of the data."""
        stamps = {*_stamps(a), *_stamps(b)}
        told = {n for n in FILE if n in a.attrs or n in b.attrs}
        if self.told is not None and (stamps or any(shown(a.attrs.get(n)) != shown(b.attrs.get(n)) for n in told)):
            names = ", ".join([*sorted(stamps), *(f"@{n}" for n in sorted(told))])
            self.told.notices.append(f"not compared, as it tells who wrote the file and when: {names}")
        if all(shown(node.attrs.get("NX_class", "NXroot")) == "'NXroot'" for node in (a, b)):
            told.add("NX_class")  # a root is one, whether it says so or not
        return stamps | {f"@{n}" for n in told}

    def _links(self, here: str, a: Group, b: Group, name: str) -> Generator[Difference, None, tuple[Node, Node] | None]:
        """Compare how a name leads to nodes; return those, unless they are compared already."""
        links = a.link(name), b.link(name)
        mine, other = self._follow(a, name), self._follow(b, name)
        if not self._alike(links, leads=mine is not None and other is not None):
            yield Difference(here, "link", _linked(links[0]), _linked(links[1]))
        if mine is None or other is None:
            if mine is not other:
                yield Difference(
                    here, "link", *(f"leads to {_kind(n) if n is not None else 'nothing'}" for n in (mine, other))
                )
            return None
        if not any(links):
            yield from self._identity(here, mine, other)
        key = (mine.identity, other.identity)
        if None not in key and key in self.seen:
            return None
        self.seen.add(key)
        return mine, other

    def _alike(self, links: tuple[Link | None, Link | None], *, leads: bool) -> bool:
        """Tell whether two links are one; in which file an object lies is a matter of storage, if it can be reached."""
        if leads and any(link is not None and link.kind == "external" for link in links):
            return True
        return links[0] == links[1] or _below(links[0], self.bases[0]) == _below(links[1], self.bases[1])

    @staticmethod
    def _follow(group: Group, name: str) -> Node | None:
        """Return a child, or None when it is a link that leads nowhere."""
        try:
            return group.child(name)
        except InputError:
            if group.link(name) is None:
                raise
            return None

    def _children(
        self, path: str, a: Group, b: Group, pending: list[tuple[str, Group, Group, str]], skip: Collection[str] = ()
    ) -> Iterator[Difference]:
        """Put the names that both groups have on the list, first name last; yield those that only one has."""
        names, others = list(a), list(b)
        both = set(others)
        pending += [(path, a, b, name) for name in reversed(names) if name in both and name not in skip]
        both &= set(names)
        for group, name in [*((a, n) for n in names), *((b, n) for n in others)]:
            if name not in both and name not in skip:
                what = self._what(group, name)
                words = (what, "") if group is a else ("", what)
                yield Difference(f"{path.rstrip('/')}/{name}", "missing", *words)

    @staticmethod
    def _what(group: Group, name: str) -> str:
        try:
            link = group.link(name)
            node = group.child(name) if link is None else None
            return _linked(link) if node is None else _kind(node)
        except NxconvertError:
            return "something that cannot be read"

    def _identity(self, path: str, a: Node, b: Node) -> Iterator[Difference]:
        """Compare what is one object by hard links."""
        if a.identity is None or b.identity is None:
            return
        first, other = self.first_a.setdefault(a.identity, path), self.first_b.setdefault(b.identity, path)
        if first != other:
            words = ["an object of its own" if f == path else f"the same object as {f}" for f in (first, other)]
            yield Difference(path, "link", *words)

    def _nodes(self, path: str, a: Node, b: Node, skip: Collection[str] = ()) -> Iterator[Difference]:
        """Compare two nodes, without what is below them."""
        if _kind(a) != _kind(b):
            yield Difference(path, "type", _kind(a), _kind(b))
            return

        def same(x: Any, y: Any) -> bool:
            refs = a.referent(x), b.referent(y)
            if refs == (None, None) and (x or y):
                return plainly_same(x, y)
            return refs[0] == refs[1]

        mine, other = ({n: v for n, v in node.attrs.items() if f"@{n}" not in skip} for node in (a, b))
        yield from self.attributes(path, mine, other, same)
        if isinstance(a, Dataset) and isinstance(b, Dataset):
            try:
                yield from self.arrays(path, a, b, same)
            except NxconvertError as error:
                self.unread(path, error)
            except TypeError as error:
                self.unread(path, InputError(f"{path}: {error}"))


def _kind(node: Node) -> str:
    return "a group" if isinstance(node, Group) else "a dataset" if isinstance(node, Dataset) else "a named type"


def _below(link: Link | None, base: str) -> Link | None:
    """Return a link as it would be if the group at ``base``, which is compared, were the root."""
    if link is None or link.kind != "soft" or not base or not link.path.startswith(f"/{base}/"):
        return link
    return Link(link.path[len(base) + 1 :])


def _linked(link: Link | None) -> str:
    return "an object" if link is None else f"a link to {link}"


def _stamps(root: Group) -> Iterator[str]:
    """Yield the names of the groups in which nxconvert says that it made the file."""
    for name in root:
        if name.startswith("nxconvert") and root.link(name) is None:
            node = root.child(name)
            if isinstance(node, Group) and node.nx_class == "NXprocess" and _text(node, "program") == "nxconvert":
                yield name


def _text(group: Group, name: str) -> str:
    node = group.child(name) if name in group else None
    return str(decode(node.read())[()]) if isinstance(node, Dataset) and not node.shape and is_text(node.dtype) else ""
