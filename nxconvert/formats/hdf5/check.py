"""What must be true before a dataset's values are believed: its storage lies where it may, and nothing is missing.

HDF5 fills what a virtual dataset's sources lack with the fill value, and reads raw storage from any file that a
dataset names, both without a word. Here each source is looked at first.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Hashable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from h5py import h5d, h5g, h5i, h5p, h5s

from nxconvert.errors import InputError, PolicyError
from nxconvert.tree import Group

if TYPE_CHECKING:
    from nxconvert.formats.hdf5.dataset import H5Dataset

OWN_FILTERS = 255
"""HDF5's own filters have numbers up to this; the others are plugins."""

BITSHUFFLE = 32008
SOURCE = "virtual dataset source"
_BLOCK = re.compile(r"%%|%\d*b")

FURTHEST = 1000
"""How many numbered sources may be missing one after the other."""


def readable(dataset: H5Dataset) -> None:
    """Check where the values of a dataset would come from.

    Raises
    ------
    PolicyError
        When raw storage or a source lies where the input may not reach.
    InputError
        When a source is missing, or a virtual dataset is made of itself.
    """
    if dataset.id.get_offset() is not None:
        return  # contiguous, in this very file
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout == h5d.CONTIGUOUS and plist.get_external_count():
        raw_storage(dataset)
    elif layout == h5d.VIRTUAL:
        register_filters()
        sources(dataset)
    elif layout == h5d.CHUNKED:
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        dataset.foreign = any(number > OWN_FILTERS for number in filters)
        if filters == [BITSHUFFLE]:
            dataset.fragile = plist.get_filter(0)[2][4:5] not in ((), (0,))


def register_filters() -> None:
    """Make the filters of hdf5plugin known to HDF5, if it is installed.

    HDF5 would look for them in folders that the environment names, and run what it finds there.
    """
    with contextlib.suppress(ImportError):
        import_module("hdf5plugin")


def raw_storage(dataset: H5Dataset) -> None:
    """Check raw storage in other files: it must be allowed, inside the bounds, and there in full.

    HDF5 takes relative names from the working directory, or the folder that ``HDF5_EXTFILE_PREFIX`` names, and fills
    what a file is too short for.
    """
    plist = dataset.id.get_create_plist()
    policy = dataset.file.policy
    left = dataset.size * int(dataset.id.get_type().get_size())
    for index in range(plist.get_external_count()):
        raw, offset, size = plist.get_external(index)
        name = os.fsdecode(raw)
        if not policy.allow_external_raw:
            raise PolicyError(
                f"{dataset.source}: its values lie as raw bytes in another file, {name}",
                "if you trust the file, add --allow-external-raw",
            )
        path = _raw_path(name, dataset)
        policy.check(path, dataset.source, "raw storage")
        used = left if size == h5s.UNLIMITED else min(left, int(size))
        if not path.is_file():
            raise InputError(f"{dataset.source}: its raw storage {path} is missing", "HDF5 looks for it there")
        if path.stat().st_size < offset + used:
            raise InputError(f"{dataset.source}: its raw storage {path} is shorter than {offset + used:,} bytes")
        left -= used


