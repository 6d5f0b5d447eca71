"""Files of images are taken apart into frames and literals, and put together again byte for byte."""

from __future__ import annotations

import csv
import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import CORPUS, needs_corpus

from nxconvert import registry
from nxconvert.conversion import convert
from nxconvert.dissection import Content, Dissection, FileContent, pixels
from nxconvert.encoders import encoder
from nxconvert.errors import InputError
from nxconvert.location import Location

Frames = list[np.ndarray[Any, Any]]


def taken_apart(blob: bytes, name: str, file: str = "image") -> tuple[Dissection, Frames, int]:
    """Take a file apart and put it together again; return what it is made of, and how many pieces stay literals."""
    dissect = registry.by_name(name).dissect
    assert dissect is not None
    content = Content(file, memoryview(blob))
    found = dissect(content)
    frames = [np.array(pixels(content, found, i)) for i in range(len(found.frames))]
    again, end, literal = bytearray(), 0, 0
    for piece in found.pieces:
        assert piece.offset >= end, "pieces overlap"
        again += blob[end : piece.offset]
        end = piece.offset + piece.size
        box = frames[piece.frame][tuple(slice(a, b) for a, b in piece.box or ())]
        values, by, raw = np.ascontiguousarray(box), encoder(piece.encoder), memoryview(blob)[piece.offset : end]
        parameters = by.guess(raw, values, piece.parameters)
        literal += parameters is None
        again += raw if parameters is None else bytes(by.encode(values, parameters))
        assert parameters is None or by.guess(raw, values, parameters) == parameters
    again += blob[end:]
    assert again == blob
    for frame, values in zip(found.frames, frames, strict=True):
        assert (values.shape, values.dtype) == (frame.shape, frame.dtype)
    return found, frames, literal


def tiff(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def pages(blob: bytes) -> Frames:
    with tifffile.TiffFile(io.BytesIO(blob)) as file:
        return [page.asarray() for page in file.pages]


def counts(shape: tuple[int, ...], dtype: str = "u2", seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).poisson(3, shape).astype(dtype)


COMPRESSIONS: list[dict[str, Any]] = [
    {},
    {"rowsperstrip": 7},
    {"bigtiff": True},
    {"tile": (16, 16)},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True, "rowsperstrip": 9},
    {"compression": "lzw"},
    {"compression": "lzw", "predictor": True, "rowsperstrip": 5},
    {"compression": "packbits"},
    {"compression": "zlib", "tile": (16, 32)},
]


@pytest.mark.parametrize("options", COMPRESSIONS, ids=str)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8"])
def test_every_piece_of_a_tiff_is_encoded_again(dtype: str, order: str, options: dict[str, Any]) -> None:
    for shape in ((48, 64), (3, 48, 64), (48, 64, 3)):
        blob = tiff(
            counts(shape, dtype), byteorder=order, photometric="rgb" if shape[-1] == 3 else "minisblack", **options
        )
        found, frames, literal = taken_apart(blob, "tiff")
        assert found.pieces
        # tifffile finds other runs than libtiff does
        assert literal == 0 or options.get("compression") == "packbits"
        assert all(np.array_equal(a, b) for a, b in zip(frames, pages(blob), strict=True))
        if dtype != "u1":
            assert found.frames[0].dtype == np.dtype(order + dtype)


def test_planes_that_lie_apart_are_pieces_of_one_frame() -> None:
    values = counts((3, 40, 50))
    for options in ({}, {"rowsperstrip": 9, "compression": "lzw", "predictor": True}):
        blob = tiff(values, photometric="rgb", planarconfig="separate", **options)
        found, frames, literal = taken_apart(blob, "tiff")
        assert (len(found.frames), literal) == (1, 0)
        assert np.array_equal(frames[0], np.moveaxis(values, 0, -1))
    blob = tiff(values, photometric="minisblack", planarconfig="separate")
    found, frames, _ = taken_apart(blob, "tiff")
    assert np.array_equal(frames[0], values)
    assert len(found.pieces) == 1


