"""Tags as fields: those that every page shares are header values, those that differ are columns.

Names of tags: TIFF 6.0 and its supplements, TIFF/EP, Exif 2.3, and the makers' own that are published.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nxconvert.array import TEXT, Values
from nxconvert.format import Report
from nxconvert.formats.tiff.structure import ASCII, EXIF, GPS, TYPES, Page, Tag, TiffStructure, decoded
from nxconvert.record import Field

DESCRIPTION, SOFTWARE, DATE_TIME = 270, 305, 306
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
IMAGEJ_COUNTS, IMAGEJ_DATA = 50838, 50839
PACKED_BITS, PHOTOMETRIC = 258, 262

OWN = frozenset({DESCRIPTION, SOFTWARE, DATE_TIME, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, 254})
"""Tags that the writer makes of other fields, so that they are not read back as fields of their own."""

STRUCTURE = frozenset(
    {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 288, 289, 317, 322, 323, 324, 325, 330, 332, 339, 347}
    | {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 266, 292, 293, 297, 32997, 32998, EXIF, GPS}
    | {IMAGEJ_COUNTS, 338}
)
"""Tags that only say how the pixels lie in the file."""

_LARGE = 1 << 16

NAMES = {
    254: "NewSubfileType",
    255: "SubfileType",
    258: "BitsPerSample",
    262: "PhotometricInterpretation",
    263: "Threshholding",
    269: "DocumentName",
    270: "ImageDescription",
    271: "Make",
    272: "Model",
    274: "Orientation",
    280: "MinSampleValue",
    281: "MaxSampleValue",
    282: "XResolution",
    283: "YResolution",
    285: "PageName",
    286: "XPosition",
    287: "YPosition",
    290: "GrayResponseUnit",
    291: "GrayResponseCurve",
    296: "ResolutionUnit",
    301: "TransferFunction",
    305: "Software",
    306: "DateTime",
    315: "Artist",
    316: "HostComputer",
    318: "WhitePoint",
    319: "PrimaryChromaticities",
    320: "ColorMap",
    321: "HalftoneHints",
    333: "InkNames",
    336: "DotRange",
    337: "TargetPrinter",
    340: "SMinSampleValue",
    341: "SMaxSampleValue",
    532: "ReferenceBlackWhite",
    700: "XMP",
    32781: "ImageID",
    33432: "Copyright",
    33434: "ExposureTime",
    33437: "FNumber",
    33550: "ModelPixelScale",
    33922: "ModelTiepoint",
    34118: "FEI_SEM",
    34264: "ModelTransformation",
    34377: "ImageResources",
    34412: "LSMInfo",
    34675: "ICCProfile",
    34680: "FEI_SFEG",
    34682: "FEI_HELIOS",
    34735: "GeoKeyDirectory",
    34736: "GeoDoubleParams",
    34737: "GeoAsciiParams",
    34710: "MarCCD",
    36864: "ExifVersion",
    36867: "DateTimeOriginal",
    36868: "DateTimeDigitized",
    37500: "MakerNote",
    37510: "UserComment",
    37724: "ImageSourceData",
    42112: "GDALMetadata",
    42113: "GDALNoData",
    50839: "IJMetadata",
    51123: "MicroManagerMetadata",
}


def name_of(code: int, group: str = "") -> str:
    """Return the field's name for a tag: ``tiff/Model``, ``tiff/65001``, ``tiff/Exif/DateTimeOriginal``."""
    return "/".join(p for p in ("tiff", group, NAMES.get(code, str(code))) if p)


def tag_fields(
    structure: TiffStructure, pages: Sequence[Page], report: Report, skip: frozenset[int] = frozenset()
) -> list[Field]:
    """Return the tags of pages as fields.

    Parameters
    ----------
    structure
        The open file.
    pages
        The pages of one record.
    report
        Told of tags that cannot be carried.
    skip
        Codes that are not wanted.
    """
    tables: list[Mapping[int, Tag]] = [p.tags for p in pages]
    fields = _fields_of(structure, tables, "", report, STRUCTURE | skip)
    for code, group in ((EXIF, "Exif"), (GPS, "GPS")):
        found = [structure.number(p, code, 0) for p in pages]
        if any(found):
            below = [structure.directory(at, f"{group} of page {p.name}") if at else {} for at, p in _zip(found, pages)]
            fields += _fields_of(structure, below, group, report, frozenset())
    fields += _meanings(structure, pages[0])
    return fields


def _zip(a: Sequence[int], b: Sequence[Page]) -> list[tuple[int, Page]]:
    return list(zip(a, b, strict=True))


