"""CBF: byte offsets against fabio and a plain reference, dissection of real and damaged files, writing."""

import base64
import contextlib
import hashlib
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CORPUS, needs_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nxconvert import registry
from nxconvert.array import Values
from nxconvert.byte_offset import ByteOffset
from nxconvert.conversion import Plan, convert
from nxconvert.dissection import Content, Dissection, FileContent, pixels
from nxconvert.encoders import encoder
from nxconvert.errors import InputError, OutputError, UsageError
from nxconvert.format import Location, Policy, Report
from nxconvert.formats.cbf import FORMAT, dissect
from nxconvert.record import Field, Record, Role

fabio = pytest.importorskip("fabio")

REAL = sorted([*CORPUS.glob("images/cbf/*.cbf"), *CORPUS.glob("series/cbf_gisaxs/*.cbf")])
CODEC = ByteOffset()
INT32 = np.dtype("<i4")


# A reference, one pixel at a time


def steps_of(values: np.ndarray) -> list[int]:
    bits = values.dtype.itemsize * 8
    last, out = 0, []
    for v in values.ravel().tolist():
        step = (v - last) % (1 << bits)
        out.append(step - (1 << bits) if step >= 1 << (bits - 1) else step)
        last = v
    return out


def one(step: int, least: int = 1) -> bytes:
    """Encode a difference in at least so many bytes."""
    if least <= 1 and abs(step) <= 127:
        return struct.pack("<b", step)
    if least <= 2 and abs(step) <= 32767:
        return b"\x80" + struct.pack("<h", step)
    if least <= 4 and -(2**31) < step < 2**31:
        return b"\x80\x00\x80" + struct.pack("<i", step)
    return b"\x80\x00\x80\x00\x00\x00\x80" + struct.pack("<q", step)


def decoded(raw: bytes, n: int, dtype: np.dtype) -> np.ndarray:
    bits = dtype.itemsize * 8
    at, last, out = 0, 0, []
    while at < len(raw):
        for width, escape in ((1, -(2**7)), (2, -(2**15)), (4, -(2**31)), (8, None)):
            if at + width > len(raw):
                raise ValueError("truncated")
            step = int.from_bytes(raw[at : at + width], "little", signed=True)
            at += width
            if step != escape:
                break
        last = (last + step) % (1 << bits)
        out.append(last)
    if len(out) != n:
        raise ValueError("another number of pixels")
    return np.array(out, np.uint64).astype(f"<u{dtype.itemsize}").view(dtype)


EDGES = [0, 1, 126, 127, 128, 129, 255, 256, 32766, 32767, 32768, 32769, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**62]
EDGES += [-e for e in EDGES]


@st.composite
def images(draw: Any) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", ">i4", ">u2"])))
    if draw(st.booleans()):
        return draw(hnp.arrays(dtype, st.integers(1, 40)))
    steps = draw(st.lists(st.sampled_from(EDGES), min_size=1, max_size=60))
    total, out = 0, []
    for step in steps:
        total += step
        out.append(total % (1 << (8 * dtype.itemsize)))
    return np.array(out, np.uint64).astype(f"u{dtype.itemsize}").view(f"{dtype.kind}{dtype.itemsize}").astype(dtype)


@pytest.mark.usefixtures("with_and_without_compiled")
@given(images())
@settings(max_examples=300, deadline=None)
def test_byte_offsets_are_canonical_and_come_back(values: np.ndarray) -> None:
    encoded = CODEC.encode(values, ())
    assert memoryview(encoded).format == "B"  # two views are equal only when their formats are alike
    raw = bytes(encoded)
    assert raw == b"".join(one(step) for step in steps_of(values))
    assert CODEC.guess(memoryview(raw), values, ()) == ()
    for other in (raw[:-1], raw + b"\0", raw[:-1] + bytes([raw[-1] ^ 1])):
        assert CODEC.guess(memoryview(other), values, ()) is None
    back = CODEC.decode(memoryview(raw), values.shape, values.dtype, ())
    assert back.dtype == values.dtype
    assert back.flags.c_contiguous
    assert np.array_equal(back, values)


@pytest.mark.usefixtures("with_and_without_compiled")
@given(
    st.lists(
        st.tuples(st.integers(-(2**31) + 1, 2**31 - 1) | st.sampled_from(EDGES[:15]), st.sampled_from([1, 2, 4, 8]))
    )
)
@settings(max_examples=200, deadline=None)
def test_wider_differences_than_needed_are_read(steps: list[tuple[int, int]]) -> None:
    raw = b"".join(one(step, least) for step, least in steps)
    want = decoded(raw, len(steps), INT32)
    assert np.array_equal(CODEC.decode(memoryview(raw), want.shape, INT32, ()), want)