def test_strips_one_after_the_other_are_one_piece_of_the_whole_frame() -> None:
    for options in ({}, {"rowsperstrip": 7}):
        found, _, _ = taken_apart(tiff(counts((40, 50)), **options), "tiff")
        assert [(p.size, p.box, p.encoder) for p in found.pieces] == [(4000, None, "raw")]


def test_a_strip_of_deflate_is_a_chunk_of_the_gzip_filter(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    values = counts((40, 50), ">u2")
    blob = tiff(values, compression="zlib", byteorder=">")
    found, _, _ = taken_apart(blob, "tiff")
    (piece,) = found.pieces
    assert (piece.box, piece.encoder, piece.parameters[0]) == (None, "deflate", 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", (40, 50), found.frames[0].dtype, chunks=(40, 50), compression="gzip")
        stored.id.write_direct_chunk((0, 0), blob[piece.offset : piece.offset + piece.size])
        assert np.array_equal(stored[()], values)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12])
def test_numbers_of_few_bits(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (21, 33)).astype("u2" if bits > 8 else "u1")
    rows = np.unpackbits(values.astype(">u2").reshape(21, 33, 1).view("u1").reshape(21, 33, 2), axis=2)
    packed = np.packbits(rows[:, :, 16 - bits :].reshape(21, -1), axis=1).tobytes()
    blob = _plain_tiff(packed, [(256, 33), (257, 21), (258, bits), (259, 1), (262, 1), (277, 1), (278, 21)])
    found, frames, literal = taken_apart(blob, "tiff")
    assert (len(found.pieces), literal) == (1, 0)
    assert np.array_equal(frames[0], values)
    assert np.array_equal(frames[0], pages(blob)[0])


def _plain_tiff(data: bytes, tags: list[tuple[int, int]], offset: int = 512) -> bytes:
    """Write a TIFF file of one strip, little-endian."""
    tags = sorted([*tags, (273, offset), (279, len(data))])
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", c, 4, 1, v) for c, v in tags) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(offset, b"\0") + data