def _meanings(structure: TiffStructure, page: Page) -> list[Field]:
    """Return what the structure says of the values' meaning, where it is not the usual."""
    fields: list[Field] = []
    photometric = structure.number(page, PHOTOMETRIC, 1)
    if photometric not in (1, 2, 6):
        fields.append(Field(name_of(PHOTOMETRIC), Values(np.int64(photometric)), source=str(structure.path)))
    bits = structure.number(page, PACKED_BITS, 1)
    if bits not in (1, 8, 16, 32, 64, 128):
        fields.append(Field(name_of(PACKED_BITS), Values(np.int64(bits)), source=str(structure.path)))
    return fields


def _fields_of(
    structure: TiffStructure, tables: Sequence[Mapping[int, Tag]], group: str, report: Report, skip: frozenset[int]
) -> list[Field]:
    codes = {code: None for table in tables for code in table if code not in skip}
    fields = []
    for code in codes:
        name = name_of(code, group)
        tags = [t.get(code) for t in tables]
        found = [t for t in tags if t is not None]
        if any(t.type not in TYPES for t in found):
            report.lose(name, str(structure.path), "its values are of an unknown type")
        elif not any(t.count for t in found):
            continue
        else:
            fields += _field(structure, name, tags, found[0], report)
    return fields


def _field(structure: TiffStructure, name: str, tags: Sequence[Tag | None], first: Tag, report: Report) -> list[Field]:
    source = f"{structure.path}::{name}"
    only_first = tags[0] is not None and not any(tags[1:])
    if only_first or all(t == first for t in tags) or _same(structure, tags, first, name):
        return [Field(name, _value(structure, first, name), source=source)]
    if any(t is not None and t.size > _LARGE for t in tags):
        report.lose(name, str(structure.path), "a tag of more than 64 KiB that differs from page to page")
        return [Field(name, _value(structure, first, name), source=source)]
    present = [t for t in tags if t is not None]
    mask = np.array([t is None for t in tags])
    values = [_value(structure, t, name).read() for t in present]
    column = _column(values, mask)
    missing = Values(mask) if mask.any() else None
    return [Field(name, Values(column), per_row=True, mask=missing, source=source)]


def _same(structure: TiffStructure, tags: Sequence[Tag | None], first: Tag, name: str) -> bool:
    """Tell whether all pages have the tag with the same value, wherever it is stored."""
    if any(t is None or (t.type, t.count) != (first.type, first.count) for t in tags):
        return False
    if first.size <= len(first.raw):
        return False  # the values are in the entries, which differ
    raw = structure.raw(first, name)
    return all(t is not None and structure.raw(t, name) == raw for t in tags)


def _value(structure: TiffStructure, tag: Tag, name: str) -> Values:
    if tag.type == ASCII:
        raw = structure.raw(tag, name)
        if b"\0" not in raw.rstrip(b"\0"):
            return Values(decoded(raw), TEXT)
        return Values(np.frombuffer(raw, np.uint8))
    values = structure.numbers(tag, name)
    return Values(values[0]) if len(values) == 1 else Values(values)


def _column(values: list[np.ndarray[Any, Any]], mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Join the pages' values to a column; those whose shapes differ become text."""
    kinds = {(v.shape, v.dtype) for v in values}
    if len(kinds) > 1:
        values = [np.array(v.item() if v.dtype == object else str(v.tolist()), TEXT) for v in values]
    out = np.zeros((len(mask), *values[0].shape), values[0].dtype)
    if values[0].dtype == object:
        out[...] = ""
    out[~mask] = np.stack(values)
    return out


def imagej_metadata(structure: TiffStructure, page: Page) -> dict[str, list[bytes]]:
    """Return the parts of ImageJ's own tag by kind (``info``, ``labl``), as it stores them; none when it has no such.

    Facts: ImageJ's ``TiffEncoder.writeMetaData``: a header of the magic ``IJIJ`` and, for each kind, its four letters
    and how many parts it has; then the parts, whose sizes (the header's first) tag 50838 holds.
    """
    counts = structure.list_of(page, IMAGEJ_COUNTS)
    tag = page.tags.get(IMAGEJ_DATA)
    if not counts or tag is None:
        return {}
    raw = structure.raw(tag, "ImageJ's metadata")
    head, at = raw[: counts[0]], counts[0]
    sizes = iter(counts[1:])
    out: dict[str, list[bytes]] = {}
    for kind, n in struct.iter_unpack(f"{structure.order}4sI", head[4 : 4 + (len(head) - 4) // 8 * 8]):
        letters = (kind if structure.order == ">" else kind[::-1]).decode("latin-1")
        for _ in range(n):
            size = next(sizes, None)
            if size is None or at + size > len(raw):
                raise structure.damaged("ImageJ's metadata are cut off")
            out.setdefault(letters, []).append(raw[at : at + size])
            at += size
    return out