@pytest.mark.usefixtures("with_and_without_compiled")
@given(
    st.binary(min_size=1, max_size=80) | st.lists(st.sampled_from(b"\x80\x00\x80\x01\xff\x7f"), min_size=1).map(bytes),
    st.integers(-2, 2),
    st.sampled_from(["<i2", "<i4", "<u4", "<i8"]),
)
@settings(max_examples=600, deadline=None)
def test_any_bytes_are_read_right_or_refused(raw: bytes, more: int, name: str) -> None:
    dtype = np.dtype(name)
    n = len(raw)
    for known in range(1, n + 1):  # the number of pixels that these bytes hold, if they are whole
        try:
            want: np.ndarray | None = decoded(raw, known, dtype)
            break
        except ValueError:
            want = None
    n = max(1, (len(want) if want is not None else n) + more)
    if want is not None and n == len(want):
        assert np.array_equal(CODEC.decode(memoryview(raw), (n,), dtype, ()), want)
    else:
        with pytest.raises(ValueError, match="pixel"):
            CODEC.decode(memoryview(raw), (n,), dtype, ())


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize("share", [0, 0.001, 0.02, 0.3, 1])
def test_byte_offsets_agree_with_fabio(share: float) -> None:
    from fabio.ext import byte_offset as theirs

    rng = np.random.default_rng(1)
    values = rng.poisson(3, 20_000).astype(np.int32)
    high = rng.random(len(values)) < share
    values[high] = rng.integers(-(2**30), 2**30, high.sum())
    values[high & (rng.random(len(values)) < 0.5)] = 1000
    encoded = CODEC.encode(values, ())
    assert memoryview(encoded).format == "B"
    raw = bytes(encoded)
    assert raw == theirs.comp_cbf32(values).tobytes() == theirs.comp_cbf(values.astype(np.int64)).tobytes()
    assert np.array_equal(theirs.dec_cbf32(raw, values.size), values)
    assert np.array_equal(CODEC.decode(memoryview(raw), values.shape, INT32, ()), values)
    for cut in (1, 2, 3, 5):
        with pytest.raises(ValueError, match="pixel"):
            CODEC.decode(memoryview(raw[:-cut]), values.shape, INT32, ())
    for more in (b"\x00", b"\x80", bytes(20), b"\x80\x00\x80" + bytes(4)):
        with pytest.raises(ValueError, match="pixel"):
            CODEC.decode(memoryview(raw + more), values.shape, INT32, ())


@pytest.mark.usefixtures("with_and_without_compiled")
def test_many_marks_inside_others_are_told_apart() -> None:
    """Chains of 0x80 bytes, longer than the rounds that are done at once."""
    values = np.cumsum(np.tile([-0x7F7F7F80 % 2**32, 5, 0x8080], 3000).astype(np.int64)).astype(np.int64)
    raw = bytes(CODEC.encode(values, ()))
    assert np.array_equal(CODEC.decode(memoryview(raw), values.shape, values.dtype, ()), values)
    marks = b"\x80" * 30_000  # each is an escape and 0x8080
    assert np.array_equal(
        CODEC.decode(memoryview(marks), (10_000,), np.dtype("<i8"), ()), np.arange(1, 10_001) * -0x7F80
    )


# Real files


def rebuilt(content: Content, found: Dissection) -> bytes:
    """Put a file together again from its frames and what is in no piece."""
    out, at = [], 0
    for piece in found.pieces:
        out.append(bytes(content.view(at, piece.offset - at)))
        out.append(bytes(encoder(piece.encoder).encode(pixels(content, found, piece.frame), piece.parameters)))
        at = piece.offset + piece.size
    out.append(bytes(content.view(at, content.size - at)))
    return b"".join(out)


@needs_corpus
def test_real_files_are_rebuilt_from_frames() -> None:
    exact = 0
    for path in REAL:
        with FileContent(path) as content:
            if path.name.startswith("template"):
                with pytest.raises(InputError, match="has no image"):
                    dissect(content)
                continue
            found = dissect(content)
            assert found.frames[0].read is None
            assert found.pieces[0].md5
            exact += rebuilt(content, found) == path.read_bytes()
            if not path.name.startswith("fit2d"):  # fabio does not read it
                assert np.array_equal(pixels(content, found, 0), fabio.open(str(path)).data)
    assert exact >= 5
    assert exact == len(REAL) - 1


