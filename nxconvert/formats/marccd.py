"""MarCCD: images of mar's CCD and mosaic detectors, one a file, with what the detector says of them.

Facts: "MarCCD Header Documentation" (M. Blum, 2005). The file is 1,024 bytes of a minimal TIFF header, 3,072 bytes of
mar's own header (which begins with its type and the name ``MMX``), and the pixels. Lengths are stated in TIFF's
directory and in mar's header, which must agree. Numbers are whole: distances in micrometres, angles in thousandths of
a degree, times in milliseconds, the pixel size in nanometres, the wavelength in femtometres.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from nxconvert.dissection import Content, Dissection, Entry, Frame, Piece
from nxconvert.errors import InputError
from nxconvert.format import Format, Head, Holds, Location, Policy, Records, Report

_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_AT, _DATA = 1024, 4096
_ORDERS = {1234: "<", 4321: ">"}
_TYPES = {1: "u1", 2: "u2", 4: "u4"}

_UNSIGNED = (
    (80, "nfast", ""),
    (84, "nslow", ""),
    (88, "depth", ""),
    (96, "signif_bits", ""),
    (104, "saturated_value", ""),
    (120, "orientation", ""),
    (124, "view_direction", ""),
    (152, "background_applied", ""),
    (156, "bias_applied", ""),
    (160, "flatfield_applied", ""),
    (164, "distortion_applied", ""),
    (280, "min", ""),
    (284, "max", ""),
    (288, "mean", ""),
    (292, "rms", ""),
)
_ANGLES = ("twotheta", "omega", "chi", "kappa", "phi", "delta", "gamma")
_SIGNED = (
    (640, "xtal_to_detector", "um"),
    (644, "beam_x", "0.001 pixel"),
    (648, "beam_y", "0.001 pixel"),
    (652, "integration_time", "ms"),
    (656, "exposure_time", "ms"),
    (660, "readout_time", "ms"),
    (664, "nreads", ""),
    *((668 + 4 * i, f"start_{name}", "mdeg") for i, name in enumerate(_ANGLES)),
    (696, "start_xtal_to_detector", "um"),
    *((700 + 4 * i, f"end_{name}", "mdeg") for i, name in enumerate(_ANGLES)),
    (728, "end_xtal_to_detector", "um"),
    (732, "rotation_axis", ""),
    (736, "rotation_range", "mdeg"),
    (740, "detector_rotx", "mdeg"),
    (744, "detector_roty", "mdeg"),
    (748, "detector_rotz", "mdeg"),
    (768, "detector_type", ""),
    (772, "pixelsize_x", "nm"),
    (776, "pixelsize_y", "nm"),
    (780, "mean_bias", ""),
    (784, "photons_per_100adu", ""),
    (896, "source_type", ""),
    (900, "source_dx", "um"),
    (904, "source_dy", "um"),
    (908, "source_wavelength", "fm"),
    (912, "source_power", "W"),
    (916, "source_voltage", "V"),
    (920, "source_current", "uA"),
    (924, "source_bias", "V"),
    (928, "source_polarization_x", ""),
    (932, "source_polarization_y", ""),
    (952, "optics_type", ""),
    (956, "optics_dx", "um"),
    (960, "optics_dy", "um"),
    (964, "optics_wavelength", "fm"),
    (968, "optics_dispersion", ""),
    (972, "optics_crossfire_x", "urad"),
    (976, "optics_crossfire_y", "urad"),
    (980, "optics_angle", "urad"),
    (984, "optics_polarization_x", ""),
    (988, "optics_polarization_y", ""),
)
_TEXTS = (
    (1024, 128, "filetitle"),
    (1152, 128, "filepath"),
    (1280, 64, "filename"),
    (1344, 32, "acquire_timestamp"),
    (1376, 32, "header_timestamp"),
    (1408, 32, "save_timestamp"),
    (1440, 512, "file_comments"),
    (2048, 512, "dataset_comments"),
)


def sniff(head: Head) -> int:
    """Look for a TIFF header and mar's own behind it."""
    return 2 if head.start[:4] in _TIFF and head.start[_AT + 4 : _AT + 7] == b"MMX" else 0


