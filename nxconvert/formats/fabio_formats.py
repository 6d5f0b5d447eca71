"""Images of detectors whose formats are rare today, as the library fabio reads them.

ADSC and d*TREK, Bruker, Fit2D, GE, Hamamatsu, KappaCCD, mar345, MRC, Oxford Diffraction and Esperanto, PIXI, portable
grey maps, Princeton, Rigaku, Digital Micrograph. They are recognised here, by their magic numbers, so that fabio is
imported when it is needed. Pixels that lie in the file as they are become a piece of it; others (compressed, summed,
with their overflows elsewhere) are decoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nxconvert.dissection import Content, Dissection, Entry, FileContent, Frame, Piece
from nxconvert.errors import InputError
from nxconvert.format import Format, Head, Holds, Location, Policy, Records, Report


class _Kind(NamedTuple):
    """A format of fabio.

    Attributes
    ----------
    module, name
        Its class.
    plain
        Whether its pixels always lie in the file as they are; fabio fills with zeros what is missing at its end.
    matches
        Tells from the first 64 KiB whether a file is of the format.
    counted
        Whether the number of frames follows from the file's size, so that the file ends where the last frame does.
    """

    module: str
    name: str
    plain: bool
    matches: Callable[[bytes], Any]
    counted: bool = False


def _magic(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


_MARS = (b"\xd2\x04\0\0", b"\0\0\x04\xd2")
_GREY = re.compile(rb"P5\s+(\d+\s+){2}\d+\s").match


def _is_princeton(head: bytes) -> bool:
    """Look for the number that WinView signs with, or for what ends the header, and a known type of the pixels."""
    if len(head) < 3000 or head[109] or head[108] > 8 or head[42:44] == b"\0\0" or head[656:658] == b"\0\0":
        return False
    return head[2996:3000] == b"\x67\x45\x23\x01" or head[4098:4100] == b"UU"


_KINDS = (
    _Kind("dtrekimage", "DtrekImage", True, _magic(b"{\nHEADER_BYTES", b"{\r\nHEADER_BYTES")),
    _Kind("brukerimage", "BrukerImage", False, re.compile(rb"FORMAT :\s*86\s").match),
    _Kind("bruker100image", "Bruker100Image", False, re.compile(rb"FORMAT :\s*100\s").match),
    _Kind("fit2dmaskimage", "Fit2dMaskImage", False, _magic(b"M\0\0\0A\0\0\0S\0\0\0K\0\0\0")),
    _Kind("fit2dimage", "Fit2dImage", False, _magic(b"\\$FFF_START")),
    _Kind("GEimage", "GeImage", True, _magic(b"ADEPT")),
    _Kind("HiPiCimage", "HipicImage", True, lambda head: head[:2] == b"IM" and head[12:14] == b"\2\0"),
    _Kind("kcdimage", "KcdImage", False, lambda head: head[:2] == b"No" and b"Number of readouts" in head[:4096]),
    _Kind("mar345image", "Mar345Image", False, lambda head: head[:4] in _MARS and b"mar research" in head[64:256]),
    _Kind("mrcimage", "MrcImage", True, lambda head: head[208:212] == b"MAP " and head[212:214] in (b"DD", b"DA")),
    _Kind("OXDimage", "OxdImage", False, _magic(b"OD SAPPHIRE")),
    _Kind("esperantoimage", "EsperantoImage", False, _magic(b"ESPERANTO FORMAT")),
    _Kind("pixiimage", "PixiImage", True, _magic(b"\n\xb8\x03\0"), counted=True),
    _Kind("pnmimage", "PnmImage", True, _GREY),
    _Kind("speimage", "SpeImage", True, _is_princeton),
    _Kind("raxisimage", "RaxisImage", False, _magic(b"R-AXIS")),
    _Kind(
        "dm3image", "Dm3Image", False, lambda head: head[:4] == b"\0\0\0\3" and head[8:11] == b"\0\0\0" and head[11] < 2
    ),
)
_LONGEST = 1 << 16
"""Header values of more signs are left where they are."""


def _kind(start: bytes) -> _Kind | None:
    return next((kind for kind in _KINDS if kind.matches(start)), None)


def sniff(head: Head) -> int:
    """Look for a magic number."""
    return 2 if _kind(head.start) is not None else 0


def dissect(content: Content) -> Dissection:
    """Decode all frames of a file, and say where in it they lie.

    Raises
    ------
    InputError
        When fabio cannot read it, or it is cut off.
    """
    kind = _kind(bytes(content.view(0, 1 << 16)))
    if kind is None:
        raise InputError(f"{content.name} is of no format that fabio reads", "name its format with --from")
    images = list(_images(content, kind))
    raw = bytes(content.view(0, content.size))
    frames: list[Frame] = []
    pieces: list[Piece] = []
    end = 0
    for number, (values, header) in enumerate(images):
        found, dtype = _find(raw, values, end)
        if found >= 0:
            end = found + values.nbytes
            frames.append(Frame(values.shape, dtype, header))
            pieces.append(Piece(found, values.nbytes, number))
        elif kind.plain:
            raise InputError(f"{content.name} is damaged: not all pixels of frame {number} are there")
        else:
            keep = values if len(images) == 1 else None
            frames.append(Frame(values.shape, values.dtype, header, _reader(content, kind, number, keep)))
    if kind.counted and end != len(raw):
        raise InputError(f"{content.name} is truncated: it ends within frame {len(frames)}")
    return Dissection(frames, pieces)


def _find(raw: bytes, values: np.ndarray[Any, Any], start: int) -> tuple[int, np.dtype[Any]]:
    """Return where a frame's bytes are, and its dtype there; -1 when they are not."""
    orders = "<>" if values.dtype.itemsize > 1 else "<"
    for order in orders:
        dtype = values.dtype.newbyteorder(order)
        found = raw.find(values.astype(dtype).tobytes(), start)
        if found >= 0:
            return found, dtype
    return -1, values.dtype