@needs_corpus
def test_the_header_of_a_real_file() -> None:
    with FileContent(CORPUS / "images/cbf/omega_scan.cbf") as content:
        found = dissect(content)
    entries = {e.key: (e.value, e.unit) for e in (*found.header, *found.frames[0].header)}
    assert entries["Detector"] == ("PILATUS 300K, S/N 3-0104, Diamond", "")
    assert entries["timestamp"] == ("2011-07-14T12:45:19.719", "")
    assert entries["Pixel_size_x"] == entries["Pixel_size_y"] == ("172e-6", "m")
    assert entries["sensor_thickness"] == ("0.000320", "m")
    assert entries["Tau"] == ("125.0e-09", "s")
    assert entries["Start_angle"] == ("9.5000", "deg")
    assert entries["Beam_x"] == entries["Beam_y"] == ("2000.00", "pixels")
    assert entries["Flux"] == ("0", "")
    assert entries["_diffrn.id"] == ("DLS_I09", "")
    assert entries["_diffrn_source.type"] == ("Diamond Light Source Beamline I19", "")
    assert entries["_array_structure_list.dimension"] == ("487 619", "")
    assert entries["_axis.equipment"][0].split()[:4] == ["goniometer", "goniometer", "goniometer", "source"]


# Files made here

TEXT = """\
###CBF: VERSION 1.5, a test

data_made
# a comment
_one 'a b'
_two "it's"
_three 2.5
_array_data.header_contents
;
# Silicon sensor, thickness 0.00045 m
# 2024-Oct-26T01:38:05.208
# Exposure_time 0.5 s
# Exposure_time 0.7 s
# Gain = 3
# Path: /a b/c
# Lonely
# Chi -10.0 deg.
;
""".replace("\n", "\r\n")


def section(
    values: np.ndarray, raw: bytes | None = None, number: int = 1, conversion: str = "x-CBF_BYTE_OFFSET", **other: Any
) -> bytes:
    """Write a binary section; ``other`` replaces keys of its header, or with None removes them."""
    raw = bytes(CODEC.encode(values, ())) if raw is None else raw
    kind = {"i": "signed", "u": "unsigned", "f": "signed"}[values.dtype.kind]
    real = "real IEEE" if values.dtype.kind == "f" else "integer"
    keys: dict[str, Any] = {
        "Content-Type": f'application/octet-stream;\r\n     conversions="{conversion}"',
        "Content-Transfer-Encoding": "BINARY",
        "X-Binary-Size": len(raw),
        "X-Binary-ID": number,
        "X-Binary-Element-Type": f'"{kind} {8 * values.dtype.itemsize}-bit {real}"',
        "X-Binary-Element-Byte-Order": "BIG_ENDIAN" if values.dtype.str[0] == ">" else "LITTLE_ENDIAN",
        "Content-MD5": base64.b64encode(hashlib.md5(raw).digest()).decode(),
        "X-Binary-Number-of-Elements": values.size,
        "X-Binary-Size-Fastest-Dimension": values.shape[-1],
        "X-Binary-Size-Second-Dimension": values.shape[-2],
        "X-Binary-Size-Padding": 100,
    }
    if values.ndim == 3:
        keys["X-Binary-Size-Third-Dimension"] = values.shape[0]
    keys |= {k.replace("_", "-"): v for k, v in other.items()}
    head = "".join(f"{k}: {v}\r\n" for k, v in keys.items() if v is not None)
    out = f"_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n{head}\r\n".encode()
    return out + b"\x0c\x1a\x04\xd5" + raw + bytes(100) + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"


def content(raw: bytes) -> Content:
    return Content("made.cbf", memoryview(raw))


def read(raw: bytes) -> list[np.ndarray]:
    found = dissect(content(raw))
    return [pixels(content(raw), found, n) for n in range(len(found.frames))]


IMAGE = (np.arange(60).reshape(6, 10) ** 3 - 9).astype(np.int32)


