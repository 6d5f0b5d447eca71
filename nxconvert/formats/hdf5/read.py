"""Reading HDF5 lazily through h5py's low-level interface.

A node holds the handle of its object as long as somebody holds the node, and the tree keeps none: a file with
thousands of open objects is slow to close. Links are followed one component at a time, so that none of them
leaves the input's folder without being asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from h5py import h5, h5a, h5d, h5f, h5g, h5i, h5l, h5o, h5p, h5t

from nxconvert.errors import InputError
from nxconvert.format import Location, Policy, Report, Tree
from nxconvert.formats.hdf5 import check
from nxconvert.formats.hdf5.damage import DAMAGE, damaged, last_reason
from nxconvert.formats.hdf5.dataset import H5Dataset, H5Node, SmallDataset
from nxconvert.formats.hdf5.small import Small, opener
from nxconvert.formats.hdf5.values import (
    UnknownTypeError,
    attribute,
    bytes_of,
    text_of,
)
from nxconvert.tree import Group, Link, Node

MAX_LINKS = 40


def open_file(location: Location, policy: Policy, report: Report) -> H5Tree:
    """Open an HDF5 file for reading.

    Raises
    ------
    InputError
        When HDF5 cannot open it.
    """
    path = location.path
    return H5Tree(H5File(path, policy.for_input(path), report))


class H5Tree(Tree):
    """An open HDF5 file."""

    def __init__(self, file: H5File) -> None:
        self.file = file
        self.root: Group = file.root

    def close(self) -> None:
        self.file.close()


class H5File:
    """An open file and the files that it links to."""

    def __init__(self, path: Path, policy: Policy, report: Report, owner: H5File | None = None) -> None:
        self.path = path
        self.policy = policy
        self.report = report
        self.owner = owner or self
        self.others: dict[str, H5File] = {}
        self._groups: dict[str, Node] = {}
        self.id = _open_id(path, linked=owner is not None)
        try:
            self.root = H5Group(h5g.open(self.id, b"/"), "/", self)
        except DAMAGE as error:
            self.id.close()
            raise damaged(str(path), error) from None

    def close(self) -> None:
        """Close this file, and those it linked to."""
        for other in self.others.values() if self.owner is self else ():
            other.close()
        self._groups.clear()
        self.others.clear()
        if not self.id.valid:
            return
        kinds = (h5f.OBJ_ALL & ~h5f.OBJ_FILE) | h5f.OBJ_LOCAL  # not those of another reader of the same file
        for held in h5f.get_obj_ids(self.id, kinds):
            while held.valid:  # somebody holds a node; the file shall be closed all the same
                h5i.dec_ref(held)
        self.id.close()

    def external(self, filename: str, asked_by: str, what: str = "external link") -> H5File:
        """Open a file that an object of this one names, when the policy lets us.

        Parameters
        ----------
        filename
            The name, for which HDF5 looks in several places.
        asked_by
            File and path of the object.
        what
            Its kind: ``external link``, ``virtual dataset source``.

        Raises
        ------
        PolicyError
            When the file that HDF5 would open is out of bounds.
        InputError
            When there is none.
        """
        places = list(self._places(filename, what))
        target = next((p for p in places if p.exists()), None)
        if target is None:
            raise InputError(f"{asked_by}: the linked file {filename} is missing", "put it beside the input")
        self.policy.check(target, asked_by, what)
        real = os.path.realpath(target)
        if real == os.path.realpath(self.owner.path):
            return self.owner
        if real not in self.owner.others:
            self.owner.others[real] = H5File(target, self.policy, self.report, self.owner)
        return self.owner.others[real]

    def _places(self, filename: str, what: str) -> Iterator[Path]:
        """Yield the places where HDF5 looks for a file, in its order.

        An absolute name first as it is, then by its last part, so that files which moved together are found; after the
        folder of this file comes the working directory.
        """
        name = Path(filename)
        if name.is_absolute():
            yield name
            name = Path(name.name)
        variable = "HDF5_EXT_PREFIX" if what == "external link" else "HDF5_VDS_PREFIX"
        for prefix in filter(None, os.environ.get(variable, "").split(os.pathsep)):
            yield Path(prefix.replace("${ORIGIN}", str(self.path.parent)), name)
        yield self.path.parent / name
        yield name
        yield self.path.resolve().parent / name

    def resolve(self, path: str, asked_by: str, depth: int = 0) -> Node:
        """Follow an absolute path, component by component, from the deepest group that is still known."""
        parent, _, name = path.rstrip("/").rpartition("/")
        if not name:
            return self.root
        left: list[str] = []
        while parent and parent not in self._groups:
            parent, _, last = parent.rpartition("/")
            left.append(last)
        group: Node | None = self._groups[parent] if parent else self.root
        for part in reversed(left):
            group = group.child(part, depth) if isinstance(group, H5Group) else None
            if group is None:
                break
            parent = f"{parent}/{part}"
            if len(self._groups) > 64:
                self._groups.clear()
            self._groups[parent] = group
        node = group.child(name, depth) if isinstance(group, H5Group) else None
        if node is None:
            raise InputError(f"{asked_by}: the link to {path} leads nowhere")
        return node


def _open_id(path: Path, *, linked: bool) -> h5f.FileID:
    # HDF5 opens the sources of virtual datasets weakly, and no file in two ways
    reason = ""
    for strong, locking in ((True, False), (False, False), (False, True)):
        if strong and linked:
            continue
        try:
            return h5f.open(os.fsencode(path), h5f.ACC_RDONLY, fapl=_access(strong=strong, locking=locking))
        except OSError as error:
            reason = str(error)
        if "n't match" not in reason:
            break  # else this process has it open already, through h5py itself, and HDF5 wants the same flags
    if "consistency flag" in reason or "already open for write" in reason:
        raise InputError(
            f"{path}: a writer has it open, or crashed while it had",
            "if no program writes it any more: h5clear -s FILE",
        )
    if "truncated file" in reason:
        raise InputError(f"{path}: the file is truncated", "copy it again from its source")
    raise InputError(f"{path}: HDF5 cannot open it: {last_reason(reason)}")


def _access(*, strong: bool, locking: bool) -> h5p.PropFAID:
    fapl = h5p.create(h5p.FILE_ACCESS)
    if strong:
        fapl.set_fclose_degree(h5f.CLOSE_WEAK)  # as HDF5 opens the sources of virtual datasets: they must agree
    if not locking and hasattr(fapl, "set_file_locking"):
        fapl.set_file_locking(False, True)
    return fapl


class H5Group(H5Node, Group):
    """A group; its children are opened when they are asked for."""

    __slots__ = ("_kinds", "file", "id", "path")

    def __init__(self, id: h5g.GroupID, path: str, file: H5File) -> None:
        self.id, self.path, self.file = id, path, file
        self._kinds: dict[bytes, int] = {}  # of the links, once they have been listed

    def __iter__(self) -> Iterator[str]:
        kinds: dict[bytes, int] = {}

        def note(name: bytes, info: h5l.LinkInfo) -> None:
            kinds[name] = info.type

        try:
            tracked = self.id.get_create_plist().get_link_creation_order() & h5p.CRT_ORDER_INDEXED
            order = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
            self.id.links.iterate(note, idx_type=order, info=True)
        except DAMAGE as error:
            raise damaged(self.source, error) from None
        self._kinds = kinds
        return iter([text_of(n) for n in kinds])

    def __len__(self) -> int:
        try:
            return int(self.id.get_num_objs())
        except DAMAGE as error:
            raise damaged(self.source, error) from None

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self.id.links.exists(bytes_of(name)))
        except DAMAGE as error:
            raise damaged(self.source, error) from None

    def link(self, name: str) -> Link | None:
        raw = bytes_of(name)
        try:
            kind = self.id.links.get_info(raw).type
            if kind == h5l.TYPE_HARD:
                return None
            if kind == h5l.TYPE_SOFT:
                return Link(text_of(self.id.links.get_val(raw)))
            if kind == h5l.TYPE_EXTERNAL:
                filename, path = self.id.links.get_val(raw)
                return Link(text_of(path), "external", os.fsdecode(filename))
        except DAMAGE as error:
            raise damaged(f"the link {self.source.rstrip('/')}/{name}", error) from None
        raise InputError(f"{self.source.rstrip('/')}/{name} is a user-defined link, which cannot be followed")

    def child(self, name: str, depth: int = 0) -> Node | None:
        raw = bytes_of(name)
        path = f"{self.path}/{name}" if self.path != "/" else f"/{name}"
        kind = self._kinds.get(raw)
        if kind is None:
            try:
                kind = self.id.links.get_info(raw).type
            except DAMAGE:
                if name in self:
                    raise InputError(f"{self.file.path}::{path}: its link is damaged") from None
                return None
        if kind == h5l.TYPE_HARD:
            return self._open(raw, path)
        link = self.link(name)
        assert link is not None
        where = f"{self.file.path}::{path}"
        if depth >= MAX_LINKS:
            raise InputError(f"{where}: more than {MAX_LINKS} links follow one another: a cycle")
        if link.kind == "external":
            file, target = self.file.external(link.filename, where), link.path
        else:
            file, target = self.file, link.path
        if not target.startswith("/"):
            target = f"{self.path.rstrip('/')}/{target}" if link.kind == "soft" else f"/{target}"
        return file.resolve(_normal(target), where, depth + 1)

    def _open(self, raw: bytes, path: str) -> Node | None:
        quick = opener()
        id = None if quick is None else quick.open(self.id, raw)
        if isinstance(id, Small):
            return SmallDataset(self.id, raw, id, path, self.file)
        try:
            id = h5o.open(self.id, raw) if id is None else id
        except DAMAGE as error:
            raise InputError(f"{self.file.path}::{path} cannot be opened: {last_reason(str(error))}") from None
        if isinstance(id, h5d.DatasetID):
            found = H5Dataset(id, path, self.file)
            if self.file.policy.allow_missing:
                check.past_gaps(found, self.id, raw)
            return found
        if isinstance(id, h5g.GroupID):
            return H5Group(id, path, self.file)
        return H5Type(id, path, self.file)

    @property
    def nx_class(self) -> str:
        try:
            for name in (b"NX_class", b"canSAS_class"):
                if h5a.exists(self.id, name):
                    value = attribute(h5a.open(self.id, name), self.file.id)
                    if isinstance(value, np.ndarray) and value.size == 1:
                        value = value.flat[0]
                    return value if isinstance(value, str) else ""
        except UnknownTypeError:
            return ""
        except DAMAGE as error:
            raise damaged(self.source, error) from None
        return ""


class H5Type(H5Node):
    """A named datatype."""

    __slots__ = ("file", "id", "path")

    def __init__(self, id: h5t.TypeID, path: str, file: H5File) -> None:
        self.id, self.path, self.file = id, path, file


def _normal(path: str) -> str:
    parts = [p for p in path.split("/") if p and p != "."]
    return "/" + "/".join(parts)