def _reader(
    content: Content, kind: _Kind, number: int, keep: np.ndarray[Any, Any] | None
) -> Callable[[], np.ndarray[Any, Any]]:
    def read() -> np.ndarray[Any, Any]:
        if keep is not None:
            return keep
        for n, (values, _) in enumerate(_images(content, kind)):
            if n == number:
                return values
        raise InputError(f"{content.name} has no frame {number} any more")

    return read


def _images(content: Content, kind: _Kind) -> Iterator[tuple[np.ndarray[Any, Any], list[Entry]]]:
    """Yield the frames of a file with their headers."""
    if isinstance(content, FileContent):
        yield from _decoded(content.name, content.name, kind)
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:  # some readers of fabio want a file
        path = Path(folder, "image")
        path.write_bytes(content.view(0, content.size))
        yield from _decoded(os.fspath(path), content.name, kind)


def _decoded(path: str, name: str, kind: _Kind) -> Iterator[tuple[np.ndarray[Any, Any], list[Entry]]]:
    import logging

    logging.getLogger("fabio").addHandler(logging.NullHandler())
    n, number = 1, 0
    while number < n:
        try:
            image = getattr(import_module(f"fabio.{kind.module}"), kind.name)()
            image.read(path, frame=number) if number else image.read(path)
            # of Princeton's files fabio counts one frame, and reads any
            n = max(int(image.nframes), int(image.header.get("num_frames", 1)))
            values, header = image.data, dict(image.header)
        except Exception as error:  # noqa: BLE001 - on damaged files fabio raises anything, plain Exception too
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{name}: frame {number} cannot be read: {reason}", "the file may be damaged") from None
        if not isinstance(values, np.ndarray) or values.ndim not in (2, 3) or values.dtype.kind not in "biufc":
            raise InputError(f"{name}: frame {number} is no image")
        if not values.size:
            raise InputError(f"{name}: frame {number} has no pixels")
        yield np.ascontiguousarray(values), list(_entries(header))
        number += 1


def _entries(header: dict[Any, Any]) -> Iterator[Entry]:
    for key, value in header.items():
        plain = _plain(value)
        if not isinstance(plain, str) or 0 < len(plain) <= _LONGEST:
            yield Entry(str(_plain(key)), plain)


def _plain(value: Any) -> str | int | float:
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.item()
    if isinstance(value, np.ndarray):
        return " ".join(str(v) for v in value.ravel().tolist())
    if isinstance(value, bytes):
        value = value.rstrip(b"\0").decode("latin-1")
    if isinstance(value, bool | int | float):
        return value
    return str(value).strip("\0")


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a file."""
    from nxconvert.image import ImageRecords

    return ImageRecords(location, policy, report, dissect)


FORMAT = Format(
    name="fabio",
    title="images of other detectors (ADSC, Bruker, mar345, Rigaku, ...)",
    extensions=(".img", ".sfrm", ".msk", ".osc", ".kcd", ".mrc", ".pgm", ".dm3", ".spe", ".f2d", ".esper"),
    sniff=sniff,
    open=open_records,
    holds=Holds(item_rank=3, min_item_rank=2, kinds="biuf", note="read with the library fabio"),
    dissect=dissect,
)