def test_keys_values_and_units() -> None:
    found = dissect(content(TEXT.encode() + section(IMAGE, X_Special="kept")))
    entries = [tuple(e) for e in (*found.header, *found.frames[0].header)]
    assert entries == [
        ("CBF", "VERSION 1.5, a test", ""),
        ("data_block", "made", ""),
        ("_one", "a b", ""),
        ("_two", "it's", ""),
        ("_three", "2.5", ""),
        ("sensor", "Silicon", ""),
        ("sensor_thickness", "0.00045", "m"),
        ("timestamp", "2024-Oct-26T01:38:05.208", ""),
        ("Exposure_time", "0.5", "s"),
        ("Exposure_time", "0.7", "s"),
        ("Gain", "3", ""),
        ("Path", "/a b/c", ""),
        ("Lonely", "", ""),
        ("Chi", "-10.0", "deg"),
        ("x-special", "kept", ""),
    ]


def test_a_header_becomes_fields_with_units_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.cbf"
    path.write_bytes(TEXT.encode() + section(IMAGE))
    with FORMAT.open(Location(str(path)), Policy(), Report()) as source:
        (record,) = source
        assert record.fields["Exposure_time"].units == "s"
        assert record.fields["Exposure_time"].values.read() == 0.5
        assert record.fields["Exposure_time#2"].values.read() == 0.7
        assert record.fields["data"].role == Role.SIGNAL
        assert np.array_equal(record.fields["data"].values.read()[0], IMAGE)


@pytest.mark.parametrize("odd", ["# Sample caf\xe9 \xb5", "# \xb5 1 \xb5m", "_x '\xe9'"])
def test_headers_that_are_not_utf8(odd: str) -> None:
    raw = TEXT.replace("# Lonely", odd) if odd[0] == "#" else TEXT.replace("_three 2.5", odd)
    found = dissect(content(raw.encode("latin-1") + section(IMAGE)))
    entries = [tuple(e) for e in (*found.header, *found.frames[0].header)]
    assert any("\xe9" in e[1] or "\xb5" in e[0] for e in entries)
    assert any(e[0] == "Chi" for e in entries)


