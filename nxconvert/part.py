"""What a location names in a tree: a group, a dataset, or a box of a dataset."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from typing import Any, cast

import numpy as np

from nxconvert.array import Box, Boxed
from nxconvert.errors import InputError, UsageError
from nxconvert.format import Report
from nxconvert.location import Location
from nxconvert.tree import Dataset, Group, NewGroup, Node


def part_of(root: Group, place: Location, report: Report) -> Node:
    """Return what a location names; a slice that reaches beyond the dataset is cut, with a notice.

    Raises
    ------
    InputError
        When there is nothing, a link on the way leads nowhere, or a slice lies outside of the dataset.
    UsageError
        When something else than a dataset has slices, or has too many.
    """
    try:
        node = root[place.inner]
    except KeyError:
        raise InputError(f"{place.file} has nothing at {place.inner}", _nearest(root, place.inner)) from None
    if place.box is None:
        return node
    if not isinstance(node, Dataset):
        raise UsageError(f"{place} is no dataset", "only a dataset has slices")
    box = place.slices(node.ndim) or ()
    for part, length in zip(box, node.shape, strict=False):
        start, stop, _ = part.indices(length)
        if length and start >= stop:
            raise InputError(f"{place} is empty", f"{place.file}::{place.inner} is {' x '.join(map(str, node.shape))}")
        if not -length <= (part.start or 0) <= length or not -length <= (part.stop or 0) <= length:
            report.notice(f"{place} reaches beyond the {length:,} that are there; {start}:{stop} is taken")
    return Part(node, box)


def subtree(root: Group, place: Location, report: Report) -> Group:
    """Return a tree of what a location names alone, at the same path: the groups above it keep their attributes.

    Raises
    ------
    InputError, UsageError
        As ``part_of`` has them.
    """
    node = part_of(root, place, report)
    parts = [p for p in place.inner.split("/") if p]
    top = here = NewGroup(attrs=root.attrs)
    above: Node = root
    for part in parts[:-1]:
        assert isinstance(above, Group)
        above = above[part]
        here = cast("NewGroup", here.add(part, NewGroup(attrs=above.attrs)))
    here.add(parts[-1], node)
    return top


def _nearest(root: Group, path: str) -> str:
    """Return a tip for a path that leads nowhere: the name nearest to the first part of it that is not there."""
    here: Node = root
    parts = [p for p in path.split("/") if p]
    for depth, part in enumerate(parts):
        if not isinstance(here, Group):
            break
        group = here
        try:
            here = group[part]
        except (KeyError, InputError):
            near = get_close_matches(part, list(group), 1)
            if near:
                return f"did you mean /{'/'.join([*parts[:depth], near[0], *parts[depth + 1 :]])}?"
            break
    return "'nxconvert ls FILE' shows what it has"


class Part(Dataset):
    """A box of a dataset, with the dataset's attributes."""

    __slots__ = ("_dataset", "_values", "path")

    def __init__(self, dataset: Dataset, box: Box) -> None:
        self._dataset, self._values, self.path = dataset, Boxed(dataset, box), dataset.path

    @property
    def attrs(self) -> Mapping[str, Any]:
        return self._dataset.attrs

    @property
    def identity(self) -> Hashable:
        return None

    @property
    def source(self) -> str:
        return self._dataset.source

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        return self._values.read(box)
