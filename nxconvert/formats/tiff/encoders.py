"""What strips and tiles of TIFF are encoded with and can be encoded with again: LZW, PackBits, deflate, packed bits.

The parameters of the first three begin with the predictor (1 none, 2 horizontal, 3 floating point) and the axis that
it runs along, counted from the last: 1, or 2 where the samples of a pixel are the last. ``guess`` adds the way in
which the bytes were made. When the parameters that it gets have one, as those of the piece before, it tries that first.

Facts: TIFF 6.0, sections 9, 13 and 14; Adobe's technical note 3 on the floating point predictor; RFC 1950 and 1951;
when libtiff clears its table and how it joins runs: tif_lzw.c and tif_packbits.c.
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from nxconvert.encoders import Encoder, Parameters, Values, encoder
from nxconvert.formats.tiff.libtiff import lzw, packbits, same_lzw

_NONE, _HORIZONTAL, _FLOAT = 1, 2, 3
_LEVELS: dict[int, dict[str, tuple[int, ...]]] = {
    0: {"zlib": (1,), "libdeflate": (1,), "zlib-ng": (1,)},
    1: {"zlib": (5, 4, 3, 2), "libdeflate": (5, 4, 3, 2), "zlib-ng": (2, 3, 4, 5)},
    2: {"zlib": (6,), "libdeflate": (6, 7), "zlib-ng": (6,)},
    3: {"zlib": (9, 8, 7), "libdeflate": (9, 8, 12), "zlib-ng": (9, 7, 8)},
}
"""Levels of deflate by the class that the second byte of a stream states."""


class _Packed(Encoder):
    """A compression of bytes, after a predictor."""

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        n = math.prod(shape) * dtype.itemsize
        try:
            data = self.unpacked(raw, n)
        except (RuntimeError, zlib.error) as error:  # what imagecodecs raises, and zlib
            raise ValueError(str(error)) from None
        if len(data) < n:
            raise ValueError(f"{len(data):,} bytes for {n:,}")
        # what some writers put behind the last row is no part of the image
        return _restored(np.frombuffer(data, np.uint8, n), shape, dtype, parameters)

    def encode(self, values: Values, parameters: Parameters) -> Any:
        return self.packed(*_predicted(values, parameters), parameters[2:])

    def guess(self, raw: memoryview, values: Values, parameters: Parameters) -> Parameters | None:
        data, row = _predicted(values, parameters)
        likely = [parameters[2:]] if len(parameters) > 2 else []
        for way in [*likely, *(w for w in self.ways(raw) if w not in likely)]:
            if self.made(raw, data, row, way):
                return (*parameters[:2], *way)
        return None

    def made(self, raw: memoryview, data: memoryview, row: int, way: Parameters) -> bool:
        """Tell whether some bytes were made in one of the ways."""
        return bool(memoryview(self.packed(data, row, way)) == raw)

    @abstractmethod
    def unpacked(self, raw: memoryview, n: int) -> Any:
        """Return the bytes that are encoded, at least the first ``n`` when there are as many."""

    @abstractmethod
    def packed(self, data: Any, row: int, way: Parameters) -> Any:
        """Return bytes, of rows of some length, encoded in one of the ways."""

    @abstractmethod
    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        """Yield the ways in which some bytes may have been encoded, likely ones first."""


def _restored(data: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: np.dtype[Any], how: Parameters) -> Values:
    """Undo a predictor."""
    if how[0] == _NONE:
        return data.view(dtype).reshape(shape)
    axis, native = -int(how[1]), dtype.newbyteorder("=")
    if how[0] == _FLOAT:
        import imagecodecs

        made: Values = imagecodecs.floatpred_decode(data.view(native).reshape(shape), axis=axis)
        return np.ascontiguousarray(made, dtype)
    steps = data.view(dtype).reshape(shape).astype(native)
    return np.cumsum(steps, axis=axis, dtype=native, out=steps).astype(dtype, copy=False)


def _predicted(values: Values, how: Parameters) -> tuple[memoryview, int]:
    """Return the bytes that are compressed, and how many are a row."""
    axis = -int(how[1])
    row = values.nbytes // math.prod(values.shape[:axis])
    stored = np.ascontiguousarray(values)
    if how[0] == _FLOAT:
        import imagecodecs

        native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        stored = np.ascontiguousarray(imagecodecs.floatpred_encode(native, axis=axis))
    elif how[0] == _HORIZONTAL:
        native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        rest = (slice(None),) * (-axis - 1)
        later: Any = (..., slice(1, None), *rest)
        before: Any = (..., slice(-1), *rest)
        steps = native.copy()
        np.subtract(native[later], native[before], out=steps[later])
        stored = steps.astype(stored.dtype, copy=False)
    return stored.reshape(-1).view(np.uint8).data, row


class Deflate(_Packed):
    """Streams of zlib; a way is the library and its level. Another version of it may make other bytes."""

    lasting = False

    _FIRST = 2 << 20
    """Of the data, so many bytes show whether a library that cannot work piece by piece made the stream."""

    def unpacked(self, raw: memoryview, n: int) -> Any:
        return zlib.decompressobj().decompress(raw, n)

    def packed(self, data: Any, row: int, way: Parameters) -> Any:
        library, level = way
        if library == "zlib":
            return zlib.compress(data, int(level))
        import imagecodecs

        if library == "libdeflate":
            return imagecodecs.deflate_encode(data, int(level))
        if library == "zlib-ng" and imagecodecs.ZLIBNG.available:
            return imagecodecs.zlibng_encode(data, int(level))
        raise ValueError(f"there is no library {library!r} here to make a deflate stream again")

    def made(self, raw: memoryview, data: memoryview, row: int, way: Parameters) -> bool:
        if way[0] == "zlib":
            return _by_zlib(raw, data, int(way[1]))
        if way[0] == "zlib-ng":
            import imagecodecs

            if not imagecodecs.ZLIBNG.available:
                return False
        if len(data) > 2 * self._FIRST:
            # the blocks before the last are those of the whole
            first = memoryview(self.packed(data[: self._FIRST], row, way))
            if first[2:66] != raw[2:66]:
                return False
        return super().made(raw, data, row, way)

    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        for library, levels in _LEVELS[raw[1] >> 6 if len(raw) > 1 else 2].items():
            for level in levels:
                yield library, level


def _by_zlib(raw: memoryview, data: memoryview, level: int) -> bool:
    """Tell whether zlib made a stream; as soon as it is clear that it did not."""
    stream, at = zlib.compressobj(level), 0
    for i in range(0, len(data), 1 << 16):
        out = stream.compress(data[i : i + (1 << 16)])
        if out and raw[at : at + len(out)] != out:
            return False
        at += len(out)
    return bool(raw[at:] == stream.flush())


class PackBits(_Packed):
    """Runs of bytes, row by row, as libtiff finds them."""

    def unpacked(self, raw: memoryview, n: int) -> Any:
        import imagecodecs

        return imagecodecs.packbits_decode(bytes(raw))

    def packed(self, data: Any, row: int, way: Parameters) -> Any:
        return packbits(data, row)

    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        yield ()


class Lzw(_Packed):
    """Codes of 9 to 12 bits, the first bit the highest; a way is the program whose choices are taken."""

    def unpacked(self, raw: memoryview, n: int) -> Any:
        import imagecodecs

        return imagecodecs.lzw_decode(bytes(raw))

    def packed(self, data: Any, row: int, way: Parameters) -> Any:
        return lzw(data, thrifty=self._thrifty(way))

    def made(self, raw: memoryview, data: memoryview, row: int, way: Parameters) -> bool:
        return same_lzw(raw, data, thrifty=self._thrifty(way))

    @staticmethod
    def _thrifty(way: Parameters) -> bool:
        if way not in (("libtiff",), ("tifffile",)):
            raise ValueError(f"LZW of {way} is not known to this version of nxconvert")
        return way == ("libtiff",)

    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        yield ("libtiff",)
        yield ("tifffile",)


class Bits(Encoder):
    """Unsigned numbers of less than 16 bits, one after the other; rows begin at whole bytes.

    The parameters are the bits of a number and the axis of the pixels of a row, counted from the last.
    """

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        rows, n, bits = self._rows(shape, parameters)
        table = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(rows, -1), axis=1)[:, : n * bits]
        out = np.zeros((rows, n), np.uint16)
        for i in range(bits):
            out <<= 1
            out |= table[:, i::bits]
        return out.astype(dtype).reshape(shape)

    def encode(self, values: Values, parameters: Parameters) -> Any:
        rows, n, bits = self._rows(values.shape, parameters)
        numbers = np.ascontiguousarray(values).reshape(rows, n).astype(np.uint16)
        table = np.empty((rows, n * bits), np.uint8)
        for i in range(bits):
            table[:, i::bits] = (numbers >> (bits - 1 - i)) & 1
        return np.packbits(table, axis=1).reshape(-1).data

    def _rows(self, shape: tuple[int, ...], parameters: Parameters) -> tuple[int, int, int]:
        bits, axis = (int(p) for p in parameters)
        rows = math.prod(shape[:-axis])
        return rows, math.prod(shape[-axis:]), bits


class Tile(Encoder):
    """A tile that sticks out of its image, which ``raw``, ``lzw`` or ``packbits`` encodes whole.

    The parameters are the axis of the pixels of a row, counted from the last, the tile's rows and columns, that
    encoder, and its own. ``guess`` puts before them what is beyond the image: ``zero``, or ``edge``, its last pixels
    again.
    """

    _BEYOND = ("zero", "edge")

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        _, axis, (rows, columns), inner, rest = self._known(parameters)
        whole = list(shape)
        whole[-axis - 1], whole[-axis] = rows, columns
        values = encoder(inner).decode(raw, tuple(whole), dtype, rest)
        return np.ascontiguousarray(values[tuple(slice(n) for n in shape)])

    def encode(self, values: Values, parameters: Parameters) -> Any:
        beyond, _, _, inner, rest = self._known(parameters)
        return encoder(inner).encode(self._whole(values, parameters, beyond), rest)

    def guess(self, raw: memoryview, values: Values, parameters: Parameters) -> Parameters | None:
        _, _, _, inner, rest = self._known(parameters)
        stated = parameters[1:] if parameters[0] in self._BEYOND else parameters
        for beyond in self._BEYOND:
            found = encoder(inner).guess(raw, self._whole(values, parameters, beyond), rest)
            if found is not None:
                return (beyond, *stated[:4], *found)
        return None

    def _known(self, parameters: Parameters) -> tuple[str, int, tuple[int, int], str, Parameters]:
        if parameters[0] not in self._BEYOND:
            parameters = (self._BEYOND[0], *parameters)
        beyond, axis, rows, columns, inner, *rest = parameters
        if inner not in ("raw", "lzw", "packbits"):
            raise ValueError(f"tiles of {inner!r} are not known to this version of nxconvert")
        return str(beyond), int(axis), (int(rows), int(columns)), str(inner), tuple(rest)

    def _whole(self, values: Values, parameters: Parameters, beyond: str) -> Values:
        _, axis, (rows, columns), _, _ = self._known(parameters)
        margins = [(0, 0)] * values.ndim
        margins[-axis - 1] = (0, rows - values.shape[-axis - 1])
        margins[-axis] = (0, columns - values.shape[-axis])
        return np.pad(values, margins, "edge" if beyond == "edge" else "constant").astype(values.dtype, copy=False)
