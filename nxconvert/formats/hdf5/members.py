"""HDF5 files of a series: the frames of the dataset that viewers plot, and the chunks that hold them.

Only a dataset of the file itself counts: chunked or contiguous, of rank 2 (one frame) or 3. Virtual datasets, those
whose values lie in other files, and files without images have no frames here.
"""

from __future__ import annotations

import json
import math
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from nxconvert.dissection import STORED, Content, Dissection, Frame, Piece
from nxconvert.encoders import RAW
from nxconvert.errors import InputError

_DEPTH = 8


def dissect(content: Content) -> Dissection:
    """Say where the frames of a file are.

    Returns
    -------
    Dissection
        No frames when the file has no image of its own.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    try:
        with h5py.File(content.name, "r", locking=False) as file:
            dataset = _image(file)
            if dataset is None:
                return Dissection(())
            shape = dataset.shape[-2:]
            rows = dataset.shape[0] if dataset.ndim == 3 else 1
            path = str(dataset.name)
            frames = [
                Frame(shape, dataset.dtype, (), _reader(content.name, path, row if dataset.ndim == 3 else None))
                for row in range(rows)
            ]
            return Dissection(frames, sorted(_pieces(dataset), key=lambda piece: piece.offset))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InputError(f"{content.name} is damaged: {' '.join(str(error).split())}") from None


def _image(file: h5py.File) -> h5py.Dataset | None:
    """Return the dataset that viewers plot, or the largest image when the file names none."""
    plotted = _plotted(file)
    if plotted is not None:
        return plotted
    found: list[h5py.Dataset] = []

    def look(name: str, node: Any) -> None:
        if name.count("/") < _DEPTH and isinstance(node, h5py.Dataset) and _is_image(node):
            found.append(node)

    file.visititems(look)
    return max(found, key=lambda d: d.size, default=None)


def _plotted(file: h5py.File) -> h5py.Dataset | None:
    group: Any = file
    for _ in range(_DEPTH):
        name = group.attrs.get("default")
        if not isinstance(name, str) or group.get(name, getlink=True).__class__ is not h5py.HardLink:
            break
        group = group[name]
    signal = group.attrs.get("signal") if isinstance(group, h5py.Group) else None
    if not isinstance(signal, str) or not isinstance(group.get(signal, getlink=True), h5py.HardLink):
        return None
    node = group[signal]
    return node if isinstance(node, h5py.Dataset) and _is_image(node) else None


def _is_image(node: h5py.Dataset) -> bool:
    """Tell whether a dataset is a stack of images whose values are in this very file."""
    ranks = (2, 3) if node.shape and 0 not in node.shape and min(node.shape[-2:]) > 1 else ()
    if node.ndim not in ranks or node.dtype.kind not in "iuf" or node.dtype.metadata:
        return False
    plist = node.id.get_create_plist()
    return plist.get_layout() in (h5d.CHUNKED, h5d.CONTIGUOUS) and not plist.get_external_count()


def _reader(file: str, path: str, row: int | None) -> Any:
    def read() -> np.ndarray[Any, Any]:
        try:
            import hdf5plugin  # noqa: F401 - registers filters

            with h5py.File(file, "r", locking=False) as opened:
                values: np.ndarray[Any, Any] = opened[path][() if row is None else row]
                return values
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise InputError(f"{file}: {path} cannot be read: {' '.join(str(error).split())}") from None

    return read


def _pieces(dataset: h5py.Dataset) -> list[Piece]:
    """Return the runs of bytes of the file that are a frame or a box of one, encoded by filters or not."""
    shape = dataset.shape[-2:]
    plist = dataset.id.get_create_plist()
    if plist.get_layout() == h5d.CONTIGUOUS:
        start, size = dataset.id.get_offset(), math.prod(shape) * dataset.dtype.itemsize
        rows = dataset.shape[0] if dataset.ndim == 3 else 1
        return [] if start is None else [Piece(start + i * size, size, i) for i in range(rows)]
    chunk = dataset.chunks[-2:]
    if dataset.ndim == 3 and dataset.chunks[0] != 1:
        return []
    filters = [[plist.get_filter(i)[0], [int(p) for p in plist.get_filter(i)[2]]] for i in range(plist.get_nfilters())]
    parameters = (json.dumps(filters),)
    found: list[Piece] = []

    def add(info: Any) -> None:
        corner = info.chunk_offset[-2:]
        frame = int(info.chunk_offset[0]) if dataset.ndim == 3 else 0
        inside = all(o + c <= n for o, c, n in zip(corner, chunk, shape, strict=True))
        if info.filter_mask or not inside:
            return
        box = tuple((int(o), int(o + c)) for o, c in zip(corner, chunk, strict=True))
        where = (int(info.byte_offset), int(info.size), frame, None if chunk == shape else box)
        found.append(Piece(*where, STORED, parameters) if filters else Piece(*where, RAW))

    dataset.id.chunk_iter(add)
    return found