def test_bytes_between_strips_are_no_pixels(tmp_path: Path) -> None:
    values = counts((40, 50))
    strips = [values[:20].tobytes() + b"x" * 10, values[20:].tobytes() + b"y" * 10]
    tags = [(256, 1, 50), (257, 1, 40), (258, 1, 16), (259, 1, 1), (262, 1, 1), (273, 2, 200), (277, 1, 1)]
    tags += [(278, 1, 20), (279, 2, 208)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", c, 4, n, v) for c, n, v in tags)
    sizes = [len(strip) for strip in strips]
    blob = head.ljust(200, b"\0") + struct.pack("<4I", 216, 216 + sizes[0], *sizes) + b"".join(strips)
    found, frames, _ = taken_apart(blob, "tiff")
    assert np.array_equal(frames[0], values)
    assert [p.size for p in found.pieces] == [2000, 2000]
    (tmp_path / "a.tif").write_bytes(blob)
    convert([str(tmp_path / "a.tif")], str(tmp_path / "b.tif"))
    assert np.array_equal(pages((tmp_path / "b.tif").read_bytes())[0], values)


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits"])
def test_what_libtiff_compressed_is_compressed_again(compression: str) -> None:
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(5)
    kinds: list[Callable[[int, int], np.ndarray[Any, Any]]] = [
        lambda h, w: draw.integers(0, 256, (h, w)),
        lambda h, w: draw.poisson(0.1, (h, w)),
        lambda h, w: np.zeros((h, w)),
        lambda h, w: np.repeat(draw.integers(0, 4, (h, w)), 3, axis=1)[:, :w],
        # a change after a long even part, where libtiff gives up its table of strings
        lambda h, w: np.where(np.arange(h * w).reshape(h, w) % 60000 < 40000, 0, draw.integers(0, 256, (h, w))),
    ]
    for make in kinds:
        for h, w in ((1, 1), (7, 130), (300, 400)):
            out = io.BytesIO()
            values = (make(h, w) % 256).astype("u1")
            image.fromarray(values).save(out, "TIFF", compression=compression, strip_size=1 << 24)
            found, frames, literal = taken_apart(out.getvalue(), "tiff")
            assert literal == 0
            assert len(found.pieces) > 0
            assert np.array_equal(frames[0], values)


@pytest.mark.usefixtures("with_and_without_compiled")
def test_lzw_of_tifffile_is_made_again_without_its_library() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    lzw, draw = encoder("lzw"), np.random.default_rng(2)
    for n in (1, 2, 255, 3839, 3840, 3841, 20_000, 300_000):
        for most in (1, 3, 256):
            values = draw.integers(0, most, (1, n)).astype("u1")
            raw = imagecodecs.lzw_encode(values.tobytes())
            parameters = lzw.guess(memoryview(raw), values, (1, 1))
            assert parameters is not None
            assert bytes(lzw.encode(values, parameters)) == raw
            assert np.array_equal(lzw.decode(memoryview(raw), (1, n), values.dtype, parameters), values)


def test_deflate_of_another_level_and_library_is_found() -> None:
    zlib = pytest.importorskip("zlib")
    values = counts((100, 90))
    tags = [(256, 90), (257, 100), (258, 16), (259, 8), (262, 1), (277, 1), (278, 100)]
    for level in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        _, frames, literal = taken_apart(_plain_tiff(zlib.compress(values.tobytes(), level), tags), "tiff")
        assert literal == 0
        assert np.array_equal(frames[0], values)
    strange = zlib.compressobj(6, zlib.DEFLATED, 15, 1, zlib.Z_HUFFMAN_ONLY)
    data = strange.compress(values.tobytes()) + strange.flush()
    _, frames, literal = taken_apart(_plain_tiff(data, tags), "tiff")
    assert literal == 1, "no way was found, so the strip stays as it is, and its pixels are read all the same"
    assert np.array_equal(frames[0], values)


@pytest.mark.parametrize(
    "options", [{"compression": "zstd"}, {"compression": "jpeg"}, {"compression": "zlib", "tile": (32, 32)}], ids=str
)
def test_what_cannot_be_encoded_again_is_read_all_the_same(options: dict[str, Any]) -> None:
    blob = tiff(counts((3, 40, 50), "u1"), photometric="minisblack", **options)
    found, frames, _ = taken_apart(blob, "tiff")
    assert not found.pieces
    assert all(np.array_equal(a, b) for a, b in zip(frames, pages(blob), strict=True))


@pytest.mark.parametrize("compression", [None, "lzw", "packbits"])
def test_tiles_that_stick_out_are_encoded_again(compression: str | None) -> None:
    for shape in ((40, 50), (2, 15, 33), (40, 50, 3), (3, 40, 50)):
        separate = shape == (3, 40, 50)
        options: dict[str, Any] = {"planarconfig": "separate"} if separate else {}
        photometric = "rgb" if shape[-1] == 3 or separate else "minisblack"
        blob = tiff(counts(shape), tile=(16, 32), compression=compression, photometric=photometric, **options)
        found, frames, literal = taken_apart(blob, "tiff")
        assert any(piece.encoder == "tile" for piece in found.pieces)
        assert literal == 0 or compression == "packbits"
        expected = np.moveaxis(counts(shape), 0, -1) if separate else counts(shape)
        assert np.array_equal(np.stack(frames) if shape[0] == 2 else frames[0], expected)


def test_what_is_beyond_the_image_may_be_its_edge() -> None:
    values = counts((10, 20))
    tile = np.pad(values, [(0, 6), (0, 12)], "edge")
    for tiles, ways in ((tile, {"edge"}), (np.pad(values, [(0, 6), (0, 12)]), {"zero"})):
        by = encoder("tile")
        parameters = by.guess(memoryview(tiles.tobytes()), values, (1, 16, 32, "raw"))
        assert parameters is not None
        assert parameters[0] in ways
        assert bytes(by.encode(values, parameters)) == tiles.tobytes()
        assert np.array_equal(by.decode(memoryview(tiles.tobytes()), (10, 20), values.dtype, parameters), values)
    strange = np.pad(values, [(0, 6), (0, 12)], constant_values=9)
    assert by.guess(memoryview(strange.tobytes()), values, (1, 16, 32, "raw")) is None


def test_pages_that_share_their_pixels_are_all_read() -> None:
    values = counts((20, 30))
    tags = [(256, 30), (257, 20), (258, 16), (259, 1), (262, 1), (277, 1), (278, 20)]
    blob = bytearray(_plain_tiff(values.tobytes(), tags))
    end = 8 + 2 + 9 * 12
    second = len(blob)
    blob += blob[8 : end + 4]
    blob[end : end + 4] = struct.pack("<I", second)
    found, frames, _ = taken_apart(bytes(blob), "tiff")
    assert len(found.pieces) == 1
    assert [np.array_equal(f, values) for f in frames] == [True, True]


def test_a_stack_of_imagej_with_one_directory(tmp_path: Path) -> None:
    values = counts((4, 20, 30))
    metadata = {"unit": "mm", "Labels": list("abcd"), "Info": "made here"}
    blob = tiff(values, imagej=True, metadata=metadata, resolution=(2.0, 4.0))
    found, frames, _ = taken_apart(blob, "tiff")
    assert np.array_equal(np.stack(frames), values)
    header = {e.key: (e.value, e.unit) for e in [*found.header, *found.frames[0].header]}
    assert header["x_pixel_size"] == (0.5, "mm")
    assert header["tiff/Info"] == ("made here", "")
    assert [next(e.value for e in f.header if e.key == "label") for f in found.frames] == list("abcd")


def test_header_entries_are_the_fields_that_convert_gives(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    extra = [(65001, "d", 1, 12.5, True), (65002, "H", 3, (1, 2, 3), True), (65003, "s", 0, "öl".encode(), True)]
    blob = tiff(counts((5, 6)), description="a scan", software="mine", extratags=extra, metadata=None)
    (tmp_path / "a.tif").write_bytes(blob)
    convert([str(tmp_path / "a.tif")], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as file:
        names = {name.replace("\u2215", "/") for name in file["entry/header"]}
    found, _, _ = taken_apart(blob, "tiff")
    header = {e.key: e.value for e in found.frames[0].header}
    assert header["tiff/65001"] == 12.5
    assert header["tiff/65002"] == "1 2 3"
    assert (header["tiff/65003"], header["tiff/ImageDescription"]) == ("öl", "a scan")
    assert set(header) == names


@needs_corpus
def test_120_of_123_tiff_files_are_rebuilt_from_frames() -> None:
    with (CORPUS / "MANIFEST.tsv").open(encoding="utf-8") as file:
        paths = [row["path"] for row in csv.DictReader(file, delimiter="\t") if row["format"] == "TIFF"]
    rebuilt = []
    for path in paths:
        try:
            found, frames, literal = taken_apart((CORPUS / path).read_bytes(), "tiff", path)
        except InputError:
            continue
        if not literal and all(frame.read is None for frame in found.frames):
            rebuilt.append(path)
        try:
            expected = pages((CORPUS / path).read_bytes())
        except (RuntimeError, ValueError):
            continue  # one that tifffile cannot read
        for values, other in zip(frames, expected, strict=False):
            assert np.array_equal(values, other, equal_nan=values.dtype.kind == "f"), path
    assert len(rebuilt) >= 120
    assert len(paths) == 123


def test_a_file_is_the_same_read_or_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    dissect = registry.by_name("tiff").dissect
    assert dissect is not None
    for options in ({}, {"compression": "zstd"}):
        blob = tiff(counts((3, 300, 400)), photometric="minisblack", **options)
        path.write_bytes(blob)
        with FileContent(path) as content:
            found = dissect(content)
            frames = [np.array(pixels(content, found, i)) for i in range(3)]
        other, same, _ = taken_apart(blob, "tiff")
        assert list(found.pieces) == list(other.pieces)
        assert np.array_equal(frames, same)


def marccd(values: np.ndarray[Any, Any], order: str = "<") -> bytes:
    """Write a MarCCD file by its documentation."""
    height, width = values.shape
    depth, number = values.itemsize, {"<": 1234, ">": 4321}[order]
    tags = [(256, width), (257, height), (258, 8 * depth), (259, 1), (262, 1), (273, 4096), (277, 1), (278, height)]
    tags += [(279, values.nbytes), (34710, 1024)]
    directory = struct.pack(f"{order}H", len(tags))
    directory += b"".join(struct.pack(f"{order}HHII", code, 4, 1, value) for code, value in tags) + bytes(4)
    mar = bytearray(3072)
    struct.pack_into(f"{order}I16s4I", mar, 0, 2, b"MMX", 1, 0, number, number)
    struct.pack_into(f"{order}3I", mar, 80, width, height, depth)
    struct.pack_into(f"{order}3i", mar, 640, 150_500, 512_000, 513_000)
    struct.pack_into(f"{order}i", mar, 684, -45_000)
    struct.pack_into(f"{order}i", mar, 908, 97_934)
    mar[1024:1030] = b"lysozy"
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8) + directory
    return head.ljust(1024, b"\0") + bytes(mar) + values.astype(values.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_marccd(dtype: str, order: str, tmp_path: Path) -> None:
    oracle = pytest.importorskip("fabio.marccdimage")
    values = counts((30, 40), dtype)
    blob = marccd(values, order)
    path = tmp_path / "a.mccd"
    path.write_bytes(blob)
    found, frames, literal = taken_apart(blob, "marccd")
    image = oracle.MarccdImage()
    image.read(str(path))
    assert np.array_equal(frames[0], values)
    assert np.array_equal(frames[0], image.data)
    assert [(p.offset, p.encoder, literal) for p in found.pieces] == [(4096, "raw", 0)]
    header = {e.key: (e.value, e.unit) for e in found.frames[0].header}
    assert header["xtal_to_detector"] == (150_500, "um")
    assert header["start_kappa"][0] == 0
    assert header["start_phi"] == (-45_000, "mdeg")
    assert header["source_wavelength"] == (97_934, "fm")
    assert header["filetitle"] == ("lysozy", "")
    if order == "<":
        names = [name.partition("[")[0] for name in oracle.HEADER_NAMES]
        theirs = dict(zip(names, struct.unpack("<" + oracle.HEADER_FORMAT, blob[1024:4096]), strict=True))
        numbers = {key: value for key, (value, _) in header.items() if not isinstance(value, str)}
        assert numbers == {key: theirs[key] for key in numbers}
    assert registry.detect(Location(str(path)), registry.head(Location(str(path)))).name == "marccd"


def test_marccd_whose_headers_disagree_or_that_is_cut_off_is_an_error() -> None:
    blob = marccd(counts((30, 40)))
    for damaged in (blob[:-1], blob[:3000], blob[: 1024 + 80] + b"\1" + blob[1024 + 81 :]):
        with pytest.raises(InputError):
            taken_apart(damaged, "marccd")


def fabio_files(folder: Path) -> list[Path]:
    """Write files of some formats with fabio, and by hand those that it only reads."""
    fabio = pytest.importorskip("fabio")
    from fabio import fabioformats

    values = counts((60, 80))
    out = []
    made: list[tuple[str, str, np.ndarray[Any, Any]]] = [
        ("dtrekimage", "a.img", values),
        ("fit2dmaskimage", "a.msk", (values > 3).astype("u1")),
        ("brukerimage", "a.bru", values),
        ("bruker100image", "a.sfrm", values.astype("i4") * 500),
        ("pnmimage", "a.pgm", values * 90),
        ("pnmimage", "b.pgm", values.astype("u1")),
        ("oxdimage", "o.img", values.astype("i4")),
        ("esperantoimage", "a.esper", counts((256, 256), "i4")),
    ]
    for kind, name, data in made:
        type(fabioformats.factory(kind))(data=data, header={}).write(str(folder / name))
        out.append(folder / name)
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, 80, 60, 3, 6)
    head[208:216] = b"MAP DA\0\0"
    hand = {"a.mrc": bytes(head) + counts((3, 60, 80), seed=1).tobytes()}
    hand["a.pixi"] = b"".join(
        b"\n\xb8\x03\0" + bytes(20) + counts((512, 476), seed=seed).tobytes() for seed in range(2)
    )
    spe = bytearray(4100)
    for at, value in ((42, 80), (656, 60), (1446, 2), (108, 3)):
        struct.pack_into("<h", spe, at, value)
    spe[2996:3000] = b"\x67\x45\x23\x01"
    spe[20:30], spe[172:179] = b"01Jan2020\0", b"101112\0"
    hand["a.spe"] = bytes(spe) + values.tobytes() * 2
    for name, blob in hand.items():
        (folder / name).write_bytes(blob)
        out.append(folder / name)
    assert fabio
    return out


def test_rarer_formats_are_read_as_fabio_reads_them(tmp_path: Path) -> None:
    fabio = pytest.importorskip("fabio")
    pieces = {}
    for path in fabio_files(tmp_path):
        location = Location(str(path))
        assert registry.detect(location, registry.head(location)).name == "fabio", path
        found, frames, literal = taken_apart(path.read_bytes(), "fabio", str(path))
        assert literal == 0
        pieces[path.name] = (len(found.frames), len(found.pieces))
        if path.suffix not in (".spe", ".bru"):  # which fabio's own guess of formats takes for others
            with fabio.open(str(path)) as image:
                assert np.array_equal(frames[0], image.data)
                assert image.nframes == len(frames)
    # those with overflows elsewhere, or compressed, are decoded
    assert {name for name, (_, n) in pieces.items() if n == 0} == {"a.msk", "a.sfrm", "o.img", "a.esper"}
    assert (pieces["a.mrc"], pieces["a.pixi"], pieces["a.spe"]) == ((3, 3), (2, 2), (2, 2))


@needs_corpus
def test_formats_of_the_corpus_that_fabio_reads() -> None:
    fabio = pytest.importorskip("fabio")
    for path in ("images/img/photon_counting.img", "images/msk/fit2d2.msk", "series/sfrm_ceo2/powCeO2_00.sfrm"):
        found, frames, _ = taken_apart((CORPUS / path).read_bytes(), "fabio", path)
        with fabio.open(str(CORPUS / path)) as image:
            assert np.array_equal(frames[0], image.data)
            known = {str(k) for k in image.header}
        assert {e.key for e in found.frames[0].header} <= known
    (piece,) = taken_apart((CORPUS / "images/img/photon_counting.img").read_bytes(), "fabio")[0].pieces
    assert piece.size == 512 * 672 * 2


@needs_corpus
def test_no_file_of_another_format_is_claimed_for_fabio() -> None:
    theirs = registry.by_name("fabio")
    with (CORPUS / "MANIFEST.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            claimed = theirs.sniff(registry.head(Location(str(CORPUS / row["path"]))))
            assert bool(claimed) == (row["format"] in ("IMG", "MSK", "SFRM")), row["path"]


def test_what_is_cut_off_is_an_error(tmp_path: Path) -> None:
    plain = ("a.img", "a.pgm", "b.pgm", "a.mrc", "a.pixi", "a.spe")
    for path in fabio_files(tmp_path):
        if path.name in plain:
            blob = path.read_bytes()
            for n in (1, len(blob) // 3):
                with pytest.raises(InputError):
                    taken_apart(blob[:-n], "fabio")
    for options in COMPRESSIONS:
        # tifffile writes the directory first
        blob = tiff(counts((48, 64)), **options)
        for n in (1, len(blob) // 2, len(blob) - 9):
            with pytest.raises(InputError):
                taken_apart(blob[:-n], "tiff")


def test_mutated_files_are_errors_or_are_rebuilt(tmp_path: Path) -> None:
    draw = random.Random(7)
    seeds = [("tiff", tiff(counts((3, 16, 16)), photometric="minisblack", **options)) for options in COMPRESSIONS]
    seeds += [("tiff", tiff(counts((2, 20, 20)), imagej=True)), ("marccd", marccd(counts((9, 8))))]
    seeds += [("fabio", path.read_bytes()) for path in fabio_files(tmp_path) if path.stat().st_size < 50_000]
    right, lines = 0, []
    for _ in range(1200):
        name, blob = draw.choice(seeds)
        damaged = bytearray(blob)
        for _ in range(draw.choice((1, 1, 3))):
            damaged[draw.randrange(draw.choice((20, 300, len(blob))))] = draw.choice(
                (0, 1, 2, 255, draw.randrange(256))
            )
        try:
            taken_apart(bytes(damaged), name)
            right += 1
        except InputError as error:
            lines.append(error.message)
    assert right > 100
    assert len(lines) > 100
    assert not any("\n" in line for line in lines)
