"""TIFF files that others wrote: what tifffile writes in all its ways, the corpus, and files that are damaged."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_corpus

from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.formats.tiff import FORMAT
from nxconvert.location import Location
from nxconvert.policy import Policy
from nxconvert.record import Record, Role, plain

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(8)


def read(path: Path, report: Report | None = None) -> list[Record]:
    """Read all records of a file into memory."""
    assert FORMAT.open is not None
    with FORMAT.open(Location(str(path)), Policy(), report or Report()) as source:
        records = list(source)
        for record in records:
            for f in record.fields.values():
                f.values.read()
        return [r.with_fields({n: in_memory(f) for n, f in r.fields.items()}) for r in records]


def in_memory(f: Any) -> Any:
    from dataclasses import replace

    from nxconvert.array import Values

    return replace(f, values=Values(f.values.read(), f.dtype))


def images(path: Path) -> np.ndarray[Any, Any]:
    (record,) = read(path)
    values: np.ndarray[Any, Any] = record.fields["data"].values.read()
    return values


def noise(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    raw = RNG.integers(0, 100, shape)
    return (raw > 50) if dtype == "bool" else raw.astype(dtype)


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_in_either_byte_order(tmp_path: Path, dtype: str, order: str) -> None:
    frames = noise((3, 5, 7), dtype)
    tifffile.imwrite(tmp_path / "a.tif", frames, byteorder=order, photometric="minisblack")
    found = images(tmp_path / "a.tif")
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, frames)


WAYS: dict[str, dict[str, Any]] = {
    "big": {"bigtiff": True},
    "strips": {"rowsperstrip": 4},
    "deflate": {"compression": "zlib"},
    "deflate strips, predictor": {"compression": "zlib", "predictor": 2, "rowsperstrip": 5},
    "lzw": {"compression": "lzw", "byteorder": ">"},
    "lzw, predictor, big-endian": {"compression": "lzw", "predictor": 2, "byteorder": ">"},
    "zstd": {"compression": "zstd"},
    "packbits": {"compression": "packbits"},
    "lzma": {"compression": "lzma"},
    "jpeg xl": {"compression": "jpegxl", "compressionargs": {"level": 100, "lossless": True}},
    "tiles": {"tile": (16, 16)},
    "tiles, deflate, big": {"tile": (16, 32), "compression": "zlib", "bigtiff": True},
    "contiguous": {"contiguous": True},
    "imagej": {"imagej": True},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_tifffile_writes(tmp_path: Path, way: str) -> None:
    frames = noise((4, 37, 41), "u2")
    path = tmp_path / ("a.ome.tif" if way == "ome" else "a.tif")
    tifffile.imwrite(path, frames, photometric="minisblack", **WAYS[way])
    found = images(path)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, frames)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colour_is_read_with_the_samples_last(
    tmp_path: Path, planar: str, samples: int, compression: str | None
) -> None:
    frame = noise((12, 9, samples), "u1")
    stored = frame if planar == "contig" else np.moveaxis(frame, -1, 0)
    options = {"compression": compression} if compression else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, **options)
    (record,) = read(tmp_path / "a.tif")
    data = record.fields["data"]
    assert data.attrs["interpretation"] == {3: "rgb-image", 4: "rgba-image"}[samples]
    np.testing.assert_array_equal(data.values.read()[0], frame)


def test_floats_with_the_floating_point_predictor(tmp_path: Path) -> None:
    frames = RNG.normal(size=(2, 20, 20)).astype("f4")
    tifffile.imwrite(tmp_path / "a.tif", frames, compression="zlib", predictor=3, photometric="minisblack")
    np.testing.assert_array_equal(images(tmp_path / "a.tif"), frames)


def test_bilevel_and_palette(tmp_path: Path) -> None:
    mask = noise((9, 13), "bool")
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    found = images(tmp_path / "mask.tif")
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found[0], mask)
    indices = noise((9, 13), "u1")
    colours = RNG.integers(0, 65536, (3, 256)).astype("u2")
    tifffile.imwrite(tmp_path / "palette.tif", indices, photometric="palette", colormap=colours)
    (record,) = read(tmp_path / "palette.tif")
    np.testing.assert_array_equal(record.fields["data"].values.read()[0], indices)
    np.testing.assert_array_equal(record.fields["tiff/ColorMap"].values.read(), colours.ravel())
    assert plain(record.fields["tiff/PhotometricInterpretation"].values) == 3


def test_an_imagej_stack_with_one_directory(tmp_path: Path) -> None:
    """ImageJ writes stacks beyond 4 GiB so."""
    frames = noise((5, 8, 9), "u2")
    with tifffile.TiffWriter(tmp_path / "a.tif", imagej=True) as writer:
        writer.write(frames, metadata={"axes": "ZYX", "unit": "um"}, resolution=(4.0, 2.0))
    path = tmp_path / "a.tif"
    with tifffile.TiffFile(path) as file:
        assert "images=5" in file.pages[0].description
        start = file.pages[0].dataoffsets[0]
        after = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
    raw = bytearray(path.read_bytes())
    raw[after : after + 4] = bytes(4)  # no directory follows the first
    path.write_bytes(raw)
    (record,) = read(path)
    np.testing.assert_array_equal(record.fields["data"].values.read(), frames)
    assert plain(record.fields["x_pixel_size"].values) == 0.25
    assert record.fields["y_pixel_size"].units == "um"
    path.write_bytes(raw[: start + frames.nbytes - 1])
    with pytest.raises(InputError, match=r"ends before|beyond the end"):
        read(path)


def test_pages_of_unlike_shape_become_records_and_none_is_lost(tmp_path: Path) -> None:
    grey, colour, last = noise((6, 7), "u2"), noise((6, 7, 3), "u1"), noise((6, 7), "u2")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(grey, description="first")
        writer.write(colour, photometric="rgb")
        writer.write(last, description="third")
    one, two = read(tmp_path / "a.tif")
    assert (one.key, two.key) == ({"pages": "0,2"}, {"pages": "1"})
    np.testing.assert_array_equal(one.fields["data"].values.read(), [grey, last])
    np.testing.assert_array_equal(two.fields["data"].values.read()[0], colour)


def test_children_of_pages_are_read_too(tmp_path: Path) -> None:
    large, small = noise((16, 16), "u1"), noise((8, 8), "u1")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(large, subifds=1)
        writer.write(small, subfiletype=1)
    one, two = read(tmp_path / "a.tif")
    assert two.key == {"pages": "0.0"}
    np.testing.assert_array_equal(one.fields["data"].values.read()[0], large)
    np.testing.assert_array_equal(two.fields["data"].values.read()[0], small)


def test_tags_are_header_values_and_those_that_differ_columns(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for i in range(3):
            extra = [(65001, 12, 1, 0.5 * i, False), (65002, 2, 0, f"motor {i}", False), (271, 2, 0, "Maker", False)]
            extra += [(65003, 3, 2, (i, 7), False)] + ([(65004, 4, 1, 9, False)] if i == 1 else [])
            writer.write(noise((4, 4), "u2"), extratags=extra, metadata=None, software="prog", contiguous=False)
    (record,) = read(tmp_path / "a.tif")
    fields = record.fields
    assert plain(fields["tiff/Make"].values) == "Maker"
    assert plain(fields["tiff/Software"].values) == "prog"
    assert fields["tiff/65001"].per_row
    assert fields["tiff/65001"].values.read().tolist() == [0.0, 0.5, 1.0]
    assert fields["tiff/65002"].values.read().tolist() == ["motor 0", "motor 1", "motor 2"]
    assert fields["tiff/65003"].values.read().tolist() == [[0, 7], [1, 7], [2, 7]]
    assert fields["tiff/65004"].mask is not None
    assert fields["tiff/65004"].mask.read().tolist() == [True, False, True]
    assert fields["data"].role == Role.SIGNAL
    assert fields["data"].guessed


def test_ome_references_to_other_files_are_not_followed(tmp_path: Path) -> None:
    """tifffile would open the other file, and fill what it does not find with zeros."""
    tifffile.imwrite(tmp_path / "secret.tif", np.full((4, 4), 77, "u2"))
    (tmp_path / "in").mkdir()
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels DimensionOrder="XYZCT" ID="Pixels:0" SizeC="1" SizeT="1" SizeX="4" SizeY="4" SizeZ="2" Type="uint16">'
        '<TiffData IFD="0" FirstZ="0" PlaneCount="1"/><TiffData IFD="0" FirstZ="1" PlaneCount="1">'
        '<UUID FileName="../secret.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "in" / "a.ome.tif", np.full((4, 4), 5, "u2"), description=xml, metadata=None)
    report = Report()
    (record,) = read(tmp_path / "in" / "a.ome.tif", report)
    assert record.fields["data"].values.read().tolist() == np.full((1, 4, 4), 5).tolist()
    assert any("not read" in str(n) and "secret.tif" in str(n) for n in report.notices)


def test_a_box_reads_no_other_page(tmp_path: Path) -> None:
    """The last page is damaged, and a box before it is read all the same."""
    frames = noise((6, 32, 32), "u2")
    tifffile.imwrite(tmp_path / "a.tif", frames, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at = file.pages[5].dataoffsets[0]
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    raw[at : at + 8] = b"\xff" * 8
    (tmp_path / "a.tif").write_bytes(raw)
    assert FORMAT.open is not None
    with FORMAT.open(Location(str(tmp_path / "a.tif")), Policy(), Report()) as source:
        values = next(iter(source)).fields["data"].values
        np.testing.assert_array_equal(values.read((slice(1, 5), slice(3, 9))), frames[1:5, 3:9])
        with pytest.raises(InputError, match="page 5"):
            values.read((slice(5, 6),))


def test_a_huge_declared_image_is_refused_and_not_allocated(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((8, 8), "u2"), compression="zlib")
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tag = file.pages[0].tags[name]
            struct.pack_into("<HII", raw, tag.offset + 2, 4, 1, 400_000)
    (tmp_path / "a.tif").write_bytes(raw)
    with pytest.raises(InputError, match="takes"):
        read(tmp_path / "a.tif")


DAMAGED: dict[str, dict[str, Any]] = {
    "plain": {},
    "deflate": {"compression": "zlib"},
    "lzw": {"compression": "lzw", "predictor": 2},
    "tiles": {"tile": (16, 16)},
    "imagej": {"imagej": True},
    "big": {"bigtiff": True},
}


@pytest.mark.parametrize("way", DAMAGED)
def test_each_cut_of_a_file_is_one_error(tmp_path: Path, way: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((2, 9, 9), "u2"), photometric="minisblack", metadata=None, **DAMAGED[way])
    whole = path.read_bytes()
    (record,) = read(path)
    values = record.fields["data"].values.read()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        try:
            found = read(path)[0].fields["data"].values.read()
        except InputError:
            continue
        # some bytes at the end are padding that nothing refers to
        assert whole[n:].strip(b"\0") == b""
        np.testing.assert_array_equal(found, values)


def outcome(path: Path, policy: Policy) -> str:
    """Read a file to its end, within a budget; return the error's message if there was one."""
    assert FORMAT.open is not None
    try:
        with FORMAT.open(Location(str(path)), policy, Report()) as source:
            for record in source:
                for _ in record.blocks(budget=policy.memory):
                    pass
    except InputError as error:
        return error.message
    return ""


