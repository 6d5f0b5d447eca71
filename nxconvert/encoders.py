"""How runs of bytes encode pixels: the vocabulary by which an archive says how its files are put together again.

A name is frozen once it was released: what it makes of the same pixels and parameters never changes. A better way
gets a name of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]
Parameters = tuple[int | str, ...]

RAW = "raw"
_HOMES = {
    RAW: ("nxconvert.encoders", "Raw"),
    "cbf-byte-offset": ("nxconvert.byte_offset", "ByteOffset"),
    "lzw": ("nxconvert.formats.tiff.encoders", "Lzw"),
    "packbits": ("nxconvert.formats.tiff.encoders", "PackBits"),
    "deflate": ("nxconvert.formats.tiff.encoders", "Deflate"),
    "bits": ("nxconvert.formats.tiff.encoders", "Bits"),
    "tile": ("nxconvert.formats.tiff.encoders", "Tile"),
}


class Encoder(ABC):
    """Turns pixels into bytes, and back. It has no state: threads share it.

    Attributes
    ----------
    lasting
        Whether what it makes depends on the pixels and parameters alone, and on no version of a library: only then may
        an archive rely on it.
    """

    lasting = True

    @abstractmethod
    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        """Return the pixels, C-contiguous, that some bytes encode.

        Raises
        ------
        ValueError
            When they encode no such pixels, or more or fewer.
        """

    @abstractmethod
    def encode(self, values: Values, parameters: Parameters) -> Any:
        """Return the bytes of some pixels, which are C-contiguous.

        Returns
        -------
        Buffer
        """

    def guess(self, raw: memoryview, values: Values, parameters: Parameters) -> Parameters | None:
        """Return the parameters with which ``encode`` makes these very bytes of some pixels; None when there are none.

        Parameters
        ----------
        raw
            Bytes of a piece.
        values
            The pixels that ``decode`` gives of them.
        parameters
            What the dissection said of the piece.
        """
        made = np.frombuffer(self.encode(values, parameters), np.uint8)
        return parameters if np.array_equal(made, np.frombuffer(raw, np.uint8)) else None


class Raw(Encoder):
    """The pixels' own bytes."""

    def decode(self, raw: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], parameters: Parameters) -> Values:
        return np.frombuffer(raw, dtype).reshape(shape)

    def encode(self, values: Values, parameters: Parameters) -> Any:
        return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


_made: dict[str, Encoder] = {}


def encoder(name: str) -> Encoder:
    """Return the encoder of a name.

    Raises
    ------
    ValueError
        When this version does not know it.
    """
    if name not in _made:
        if name not in _HOMES:
            raise ValueError(f"the encoder {name!r} is not known to this version of nxconvert")
        module, cls = _HOMES[name]
        _made[name] = getattr(import_module(module), cls)()
    return _made[name]
