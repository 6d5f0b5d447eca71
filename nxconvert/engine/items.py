"""Items of an array, taken from where they lie in their file: what one thread does for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nxconvert.array import Array, Places
from nxconvert.engine import disk
from nxconvert.engine.codecs import keep_memory
from nxconvert.errors import InputError

Values = np.ndarray[Any, Any]


class Items:
    """The items of an array, for any thread.

    Parameters
    ----------
    values
        The array.
    places
        Where its items lie.
    source
        What it is called in messages.
    """

    def __init__(self, values: Array, places: Places, source: str) -> None:
        self.values, self.places, self.source = values, places, source
        self.shape, self.dtype = values.shape[1:], values.dtype
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        self.zero_gaps = not places.fill.tobytes().strip(b"\0")
        self._free: list[tuple[Values, Values]] = []
        keep_memory()

    @contextmanager
    def item(self, i: int) -> Iterator[Values]:
        """Give an item for a while: its memory is used again afterwards.

        Raises
        ------
        InputError
            When it cannot be read.
        """
        try:  # memory that was in use a moment ago is in the processor's cache, new memory has to be cleared first
            buffer, out = self._free.pop()
        except IndexError:
            buffer, out = np.empty(self.places.room, np.uint8), np.empty(self.shape, self.dtype)
        yield out if self._taken(i, buffer, out) else self.values.read((slice(i, i + 1),))[0]
        self._free.append((buffer, out))

    def move(self, i: int, handle: int, to: int) -> None:
        """Write an item's bytes into a file; one of zeros that is not stored becomes a hole.

        Parameters
        ----------
        handle
            The file, open for writing; it has no bytes beyond ``to``, or zeros.
        to
            Where the item goes.

        Raises
        ------
        InputError
            When the item cannot be read.
        OSError
            When the file cannot be written.
        """
        offset, size = int(self.places.offsets[i]), int(self.places.sizes[i])
        if not size and self.zero_gaps:
            return
        if size and offset >= 0 and self.places.decode is None:
            if disk.copy(self.places.handle, offset, handle, to, size) < size:
                raise self._short(i)
            return
        with self.item(i) as values:
            disk.write_at(handle, to, np.ascontiguousarray(values).reshape(-1).view(np.uint8))

    def _taken(self, i: int, buffer: Values, out: Values) -> bool:
        """Take an item from its place; return False when it must be read through the array, which knows more."""
        places, offset, size = self.places, int(self.places.offsets[i]), int(self.places.sizes[i])
        if not size:
            out[...] = places.fill
            return True
        if offset < 0 or (places.decode is not None and size > places.room):
            return False
        target = buffer[:size] if places.decode is not None else out.reshape(-1).view(np.uint8)
        try:
            done = disk.read_at(places.handle, offset, target)
        except OSError as error:
            raise InputError(f"{self.source} cannot be read: {error.strerror}") from None
        if done < size:
            raise self._short(i)
        return places.decode is None or places.decode(buffer, size, out)

    def _short(self, i: int) -> InputError:
        return InputError(f"{self.source}: its file ends within item {i}", "copy it again from its source")
