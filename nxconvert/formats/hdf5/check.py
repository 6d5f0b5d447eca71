"""What must be true before a dataset's values are believed: its storage lies where it may, and nothing is missing.

HDF5 fills what a virtual dataset's sources lack with the fill value, and reads raw storage from any file that a
dataset names, both without a word. Here each source is looked at first.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from h5py import h5d

from nxconvert.errors import InputError, PolicyError

if TYPE_CHECKING:
    from nxconvert.formats.hdf5.read import H5Dataset

OWN_FILTERS = 255
"""HDF5's own filters have numbers up to this; the others are plugins."""


def readable(dataset: H5Dataset) -> None:
    """Check where the values of a dataset would come from.

    Raises
    ------
    PolicyError
        When raw storage or a source lies where the input may not reach.
    InputError
        When a source is missing.
    """
    if dataset.id.get_offset() is not None:
        return  # contiguous, in this very file
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if layout == h5d.CONTIGUOUS and plist.get_external_count():
        raw_storage(dataset, [plist.get_external(i)[0] for i in range(plist.get_external_count())])
    elif layout == h5d.VIRTUAL:
        register_filters()
        sources(dataset)
    elif layout == h5d.CHUNKED and any(plist.get_filter(i)[0] > OWN_FILTERS for i in range(plist.get_nfilters())):
        register_filters()


def register_filters() -> None:
    """Make the filters of hdf5plugin known to HDF5, if it is installed.

    HDF5 would look for them in folders that the environment names, and run what it finds there.
    """
    with contextlib.suppress(ImportError):
        import_module("hdf5plugin")


def raw_storage(dataset: H5Dataset, names: list[bytes]) -> None:
    """Refuse raw storage in other files unless it is allowed, and inside the bounds."""
    policy = dataset.file.policy
    for raw in names:
        name = raw.decode("utf-8", "surrogateescape")
        if not policy.allow_external_raw:
            raise PolicyError(
                f"{dataset.source}: its values lie as raw bytes in another file, {name}",
                "if you trust the file, add --allow-external-raw",
            )
        policy.check(Path(name), dataset.source, "raw storage")


def sources(dataset: H5Dataset) -> None:
    """Check that each source of a virtual dataset is there and may be read."""
    plist = dataset.id.get_create_plist()
    missing: list[str] = []
    for index in range(plist.get_virtual_count()):
        filename = plist.get_virtual_filename(index)
        path = plist.get_virtual_dsetname(index)
        where = f"{filename}::{path}"
        try:
            file = dataset.file if filename == "." else dataset.file.external(filename, dataset.source)
            file.resolve("/" + path.lstrip("/"), dataset.source)
        except InputError as error:
            missing.append(f"{where} ({error.message.rpartition(': ')[2]})")
    if not missing:
        return
    if dataset.file.policy.allow_missing:
        dataset.file.report.notice(f"{dataset.source}: missing sources are masked: {', '.join(missing)}")
        return
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    raise InputError(
        f"{dataset.source}: {len(missing)} of {plist.get_virtual_count()} sources are missing: {shown}",
        "bring them back, or add --allow-missing to go on without",
    )