@pytest.mark.parametrize("way", DAMAGED)
def test_a_changed_byte_is_an_error_or_another_picture_but_no_crash(tmp_path: Path, way: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((2, 9, 9), "u2"), photometric="minisblack", **DAMAGED[way])
    whole = path.read_bytes()
    policy = Policy(memory=1 << 20)
    for n in RNG.choice(len(whole), min(250, len(whole)), replace=False):
        raw = bytearray(whole)
        raw[n] ^= int(RNG.integers(1, 256))
        path.write_bytes(raw)
        message = outcome(path, policy)
        assert "\n" not in message


def test_directories_in_a_circle_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((4, 4), "u2"), metadata=None)
    raw = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", raw, 4)
    (count,) = struct.unpack_from("<H", raw, first)
    struct.pack_into("<I", raw, first + 2 + 12 * count, first)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="circle"):
        read(path)


@needs_corpus
def test_every_file_of_the_corpus_is_read_as_tifffile_reads_it(corpus: Path) -> None:
    import logging

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    seen = 0
    for path in sorted(corpus.rglob("*")):
        if path.suffix.lower() not in (".tif", ".tiff"):
            continue
        seen += 1
        if path.name == "test-trunc.tiff":
            with pytest.raises(InputError, match="beyond the end"):
                read(path)
            continue
        found = [r.fields["data"].values.read() for r in read(path)]
        with tifffile.TiffFile(path) as file:
            groups: dict[Any, list[Any]] = {}
            for page in file.pages:
                image = page.asarray()
                groups.setdefault((image.shape, image.dtype), []).append(image)
        for (_, dtype), wanted in groups.items():
            assert any(f.dtype == dtype and np.array_equal(f, wanted) for f in found), path
    assert seen > 60


@pytest.mark.parametrize(("kind", "value"), [(2, "text"), (12, [float("nan")] * 2), (11, [1.5, 2.5])])
def test_pages_below_a_page_are_where_integers_say(tmp_path: Path, kind: int, value: Any) -> None:
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 5), "u2"), extratags=[(65330, kind, len(value), value, True)])
    path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 65330, kind), struct.pack("<HH", 330, kind)))
    assert FORMAT.open is not None
    with pytest.raises(InputError, match="SubIFDs of page"):
        list(FORMAT.open(Location(str(path)), Policy(), Report()))