def dissect(content: Content) -> Dissection:
    """Say where a MarCCD file has its pixels, and what its header says.

    Raises
    ------
    InputError
        When it is none, it is cut off, or its two headers contradict each other.
    """
    start = bytes(content.view(0, _DATA))
    order = _TIFF.get(start[:4])
    if order is None or start[_AT + 4 : _AT + 7] != b"MMX":
        raise InputError(f"{content.name} is no MarCCD image", "name its format with --from")
    if len(start) < _DATA:
        raise InputError(f"{content.name} is truncated: it ends in its header")
    mar = start[_AT:]
    number = struct.Struct(f"{order}I").unpack_from
    (stated,), (stored,) = number(mar, 28), number(mar, 32)
    if stated not in _ORDERS or stored not in _ORDERS:
        raise InputError(f"{content.name}: its header states no byte order")
    number = struct.Struct(f"{_ORDERS[stated]}I").unpack_from
    (width,), (length,), (depth,) = number(mar, 80), number(mar, 84), number(mar, 88)
    if depth not in _TYPES or not width or not length:
        raise InputError(f"{content.name}: its header states {length} x {width} pixels of {depth} bytes")
    tiff = _directory(start, order)
    if tiff.get(259, 1) != 1:
        raise InputError(f"{content.name}: its pixels are compressed, which is not read", "read it with --from tiff")
    for code, value in ((256, width), (257, length), (258, depth * 8)):
        if tiff.get(code, value) != value:
            raise InputError(f"{content.name}: its two headers state {value} and {tiff[code]} for the same")
    offset, size = tiff.get(273, _DATA), width * length * depth
    if offset + size > content.size:
        raise InputError(
            f"{content.name} is truncated: its frame should end at byte {offset + size:,}, "
            f"the file has {content.size:,}"
        )
    dtype = np.dtype(f"{_ORDERS[stored]}{_TYPES[depth]}")
    return Dissection([Frame((length, width), dtype, list(_entries(mar, _ORDERS[stated])))], [Piece(offset, size)])


def _directory(start: bytes, order: str) -> dict[int, int]:
    """Return the single numbers of TIFF's directory that lie in the first 1,024 bytes."""
    (at,) = struct.unpack_from(f"{order}I", start, 4)
    if not 8 <= at < _AT - 2:
        return {}
    (n,) = struct.unpack_from(f"{order}H", start, at)
    out = {}
    for i in range(min(n, (_AT - at - 2) // 12)):
        code, kind, count = struct.unpack_from(f"{order}HHI", start, at + 2 + 12 * i)
        if count == 1 and kind in (3, 4):
            (out[code],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", start, at + 10 + 12 * i)
    return out


def _entries(mar: bytes, order: str) -> Iterator[Entry]:
    for kind, fields in (("I", _UNSIGNED), ("i", _SIGNED)):
        number = struct.Struct(order + kind).unpack_from
        for at, key, unit in fields:
            yield Entry(key, number(mar, at)[0], unit)
    for at, size, key in _TEXTS:
        text = mar[at : at + size].partition(b"\0")[0].decode("latin-1").strip()
        if text:
            yield Entry(key, text)


def open_records(location: Location, policy: Policy, report: Report) -> Records:
    """Open a MarCCD file."""
    from nxconvert.image import ImageRecords

    return ImageRecords(location, policy, report, dissect)


FORMAT = Format(
    name="marccd",
    title="MarCCD images",
    extensions=(".mccd",),
    sniff=sniff,
    open=open_records,
    holds=Holds(item_rank=2, min_item_rank=2, records=1, kinds="u", note="one frame a file"),
    dissect=dissect,
)