def _raw_path(name: str, dataset: H5Dataset) -> Path:
    """Return the file that HDF5 would open."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    if prefix.startswith("${ORIGIN}"):
        prefix = str(dataset.file.path.parent) + prefix.removeprefix("${ORIGIN}")
    return Path(prefix, name)


def sources(dataset: H5Dataset) -> None:
    """Check that each source of a virtual dataset is there, is large enough and may be read.

    Raises
    ------
    PolicyError
        When a source lies out of bounds, even where missing ones are allowed.
    InputError
        When sources are missing, which are named, and ``allow_missing`` is not set; when it is made of itself.
    """
    missing, total = missing_sources(dataset)
    if not missing:
        return
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    if dataset.file.policy.allow_missing:
        dataset.file.report.notice(
            f"{dataset.source}: {len(missing)} of {total} sources are missing and read as fill values: {shown}"
        )
        return
    raise InputError(
        f"{dataset.source}: {len(missing)} of {total} sources are missing: {shown}",
        "bring them back, or add --allow-missing to go on without",
    )


def missing_sources(dataset: H5Dataset) -> tuple[list[str], int]:
    """Name the sources of a virtual dataset, and of those that are virtual themselves, that are missing or too small.

    Returns
    -------
    list of str, int
        The missing ones, and how many sources there are.

    Raises
    ------
    PolicyError
        When a source lies out of bounds.
    InputError
        When the dataset is made of itself.
    """
    missing: list[str] = []
    return missing, _sources(dataset, (), missing)


def _sources(dataset: H5Dataset, within: tuple[Hashable, ...], missing: list[str]) -> int:
    """Look at the sources of a virtual dataset and at theirs; return how many there are.

    Parameters
    ----------
    within
        The virtual datasets that this one is a source of.
    missing
        Receives the names of what is missing.
    """
    identity = (os.path.realpath(dataset.file.path), dataset.identity)
    if identity in within:
        raise InputError(f"{dataset.source} is a virtual dataset made of itself")
    within = (*within, identity)
    plist = dataset.id.get_create_plist()
    total = 0
    for index in range(plist.get_virtual_count()):
        space = plist.get_virtual_vspace(index)
        part = plist.get_virtual_srcspace(index)
        names = (plist.get_virtual_filename(index), plist.get_virtual_dsetname(index))
        for filename, path in _numbered(names, space, dataset):
            total += 1
            where = f"{filename}::{path}"
            try:
                source = _source(dataset, filename, path)
                wrong = _too_small(source, part, space)
            except InputError as error:
                wrong = error.message.rpartition(": ")[2]
                source = None
            if wrong:
                missing.append(f"{where} ({wrong})")
            if source is None:
                continue
            plist_of = source.id.get_create_plist()
            if plist_of.get_layout() == h5d.VIRTUAL:
                _sources(source, within, missing)
            elif plist_of.get_external_count():
                raw_storage(source)
    return total


def _source(dataset: H5Dataset, filename: str, path: str) -> H5Dataset:
    """Open a source, by the names that HDF5 would use."""
    from nxconvert.formats.hdf5.dataset import H5Dataset

    file = dataset.file if filename == "." else dataset.file.external(filename, dataset.source, SOURCE)
    node = file.resolve("/" + path.lstrip("/"), dataset.source)
    if not isinstance(node, H5Dataset):
        raise InputError(f"{dataset.source}: no dataset")
    return node


def _numbered(names: tuple[str, str], space: h5s.SpaceID, dataset: H5Dataset) -> Iterator[tuple[str, str]]:
    """Yield the names of the sources of one mapping: where it has no end, ``%b`` stands for the number of a block.

    HDF5 takes the first block that is missing for the end. So blocks are counted as far as the dataset reaches, and on
    to the last that is on disk; where there is none at all, the first is missing.
    """
    if not any(_BLOCK.search(name) for name in names):
        yield names
        return
    blocks = 1
    if space.get_select_type() == h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        start, stride, count, _ = space.get_regular_hyperslab()
        for n, first, step, many in zip(dataset.shape, start, stride, count, strict=True):
            if many == h5s.UNLIMITED:
                blocks = max(1, -(-(n - int(first)) // int(step)))
                blocks = max(blocks, min(_last_block(names, dataset), blocks + FURTHEST) + 1)
    for block in range(blocks):
        yield _of_block(names[0], block), _of_block(names[1], block)


def _last_block(names: tuple[str, str], dataset: H5Dataset) -> int:
    """Return the highest number of a block that is there, -1 when none is."""
    filename, path = names
    if _BLOCK.search(filename):
        place = dataset.file.path.parent / filename
        there = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        wanted = place.name
    else:
        above, _, wanted = path.strip("/").rpartition("/")
        try:
            file = dataset.file if filename == "." else dataset.file.external(filename, dataset.source, SOURCE)
            group = file.resolve(f"/{above}", dataset.source)
        except InputError:
            return -1  # each block is missing
        there = list(group) if isinstance(group, Group) else []
    parts = re.split(f"({_BLOCK.pattern})", wanted)
    number = r"(\d+)"
    pattern = "".join("%" if p == "%%" else number if _BLOCK.fullmatch(p) else re.escape(p) for p in parts)
    matches = (re.fullmatch(pattern, name) for name in there)
    return max((int(found[1]) for found in matches if found and len(set(found.groups())) == 1), default=-1)


def past_gaps(dataset: H5Dataset, group: h5g.GroupID, name: bytes) -> None:
    """Let a virtual dataset reach over numbered sources that are missing to those that are there.

    Parameters
    ----------
    dataset
        The dataset, which is opened again: how far it reaches is found when it is opened first.
    group, name
        Where it is.
    """
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5d.VIRTUAL:
        return
    last = -1
    for index in range(plist.get_virtual_count()):
        names = (plist.get_virtual_filename(index), plist.get_virtual_dsetname(index))
        if any(_BLOCK.search(n) for n in names):
            last = max(last, _last_block(names, dataset))
    if last > 0:
        access = h5p.create(h5p.DATASET_ACCESS)
        access.set_virtual_printf_gap(min(last, FURTHEST))
        h5i.dec_ref(dataset.id)
        dataset.id = h5d.open(group, name, access)


def _of_block(name: str, block: int) -> str:
    return _BLOCK.sub(lambda found: "%" if found[0] == "%%" else str(block), name)


def _too_small(source: H5Dataset, part: h5s.SpaceID, space: h5s.SpaceID) -> str:
    """Say why a source cannot fill its place, if so.

    Parameters
    ----------
    part
        What of the source is mapped.
    space
        Where to.
    """
    shape = source.shape
    if part.get_select_type() == h5s.SEL_ALL:
        bounds = part.shape
        if not bounds and not _endless(space) and source.size < space.get_select_npoints():
            return f"its shape is {shape}, too small"
    elif _endless(part):
        return ""
    else:
        bounds = tuple(int(n) + 1 for n in part.get_select_bounds()[1])
    if bounds and (len(bounds) != len(shape) or any(n > m for n, m in zip(bounds, shape, strict=True))):
        return f"its shape is {shape}, smaller than {bounds}"
    return ""


def _endless(space: h5s.SpaceID) -> bool:
    """Tell whether a selection goes on as far as its dataset does."""
    if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return False
    _, _, count, block = space.get_regular_hyperslab()
    return h5s.UNLIMITED in (*count, *block)