@pytest.mark.parametrize("name", ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"])
@pytest.mark.parametrize("conversion", ["x-CBF_BYTE_OFFSET", "x-CBF_NONE", ""])
def test_types_of_pixels(name: str, conversion: str) -> None:
    values = np.arange(35).reshape(5, 7).astype(name) * 3
    raw = None if "OFFSET" in conversion else values.tobytes()
    extra = {} if conversion else {"Content_Type": "application/octet-stream"}
    (back,) = read(TEXT.encode() + section(values, raw, conversion=conversion, **extra))
    assert back.dtype == values.dtype
    assert np.array_equal(back, values)


def test_big_endian_pixels() -> None:
    values = IMAGE.astype(">i4")
    (back,) = read(TEXT.encode() + section(values, values.tobytes(), conversion="x-CBF_NONE"))
    assert back.dtype == values.dtype
    assert np.array_equal(back, IMAGE)
    with pytest.raises(InputError, match="big-endian"):
        dissect(content(TEXT.encode() + section(values)))


def test_several_sections_and_three_dimensions() -> None:
    other = np.ones((2, 3), np.uint16)
    raw = TEXT.encode() + section(IMAGE) + b"_array_data.note x\r\n" + section(other, number=2) + b"_last 1\r\n"
    first, second = read(raw)
    assert np.array_equal(first, IMAGE)
    assert np.array_equal(second, other)
    found = dissect(content(raw))
    assert rebuilt(content(raw), found) == raw
    assert ("_last", "1", "") in [tuple(e) for e in found.header]
    assert ("_array_data.note", "x", "") in [tuple(e) for e in found.frames[1].header]
    cube = np.arange(24, dtype=np.int32).reshape(2, 3, 4) * 999
    assert np.array_equal(read(TEXT.encode() + section(cube)), cube)
    assert np.array_equal(read(TEXT.encode() + section(cube, cube.tobytes(), conversion="x-CBF_NONE")), cube)


def test_dimensions_that_only_the_cif_states() -> None:
    listed = "loop_\n_array_structure_list.array_id\n_array_structure_list.index\n"
    listed += "_array_structure_list.dimension\n_array_structure_list.precedence\nA 1 6 2\nA 2 10 1\n"
    gone = {"X_Binary_Size_Fastest_Dimension": None, "X_Binary_Size_Second_Dimension": None}
    (back,) = read(TEXT.encode() + listed.encode() + section(IMAGE, **gone))
    assert np.array_equal(back, IMAGE)
    with pytest.raises(InputError, match="dimensions"):
        dissect(content(TEXT.encode() + section(IMAGE, **gone)))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"X_Binary_Size": 10}, "10 bytes for 60 pixels"),
        ({"X_Binary_Size": 10**9}, "truncated"),
        ({"X_Binary_Size": "-5"}, "no size"),
        ({"X_Binary_Size": None}, "x-binary-size"),
        ({"X_Binary_Number_of_Elements": 61}, "61 elements"),
        ({"X_Binary_Size_Fastest_Dimension": 0}, "dimensions"),
        ({"X_Binary_Size_Fastest_Dimension": 11, "X_Binary_Number_of_Elements": None}, "66"),
        ({"X_Binary_Size_Second_Dimension": 10**17, "X_Binary_Number_of_Elements": None}, "pixels"),
        ({"X_Binary_Element_Type": '"signed 12-bit integer"'}, "type of pixels"),
        ({"X_Binary_Element_Type": None}, "type of pixels"),
        ({"X_Binary_Element_Byte_Order": "MIDDLE"}, "type of pixels"),
        ({"Content_Transfer_Encoding": "BASE64"}, "BASE64"),
        ({"Content_MD5": "abc"}, "no MD5"),
        ({"Content_MD5": None, "Content,MD5": "abc"}, "no line of the header"),
        ({"CONTENT_MD5": "abc"}, "or a second one"),
        ({"Content_MD5": base64.b64encode(bytes(16)).decode()}, "MD5"),
        ({"Content_Type": 'x;\r\n conversions="x-CBF_PACKED"'}, "cbf_packed"),
    ],
)
def test_headers_that_are_wrong_are_one_error(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        read(TEXT.encode() + section(IMAGE, **changed))
    assert "\n" not in str(raised.value)


def test_a_damaged_frame_is_an_error() -> None:
    good = TEXT.encode() + section(IMAGE)
    at = good.index(b"\xd5") + 30
    bad = bytearray(good)
    bad[at] ^= 4
    with pytest.raises(InputError, match="MD5"):
        read(bytes(bad))
    raw = bytes(CODEC.encode(IMAGE, ()))
    with pytest.raises(InputError, match=r"damaged.*pixel"):
        read(TEXT.encode() + section(IMAGE, raw + b"\0", Content_MD5=None))


def test_a_file_cut_anywhere_is_an_error_or_whole() -> None:
    good = TEXT.encode() + section(IMAGE)
    end = good.rindex(b"SECTION----") + len("SECTION----")
    for size in range(len(good)):
        if size >= end:
            assert np.array_equal(read(good[:size])[0], IMAGE)
        else:
            with pytest.raises(InputError):
                read(good[:size])


def test_damaged_headers_give_one_error_or_the_same_pixels() -> None:
    good = TEXT.encode() + section(IMAGE)
    start = good.index(b"\xd5") + 1
    for seed in range(1500):
        chance = random.Random(seed)
        bad = bytearray(good)
        for _ in range(chance.choice((1, 1, 2))):
            at, kind = chance.randrange(start), chance.choice("fsid")
            if kind == "f":
                bad[at] ^= 1 << chance.randrange(8)
            elif kind == "s":
                bad[at] = chance.choice(b'\0\xff-09\n;#"_')
            elif kind == "i":
                bad[at:at] = bytes([chance.randrange(256)])
            else:
                del bad[at]
        with contextlib.suppress(InputError):
            found = read(bytes(bad))
            assert len(found) == 1, seed
            assert np.array_equal(found[0], IMAGE), seed


def test_files_that_fabio_writes(tmp_path: Path) -> None:
    for values in (IMAGE, IMAGE.astype(np.int64), IMAGE.astype(np.uint16)):
        path = tmp_path / f"{values.dtype}.cbf"
        fabio.cbfimage.CbfImage(data=values, header={"Exposure": "0.5 s"}).write(str(path))
        with FileContent(path) as held:
            found = dissect(held)
            assert np.array_equal(pixels(held, found, 0), values)
            assert ("Exposure", "0.5", "s") in [tuple(e) for e in found.frames[0].header]


def test_large_headers_are_read() -> None:
    many = "".join(f"_key{i} {i}\r\n" for i in range(20_000))
    found = dissect(content(TEXT.encode() + many.encode() + section(IMAGE)))
    assert ("_key19999", "19999", "") in [tuple(e) for e in found.header]


# Writing


def record(frames: np.ndarray, **header: Any) -> Record:
    rows = len(frames)
    fields = [
        Field("frame", Values(frames), True, role=Role.SIGNAL),
        Field("th", Values(np.linspace(0, 1, rows) ** 3), True, attrs={"units": "deg"}),
        Field("note", Values([f"= row {i}" for i in range(rows)]), True),
        *(Field(n, Values(v), attrs={"units": "s"} if n == "Exposure_time" else {}) for n, v in header.items()),
    ]
    return Record({"scan": "1.1"}, {f.name: f for f in fields}, source="made")


def written(made: Record, path: Path, report: Report | None = None) -> Path:
    sink = FORMAT.create(path, report or Report())
    sink.begin(made)
    for block in made.blocks(budget=5000):
        sink.write(block)
    sink.end()
    sink.close()
    return path


def records(path: Path) -> list[Record]:
    with FORMAT.open(Location(str(path)), Policy(), Report()) as source:
        return [r.with_fields([f for f in r.fields.values() if f.values.read() is not None]) for r in source]


def test_one_frame_is_a_file_that_fabio_reads(tmp_path: Path) -> None:
    path = written(record(IMAGE[None], Exposure_time=0.25, Detector="a b"), tmp_path / "one.cbf")
    image = fabio.open(str(path))
    assert np.array_equal(image.data, IMAGE)
    contents = image.header["_array_data.header_contents"]
    assert "# Exposure_time 0.25 s" in contents
    assert "# Detector a b" in contents
    assert path.read_bytes().startswith(b"###CBF: VERSION 1.5, nxconvert")
    with FileContent(path) as held:
        assert rebuilt(held, dissect(held)) == path.read_bytes()


def test_several_frames_are_a_folder(tmp_path: Path) -> None:
    frames = np.arange(12 * 60, dtype=np.uint32).reshape(12, 6, 10) * 77
    path = written(record(frames, Exposure_time=0.25), tmp_path / "many")
    files = sorted(path.iterdir())
    assert [f.name for f in files] == [f"frame_{i:05d}.cbf" for i in range(12)]
    for row, file in enumerate(files):
        assert np.array_equal(fabio.open(str(file)).data, frames[row])
    alone = records(files[7])[0]
    assert alone.fields["note"].values.read().tolist() == ["= row 7"]
    assert alone.fields["th"].values.read() == [np.linspace(0, 1, 12)[7] ** 3]
    assert np.array_equal(alone.fields["frame"].values.read()[0], frames[7])
    assert registry.detect(Location(str(path)), registry.head(Location(str(path)))) is FORMAT


def test_a_folder_that_lacks_or_repeats_a_frame_is_an_error(tmp_path: Path) -> None:
    frames = np.arange(4 * 60, dtype=np.int32).reshape(4, 6, 10)
    path = written(record(frames), tmp_path / "many")
    extra = path / "frame_00009.cbf"
    extra.write_bytes((path / "frame_00001.cbf").read_bytes())
    with pytest.raises(InputError, match="both frame 1"):
        records(path)
    extra.unlink()
    (path / "frame_00002.cbf").unlink()
    with pytest.raises(InputError, match="3 of 4 frames are there; missing: 2"):
        records(path)
    extra.write_bytes(TEXT.encode() + section(IMAGE))
    with pytest.raises(InputError, match="no file of the sequence"):
        records(path)


def test_what_cbf_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="complex"):
        written(record(np.zeros((1, 2, 2), complex)), tmp_path / "a.cbf")
    with pytest.raises(OutputError, match="no pixels"):
        written(record(np.zeros((1, 0, 2), np.int32)), tmp_path / "a.cbf")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="folder"):
        written(record(np.zeros((2, 2, 2), np.int32)), tmp_path / "file")


def test_conversion_to_hdf5_and_back(tmp_path: Path) -> None:
    """A detector's file goes into HDF5 and comes back with the same pixels and header."""
    first, tree, second = tmp_path / "a.cbf", tmp_path / "a.h5", tmp_path / "b.cbf"
    first.write_bytes(TEXT.encode() + section(IMAGE))
    convert([str(first)], str(tree), Plan())
    convert([str(tree)], str(second), Plan())
    assert second.is_file()
    assert np.array_equal(fabio.open(str(second)).data, IMAGE)
    back = records(second)[0]
    names = [n for n in back.fields if n.endswith("Exposure_time")]
    assert len(names) == 1
    assert back.fields[names[0]].values.read() == 0.5
    assert back.fields[names[0]].units == "s"
