"""The compressions of TIFF strips that can be encoded again: LZW, PackBits and deflate, with their predictors.

Their parameters begin with the predictor (1 none, 2 horizontal, 3 floating point) and the axis that it runs along,
counted from the last. ``guess`` adds which encoder made the bytes.

Facts: TIFF 6.0, sections 9, 13 and 14; Adobe's technical note 3 on the floating point predictor; RFC 1950 and 1951.
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from nxconvert.encoders import Encoder, Parameters, Values

_NONE, _HORIZONTAL, _FLOAT = 1, 2, 3


class _Packed(Encoder):
    """A compression of bytes, after a predictor."""

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        n = math.prod(shape) * dtype.itemsize
        try:
            data = self.unpacked(raw, n)
        except (RuntimeError, zlib.error) as error:  # what imagecodecs raises
            raise ValueError(str(error)) from None
        if len(data) < n:
            raise ValueError(f"{len(data):,} bytes for {n:,}")
        return _restored(np.frombuffer(data, np.uint8, n), shape, dtype, parameters)

    def encode(self, values: Values, parameters: Parameters) -> Any:
        return self.packed(_predicted(values, parameters), parameters[2:])

    def guess(self, raw: memoryview, values: Values, parameters: Parameters) -> Parameters | None:
        data = _predicted(values, parameters)
        for ways in self.ways(raw):
            if memoryview(self.packed(data, ways)) == raw:
                return (*parameters[:2], *ways)
        return None

    @abstractmethod
    def unpacked(self, raw: memoryview, n: int) -> Any:
        """Return the first ``n`` bytes that are encoded, or fewer."""

    @abstractmethod
    def packed(self, data: Any, way: Parameters) -> Any:
        """Return bytes encoded in one of the ways."""

    @abstractmethod
    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        """Yield the ways in which some bytes may have been encoded, likely ones first."""


def _restored(data: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: np.dtype[Any], how: Parameters) -> Values:
    if not how or how[0] == _NONE:
        return data.view(dtype).reshape(shape)
    import imagecodecs

    axis = -int(how[1])
    if how[0] == _FLOAT:
        native = dtype.newbyteorder("=")
        out: Values = imagecodecs.floatpred_decode(data.view(native).reshape(shape), axis=axis)
        return out.astype(dtype)
    steps = data.view(dtype).reshape(shape)
    return np.add.accumulate(steps.astype(dtype.newbyteorder("=")), axis=axis, dtype=dtype.newbyteorder("=")).astype(
        dtype, copy=False
    )


def _predicted(values: Values, how: Parameters) -> memoryview:
    """Return the bytes that are packed."""
    if not how or how[0] == _NONE:
        return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    import imagecodecs

    axis = -int(how[1])
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if how[0] == _FLOAT:
        made: Values = imagecodecs.floatpred_encode(native, axis=axis)
        return np.ascontiguousarray(made).reshape(-1).view(np.uint8).data
    steps = native.copy()
    later: tuple[Any, ...] = (..., slice(1, None), *[slice(None)] * (-axis - 1))
    before: tuple[Any, ...] = (..., slice(None, -1), *[slice(None)] * (-axis - 1))
    np.subtract(native[later], native[before], out=steps[later])
    return np.ascontiguousarray(steps, values.dtype).reshape(-1).view(np.uint8).data


class Deflate(_Packed):
    """Streams of zlib; the ways are the library and its level."""

    def unpacked(self, raw: memoryview, n: int) -> Any:
        return zlib.decompressobj().decompress(raw, n)

    def packed(self, data: Any, way: Parameters) -> Any:
        library, level = way
        if library == "zlib":
            return zlib.compress(data, int(level))
        if library == "libdeflate":
            import imagecodecs

            return imagecodecs.deflate_encode(data, int(level))
        raise ValueError(f"deflate of {library!r} is not known to this version of nxconvert")

    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        # the stream's header says which of four classes the level is of
        for level in {0: (1,), 1: (5, 3, 4, 2), 2: (6,), 3: (9, 8, 7)}[raw[1] >> 6 if len(raw) > 1 else 2]:
            yield "zlib", level
        for level in {0: (1,), 1: (4, 5, 3, 2), 2: (6, 7), 3: (9, 12, 8)}[raw[1] >> 6 if len(raw) > 1 else 2]:
            yield "libdeflate", level


class PackBits(_Packed):
    """Runs of bytes."""

    def unpacked(self, raw: memoryview, n: int) -> Any:
        import imagecodecs

        return imagecodecs.packbits_decode(bytes(raw))

    def packed(self, data: Any, way: Parameters) -> Any:
        import imagecodecs

        return imagecodecs.packbits_encode(data)

    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        yield ()


class Lzw(_Packed):
    """Codes of 9 to 12 bits."""

    def unpacked(self, raw: memoryview, n: int) -> Any:
        import imagecodecs

        return imagecodecs.lzw_decode(bytes(raw))

    def packed(self, data: Any, way: Parameters) -> Any:
        import imagecodecs

        return imagecodecs.lzw_encode(data)

    def ways(self, raw: memoryview) -> Iterator[Parameters]:
        yield ()
