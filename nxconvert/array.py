"""Lazy arrays: values that are read by box, and say how they are stored.

The dtype of an array is a numpy dtype. What numpy lacks is told by the dtype's metadata, with the keys that
h5py uses too: ``vlen`` (``str`` for text of any length), ``enum`` (a dict of names) and ``ref``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError

Box = tuple[slice, ...]

TEXT = np.dtype(object, metadata={"vlen": str})
"""The dtype of text of any length: each item is a ``str``."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored chunk: the index of its first element, its size in bytes and the mask of filters it skipped."""

    offset: tuple[int, ...]
    size: int
    mask: int = 0


@dataclass(frozen=True)
class Storage:
    """How values lie in their file, so that they can move to a like place without being decoded.

    Attributes
    ----------
    chunks
        Shape of a chunk; the shape of the array itself when it is one contiguous piece.
    filters
        The HDF5 filter pipeline as ``(id, parameters)`` pairs, in writing order; other formats use the same ids.
    list_chunks
        Yields the chunks that exist; missing ones are filled with the fill value.
    read_chunk
        Raw bytes of the chunk at an offset.
    """

    chunks: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...] = ()
    list_chunks: Callable[[], Iterator[Chunk]] = field(default=lambda: iter(()), repr=False)
    read_chunk: Callable[[tuple[int, ...]], bytes] = field(default=lambda offset: b"", repr=False)


@dataclass(frozen=True)
class Places:
    """Where the items of an array lie in a file, one for each index of its first dimension.

    What moves items as they are, or works on many at once, takes them from there: it waits neither for the library that
    reads the file nor for memory.

    Attributes
    ----------
    handle
        Number of the open file; it stays open as long as the array's source.
    offsets, sizes
        First byte and number of bytes of each item, int64. At a size of 0 nothing is stored, and all its elements are
        ``fill``; else, at an offset of -1, it has to be read through the array.
    fill
        An array of rank 0.
    decode
        ``decode(buffer, size, out)`` makes an item, which ``out`` receives, of the first ``size`` bytes of a buffer,
        and tells whether it could. It may be called from many threads. None: the bytes are the item.
    room
        Bytes that the buffer must have.
    """

    handle: int
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]
    fill: np.ndarray[Any, Any]
    decode: Callable[[Any, int, Any], bool] | None = None
    room: int = 0


class Array(ABC):
    """Values of a known dtype and shape that are read on demand."""

    __slots__ = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions; ``()`` is a scalar."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of one element, see the module's text."""

    @abstractmethod
    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        """Return the values in a box of plain slices (step 1), or all of them.

        Parameters
        ----------
        box
            One slice for each of the first dimensions; the others are read whole.

        Returns
        -------
        numpy.ndarray
            Always an array, of rank 0 for a scalar. It may be the caller's to keep but not to change.
        """

    @property
    def storage(self) -> Storage | None:
        """How the values are stored, or None when they can only be read."""
        return None

    def places(self) -> Places | None:
        """Return where the items lie in a file, or None when they can only be read."""
        return None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Read like a numpy array: ``a[()]``, ``a[3]``, ``a[2:5, :, 0]``. Text comes as ``str``."""
        values = self._at(key)
        if not is_text(self.dtype):
            return values
        return decode(values) if isinstance(values, np.ndarray) else _decoded(values)

    def _at(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if any(not isinstance(k, int | np.integer | slice) for k in keys):
            return self.read()[key]
        box: list[slice] = []
        rest: list[Any] = []
        if len(keys) > self.ndim:
            raise IndexError(f"{len(keys)} indices for an array of {self.ndim} dimensions")
        for k, n in zip(keys, self.shape, strict=False):
            if isinstance(k, slice):
                start, stop, step = k.indices(n)
                if step < 1:
                    return self.read()[key]
                box.append(slice(start, max(start, stop)))
                rest.append(slice(None, None, step))
            else:
                k = int(k) + n if k < 0 else int(k)
                if not 0 <= k < n:
                    raise IndexError(f"index {k} is out of range for {n} items")
                box.append(slice(k, k + 1))
                rest.append(0)
        return self.read(tuple(box))[tuple(rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {type_name(self.dtype)}>"


class Values(Array):
    """An array that is already in memory."""

    __slots__ = ("_values",)

    def __init__(self, values: Any, dtype: np.dtype[Any] | None = None) -> None:
        self._values: np.ndarray[Any, Any] = as_array(values, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._values.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._values.dtype
        return dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        return self._values if not box else self._values[box]


class Lazy(Array):
    """An array whose values come from a function of a box."""

    __slots__ = ("_dtype", "_read", "_shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[[Box], np.ndarray[Any, Any]],
    ) -> None:
        self._shape, self._dtype, self._read = shape, dtype, read

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        return self._read(full_box(box, self._shape))


class Boxed(Array):
    """A box of another array."""

    __slots__ = ("_array", "_box")

    def __init__(self, array: Array, box: Box) -> None:
        self._array, self._box = array, full_box(box, array.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(max(0, s.stop - s.start) for s in self._box)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        inside = full_box(box, self.shape)
        return self._array.read(
            tuple(
                slice(o.start + i.start, o.start + max(i.start, i.stop)) for o, i in zip(self._box, inside, strict=True)
            )
        )

    def places(self) -> Places | None:
        rows, whole = self._box[:1], self.shape[1:] == self._array.shape[1:]
        found = self._array.places() if rows and whole else None
        return found and replace(found, offsets=found.offsets[rows[0]], sizes=found.sizes[rows[0]])


class Member(Array):
    """One member of an array of compounds."""

    __slots__ = ("_array", "_name")

    def __init__(self, array: Array, name: str) -> None:
        self._array, self._name = array, name

    @property
    def shape(self) -> tuple[int, ...]:
        dtype = self._array.dtype[self._name]
        return (*self._array.shape, *dtype.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype[self._name].base

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        box = full_box(box, self.shape)
        outer = len(self._array.shape)
        values: np.ndarray[Any, Any] = self._array.read(box[:outer])[self._name]
        return values[(slice(None),) * outer + box[outer:]]


def full_box(box: Box | None, shape: tuple[int, ...]) -> Box:
    """Complete a box with whole dimensions and clip it to a shape."""
    box = box or ()
    return tuple(slice(*s.indices(n)) for s, n in zip(box, shape, strict=False)) + tuple(
        slice(0, n) for n in shape[len(box) :]
    )


def as_array(values: Any, dtype: np.dtype[Any] | None = None) -> np.ndarray[Any, Any]:
    """Make an array of ``values``; text becomes items of type ``str`` with the dtype ``TEXT``."""
    if dtype is None and isinstance(values, np.ndarray):
        dtype = values.dtype
        if dtype.kind != "U" and not (dtype == object and dtype.metadata is None):
            return values
    array = np.asarray(values)
    if dtype is None or (dtype.metadata is None and dtype.kind in "UO"):
        text = array.dtype.kind == "U" or (array.dtype == object and all(isinstance(v, str) for v in array.flat))
        dtype = TEXT if text else array.dtype
    if dtype.kind == "O":
        out = np.empty(array.shape, dtype=dtype)
        out[...] = array.astype(object)
        return out
    return array if array.dtype is dtype else _with_dtype(array, dtype)


def _with_dtype(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Cast, and keep the dtype's metadata, which numpy drops when the types are equal."""
    out = np.empty(array.shape, dtype=dtype)
    out[...] = array
    return out


