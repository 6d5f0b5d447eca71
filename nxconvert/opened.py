"""Files that are open for reading, as ``nxconvert.open`` gives them: a tree, a dataset, or records."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from nxconvert.array import Box, Storage
from nxconvert.conversion import AUTO, Plan, as_records
from nxconvert.errors import NxconvertError
from nxconvert.format import Records, Report, Source, Tree
from nxconvert.location import Location
from nxconvert.record import Record
from nxconvert.tree import Dataset, Group, Link, Node


class TreeFile(Group, Source):
    """An open file that holds a tree; a mapping like ``h5py.File``, and a context manager.

    ``file["1.1/title"]`` starts where the file was opened, ``file["/1.1/title"]`` at its root.

    Attributes
    ----------
    attrs
        Attributes of the group: text as ``str``, numbers as numpy has them.
    report
        Warnings and losses of what was read so far.
    """

    def __init__(self, tree: Tree, group: Group, place: Location, plan: Plan, report: Report) -> None:
        self._tree, self._group, self._place, self._plan = tree, group, place, plan
        self.path = group.path
        self.report = report

    def __getitem__(self, path: str) -> Node:
        return self._tree.root[path] if path.startswith("/") else self._group[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._group)

    def __len__(self) -> int:
        return len(self._group)

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        try:
            self[path]
        except (KeyError, NxconvertError):
            return False
        return True

    @property
    def attrs(self) -> Mapping[str, Any]:
        return self._group.attrs

    @property
    def identity(self) -> Hashable:
        return self._group.identity

    @property
    def source(self) -> str:
        return self._group.source

    def child(self, name: str) -> Node | None:
        return self._group.child(name)

    def link(self, name: str) -> Link | None:
        return self._group.link(name)

    def records(self, mapping: str = AUTO) -> RecordFile:
        """Look at the tree as records.

        Parameters
        ----------
        mapping
            ``auto``, the name of a shipped mapping (``bliss``, ``nxdata``, ``records``), or a mapping file.

        Returns
        -------
        RecordFile
            The scans, tables and stacks that the mapping sees; they are read from this file, as long as it is open.

        Raises
        ------
        InputError
            When no mapping fits.
        """
        plan = Plan(mapping=mapping, policy=self._plan.policy)
        return RecordFile(as_records(_Kept(self._tree), self._place, plan, self.report), self.report)

    def close(self) -> None:
        self._tree.close()


class _Kept(Tree):
    """A tree that stays open when its records are closed."""

    def __init__(self, tree: Tree) -> None:
        self.root = tree.root


class DatasetFile(Dataset, Source):
    """An open dataset of a file, or a box of one; an array like ``h5py.Dataset``, and a context manager."""

    def __init__(self, tree: Tree, dataset: Dataset, report: Report) -> None:
        self._tree, self._dataset = tree, dataset
        self.path = dataset.path
        self.report = report

    @property
    def attrs(self) -> Mapping[str, Any]:
        return self._dataset.attrs

    @property
    def identity(self) -> Hashable:
        return self._dataset.identity

    @property
    def source(self) -> str:
        return self._dataset.source

    @property
    def shape(self) -> tuple[int, ...]:
        return self._dataset.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dataset.dtype

    @property
    def storage(self) -> Storage | None:
        return self._dataset.storage

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        return self._dataset.read(box)

    def close(self) -> None:
        self._tree.close()


class RecordFile(Records):
    """The records of an open file, in order; a context manager.

    ``records["1.1"]`` is the record of that name, ``records[0]`` the first, ``records.keys()`` their keys.
    """

    def __init__(self, records: Records, report: Report) -> None:
        self._records = records
        self.report = report

    def __iter__(self) -> Iterator[Record]:
        """Yield the records; those that cannot be made raise their error when the others are done."""
        failures = len(self.report.failed)
        yield from self._records
        for _, error in self.report.failed[failures:]:
            raise error

    def __len__(self) -> int:
        return len(self.keys())

    def __getitem__(self, which: str | int) -> Record:
        names = ["_".join(key.values()) for key in self.keys()]
        if isinstance(which, str) and which not in names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise KeyError(f"there is no record {which!r}; there are {shown}")
        number = names.index(which) if isinstance(which, str) else range(len(names))[which]
        failures = len(self.report.failed)
        found = next(iter(self._records.some({number})), None)
        for _, error in self.report.failed[failures:]:
            raise error
        if found is None:
            raise KeyError(f"the record {which!r} holds nothing")
        return found

    def keys(self) -> list[Mapping[str, str]]:
        return self._records.keys()

    def close(self) -> None:
        self._records.close()