def is_text(dtype: np.dtype[Any]) -> bool:
    """Tell whether the items are text: of any length, or bytes of a fixed length."""
    return dtype.kind in "SU" or (dtype.metadata is not None and dtype.metadata.get("vlen") in (str, bytes))


def is_number(dtype: np.dtype[Any]) -> bool:
    """Tell whether the items are real numbers or booleans, enumerations included."""
    return dtype.kind in "biuf"


def enum_of(dtype: np.dtype[Any]) -> Mapping[str, int] | None:
    """Return the names of an enumeration, or None."""
    return dtype.metadata.get("enum") if dtype.metadata else None


def type_name(dtype: np.dtype[Any]) -> str:
    """Name a dtype in a way that ``named_type`` reads back: ``float64``, ``S8``, ``str``, ``enum(int8){"on": 1}``."""
    if dtype.metadata is None and dtype.kind in "biufc":
        return _NUMBERS.get(dtype) or _NUMBERS.setdefault(dtype, dtype.name if dtype.isnative else dtype.str)
    metadata: Mapping[str, Any] = dtype.metadata or {}
    if "vlen" in metadata:
        vlen = metadata["vlen"]
        if vlen is str:
            return "str"
        return "bytes" if vlen is bytes else f"vlen({type_name(np.dtype(vlen))})"
    if "enum" in metadata:
        import json

        return f"enum({dtype.str}){json.dumps(dict(sorted(metadata['enum'].items(), key=lambda m: (m[1], m[0]))))}"
    if "ref" in metadata:
        return "reference"
    if dtype.names is not None:
        return "compound(" + ", ".join(f"{n}: {type_name(dtype[n])}" for n in dtype.names) + ")"
    if dtype.subdtype is not None:
        return f"{type_name(dtype.subdtype[0])}{list(dtype.subdtype[1])}"
    if dtype.metadata and "h5py_encoding" in dtype.metadata:
        return f"{dtype.str.lstrip('|')}:{dtype.metadata['h5py_encoding']}"
    if dtype.kind in "biufc" and dtype.isnative:
        return dtype.name
    return dtype.str.lstrip("|")


_NUMBERS: dict[np.dtype[Any], str] = {}
"""Names of types of numbers, which numpy takes its time to make."""


def named_type(name: str) -> np.dtype[Any]:
    """Return the dtype that ``type_name`` named.

    Raises
    ------
    InputError
        When the name is not one that a text file can say: compounds, references and arrays.
    """
    if name == "str":
        return TEXT
    if name == "bytes":
        return np.dtype(object, metadata={"vlen": bytes})
    base, _, encoding = name.partition(":")
    try:
        if name.startswith("enum("):
            import json

            base, _, names = name[5:].partition(")")
            return np.dtype(base, metadata={"enum": json.loads(names)})
        dtype = np.dtype(base)
    except (TypeError, ValueError, SyntaxError):  # numpy has all of them for names that are damaged
        raise InputError(f"unknown data type {name!r}", "use a numpy name such as float64, int32 or str") from None
    return np.dtype(dtype, metadata={"h5py_encoding": encoding}) if encoding else dtype


def _decoded(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def is_masked(values: np.ndarray[Any, Any]) -> bool:
    """Tell whether an array has a mask; numpy.ma itself is slow to load, and rarely needed."""
    return type(values) is not np.ndarray


def decode(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn an array of bytes or text into one of ``str``; bytes that are not UTF-8 are kept by surrogate escapes."""
    if values.dtype.kind == "U":
        return values.astype(object)
    out = np.empty(values.shape, dtype=object)
    if values.ndim:
        out.ravel()[:] = [_decoded(v) for v in values.flat]
    else:
        out[()] = _decoded(values[()])
    return out
