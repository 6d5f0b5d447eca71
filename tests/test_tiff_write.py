"""TIFF that is written here: others read it, and it comes back as it was."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nxconvert.array import Values
from nxconvert.conversion import Plan, convert
from nxconvert.engine.transfer import record_to_sink
from nxconvert.errors import InputError, NxconvertError, OutputError, UsageError
from nxconvert.format import Location, Policy, Report
from nxconvert.formats.tiff import FORMAT, encode
from nxconvert.record import Field, Record, Role

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(4)

CLASSIC, BIG = b"II*\0", b"II+\0"


def nexus(path: Path, frames: np.ndarray[Any, Any], columns: dict[str, Any] | None = None) -> Path:
    """Write an NXdata with frames, an angle and what else is wanted."""
    with h5py.File(path, "w") as f:
        f.create_group("entry").attrs["NX_class"] = "NXentry"
        f["entry/title"] = "a röntgen scan"
        f["entry/start_time"] = "2024-02-29T12:34:56.5+01:00"
        data = f.create_group("entry/data")
        data.attrs.update({"NX_class": "NXdata", "signal": "img", "axes": ["angle", ".", "."]})
        data["img"] = frames
        data["img"].attrs["units"] = "counts"
        data["angle"] = np.linspace(0, 1, len(frames))
        data["angle"].attrs["units"] = "deg"
        for name, values in (columns or {}).items():
            data[name] = values
    return path


def written(folder: Path, record: Record, **options: Any) -> Path:
    """Write a record, a few rows at a time."""
    assert FORMAT.create is not None
    path = folder / "out.tif"
    report = Report()
    sink = FORMAT.create(path, report, **options)
    try:
        record_to_sink(record, sink, 3 * record.fields["img"].values[0:1].nbytes + 200)
        sink.close()
    except BaseException:
        sink.abort()
        raise
    assert not report.losses, report.losses
    return path


def stack(frames: np.ndarray[Any, Any], **attrs: Any) -> Record:
    return Record({}, {"img": Field("img", Values(frames), True, role=Role.SIGNAL, attrs=attrs)}, source="test")


def back(path: Path) -> Record:
    """Read the one record of a file or folder into memory."""
    assert FORMAT.open is not None
    with FORMAT.open(Location(str(path)), Policy(), Report()) as source:
        (record,) = source
        from dataclasses import replace

        return record.with_fields(
            {n: replace(f, values=Values(f.values.read(), f.dtype)) for n, f in record.fields.items()}
        )


def noise(shape: tuple[int, ...], dtype: str = "u2") -> np.ndarray[Any, Any]:
    return RNG.integers(0, 100, shape).astype(dtype)


# NeXus -> TIFF -> NeXus

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=12).filter(
    lambda s: s.strip(". ") == s and s not in ("title", "img", "x")
)
units = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8))
TYPES = ["u1", "i1", "<u2", ">u2", "i2", "u4", ">i4", "u8", "i8", "f2", "f4", ">f4", "f8", "c8", "c16", "?"]


@st.composite
def scans(draw: st.DrawFn) -> dict[str, tuple[np.ndarray, str | None]]:
    rows = draw(st.integers(1, 4))
    item = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    out: dict[str, tuple[np.ndarray, str | None]] = {}
    for name in draw(st.lists(names, max_size=3, unique_by=str.casefold)):
        if draw(st.integers(0, 4)) == 0:
            cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
            cells = draw(st.lists(cell, min_size=rows, max_size=rows))
            out[name] = (np.array(cells, dtype=h5py.string_dtype()), draw(units))
        else:
            out[name] = (draw(hnp.arrays(np.dtype(draw(st.sampled_from(TYPES))), rows)), draw(units))
    out["x"] = (np.arange(rows, dtype=np.float64), "mm")
    out["img"] = (draw(hnp.arrays(np.dtype(draw(st.sampled_from(TYPES))), (rows, *item))), draw(units))
    return out


@given(scans(), st.sampled_from(["stack", "sequence"]), st.sampled_from(["none", "gzip", "lzw", "zstd"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nxdata_comes_back(fields: dict[str, tuple[np.ndarray, str | None]], profile: str, compression: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a, b = Path(folder) / "a.h5", Path(folder) / "b.h5"
        with h5py.File(a, "w") as f:
            f.create_group("entry").attrs["NX_class"] = "NXentry"
            f["entry/title"] = "a title"
            data = f.create_group("entry/data")
            data.attrs.update({"NX_class": "NXdata", "signal": "img", "axes": ["x", ".", "."]})
            for name, (array, unit) in fields.items():
                data[name] = array
                if unit is not None:
                    data[name].attrs["units"] = unit
        plan = Plan(options={"profile": profile, "compression": compression})
        report = convert([str(a)], str(Path(folder) / "t.tif"), plan)
        assert not report.failed, report.failed
        assert not report.losses, report.losses
        report = convert(report.outputs, str(b))
        assert not report.failed, report.failed
        with h5py.File(a) as f, h5py.File(b) as g:
            assert g["entry/title"].asstr()[()] == "a title"
            assert g["entry/data"].attrs["signal"] == "img"
            assert set(g["entry/data"]) == set(f["entry/data"])
            for name in f["entry/data"]:
                same(f["entry/data"][name], g["entry/data"][name])


def same(a: h5py.Dataset, b: h5py.Dataset) -> None:
    assert (a.shape, a.dtype) == (b.shape, b.dtype), a.name
    assert dict(a.attrs) == dict(b.attrs)
    x, y = a[()], b[()]
    if a.dtype == object:
        assert x.tolist() == y.tolist()
    elif a.dtype.kind in "fc" and a.ndim == 1:
        np.testing.assert_array_equal(x, y)
        assert np.array_equal(np.signbit(x.view(x.real.dtype)), np.signbit(y.view(y.real.dtype))) or np.isnan(x).any()
    else:
        assert x.tobytes() == y.tobytes(), a.name


@pytest.mark.parametrize("rows", [3, 2500])
def test_columns_come_back_however_long(tmp_path: Path, rows: int) -> None:
    frames = noise((rows, 2, 3))
    time = RNG.normal(size=rows)
    time[1] = np.nan
    a = nexus(tmp_path / "a.h5", frames, {"time": time, "n": np.arange(rows, dtype="i8") << 50})
    convert([str(a)], str(tmp_path / "t.tif"))
    convert([str(tmp_path / "t.tif")], str(tmp_path / "b.h5"))
    with h5py.File(a) as f, h5py.File(tmp_path / "b.h5") as g:
        for name in ("img", "time", "n", "angle"):
            np.testing.assert_array_equal(f["entry/data"][name], g["entry/data"][name])
            assert f["entry/data"][name].dtype == g["entry/data"][name].dtype


def test_missing_rows_and_short_columns_come_back(tmp_path: Path) -> None:
    frames, mask = noise((5, 3, 4)), np.array([False, True, False, False, True])
    f = Field("img", Values(frames), True, role=Role.SIGNAL, mask=Values(mask))
    holes = Field("holes", Values(np.arange(5.0)), True, mask=Values(~mask))
    short = Field("short", Values(np.arange(3)), True)
    record = Record({"scan": "1.1"}, {"img": f, "holes": holes, "short": short}, source="test")
    for profile in ("stack", "sequence", "imagej"):
        (tmp_path / profile).mkdir()
        found = back(written(tmp_path / profile, record, profile=profile))
        assert found.key == {"scan": "1.1"}
        image = found.fields["img"]
        assert image.mask is not None
        assert image.mask.read().tolist() == mask.tolist()
        np.testing.assert_array_equal(image.values.read()[~mask], frames[~mask])
        assert not image.values.read()[mask].any()
        assert found.fields["holes"].mask is not None
        assert found.fields["holes"].mask.read().tolist() == (~mask).tolist()
        assert found.fields["short"].values.read().tolist() == [0, 1, 2]


# What others read


@pytest.mark.parametrize("compression", ["none", "deflate", "zlib", "gzip", "lzw", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f4", "f8", "c8", "u8"])
def test_tifffile_reads_what_is_written(tmp_path: Path, compression: str, dtype: str) -> None:
    frames = noise((5, 33, 41), dtype)
    path = written(tmp_path, stack(frames), compression=compression)
    assert path.read_bytes()[:4] == CLASSIC
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 5
        assert file.series[0].shape == frames.shape
        np.testing.assert_array_equal(file.asarray(), frames)
        assert file.pages[0].photometric.name == "MINISBLACK"
    assert back(path).fields["img"].values.dtype == np.dtype(dtype)


@pytest.mark.parametrize("profile", ["stack", "sequence", "imagej"])
def test_three_frames_are_no_colours(tmp_path: Path, profile: str) -> None:
    frames = noise((3, 8, 9))
    path = written(tmp_path, stack(frames), profile=profile)
    if profile == "sequence":
        np.testing.assert_array_equal([tifffile.imread(p) for p in sorted(path.iterdir())], frames)
    else:
        found = tifffile.imread(path)
        assert found.shape == (3, 8, 9)
        np.testing.assert_array_equal(found, frames)


def test_pillow_reads_all_pages(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for dtype, options in (("u1", {}), ("u2", {"compression": "deflate"}), ("f4", {"profile": "imagej"})):
        frames = noise((4, 8, 9), dtype)
        with image.open(written(tmp_path, stack(frames), **options)) as file:
            assert file.n_frames == 4
            for i in range(4):
                file.seek(i)
                np.testing.assert_array_equal(np.asarray(file), frames[i])


@pytest.mark.parametrize(("samples", "said"), [(3, "rgb-image"), (4, "rgba-image")])
def test_colour_frames_are_colour(tmp_path: Path, samples: int, said: str) -> None:
    frames = noise((2, 7, 8, samples), "u1")
    path = written(tmp_path, stack(frames, interpretation=said))
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric.name == "RGB"
        np.testing.assert_array_equal(file.asarray(), frames)
    np.testing.assert_array_equal(back(path).fields["img"].values.read(), frames)


def test_a_mask_is_seen_and_comes_back_as_booleans(tmp_path: Path) -> None:
    frames = noise((2, 7, 8)) > 50
    path = written(tmp_path, stack(frames))
    assert set(np.unique(tifffile.imread(path))) == {0, 255}
    found = back(path).fields["img"].values
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found.read(), frames)


def test_viewers_find_title_units_and_the_size_of_a_pixel(tmp_path: Path) -> None:
    record = Record(
        {},
        {
            "title": Field("title", Values("a title")),
            "start_time": Field("start_time", Values("2024-02-29T12:34:56.5+01:00")),
            "x_pixel_size": Field("x_pixel_size", Values(np.float64(50)), attrs={"units": "um"}),
            "y_pixel_size": Field("y_pixel_size", Values(np.float64(0.1)), attrs={"units": "mm"}),
            **stack(noise((3, 8, 9)), units="counts").fields,
        },
        source="test",
    )
    with tifffile.TiffFile(written(tmp_path, record)) as file:
        tags = file.pages[0].tags
        text = json.loads(tags["ImageDescription"].value)
        assert list(text)[:3] == ["title", "frames", "units"]
        assert (text["title"], text["units"]) == ("a title", "counts")
        assert tags["DateTime"].value == "2024:02:29 12:34:56"
        assert tags["Software"].value.startswith("nxconvert")
        assert tags["XResolution"].value == (200, 1)
        assert tags["YResolution"].value == (100, 1)
        assert tags["ResolutionUnit"].value == 3
    with tifffile.TiffFile(written(tmp_path, record, profile="imagej")) as file:
        about = file.imagej_metadata
        assert about["images"] == 3
        assert about["unit"] == "micron"
        assert "title = a title" in about["Info"]
        assert file.pages[0].tags["XResolution"].value == (1, 50)


def test_names_that_tifffile_takes_for_its_own_do_no_harm(tmp_path: Path) -> None:
    """A description with ``"shape":`` in it made tifffile fail."""
    a = tmp_path / "a.h5"
    with h5py.File(a, "w") as f:
        f.create_group("entry").attrs["NX_class"] = "NXentry"
        data = f.create_group("entry/data")
        data.attrs.update({"NX_class": "NXdata", "signal": "img"})
        data["img"] = noise((2, 3, 4, 5))
    convert([str(a)], str(tmp_path / "t.tif"))
    with tifffile.TiffFile(tmp_path / "t.tif") as file:
        assert file.series[0].shape == (6, 4, 5)
    convert([str(tmp_path / "t.tif")], str(tmp_path / "b.h5"))
    with h5py.File(a) as f, h5py.File(tmp_path / "b.h5") as g:
        np.testing.assert_array_equal(f["entry/data/img"], g["entry/data/img"])


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_bigtiff_only_when_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str) -> None:
    frames = np.zeros((5, 30, 40), "u2")
    monkeypatch.setattr(encode, "CLASSIC_LIMIT", frames.nbytes // 2)
    path = written(tmp_path, stack(frames), compression=compression)
    assert path.read_bytes()[:4] == (BIG if compression == "none" else CLASSIC)
    monkeypatch.undo()
    np.testing.assert_array_equal(tifffile.imread(path), frames)
    np.testing.assert_array_equal(back(path).fields["img"].values.read(), frames)


def test_large_frames_are_compressed_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nxconvert.formats.tiff import write

    monkeypatch.setattr(write, "_LARGE_STRIP", 1000)
    frames = noise((2, 50, 60))
    path = written(tmp_path, stack(frames), compression="lzw")
    with tifffile.TiffFile(path) as file:
        assert len(file.pages[1].dataoffsets) > 1
        np.testing.assert_array_equal(file.asarray(), frames)
    np.testing.assert_array_equal(back(path).fields["img"].values.read(), frames)


# Casting


def test_a_cast_can_be_undone(tmp_path: Path) -> None:
    frames = RNG.normal(size=(4, 20, 21))
    path = written(tmp_path, stack(frames), cast="uint16")
    stored = tifffile.imread(path)
    assert stored.dtype == np.uint16
    assert (stored.min(), stored.max()) == (0, 65535)
    found = back(path).fields["img"].values
    assert found.dtype == np.float64
    assert np.abs(found.read() - frames).max() <= np.ptp(frames) / 65535


def test_integers_survive_a_cast_that_has_room(tmp_path: Path) -> None:
    frames = RNG.integers(1000, 1200, (2, 9, 9)).astype("i4")
    found = back(written(tmp_path, stack(frames), cast="uint16")).fields["img"].values
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found.read(), frames)


def test_ranges_are_numbers_or_percentiles_and_what_lies_outside_is_told(tmp_path: Path) -> None:
    frames = np.arange(1000, dtype="f4").reshape(1, 20, 50)
    a = nexus(tmp_path / "a.h5", frames)
    for text, low, high in (("100,899", 100, 899), ("10%,90%", 100, 899), ("0,90%", 0, 899)):
        options = {"cast": "uint8", "range": text}
        report = convert([str(a)], str(tmp_path / "t.tif"), Plan(options=options, overwrite=True))
        found = back(tmp_path / "t.tif").fields["img"].values.read()
        assert abs(found.min() - low) < 3
        assert abs(found.max() - high) < 3
        assert any("values of img" in loss.what for loss in report.losses)
        assert tifffile.imread(tmp_path / "t.tif").dtype == np.uint8


def test_what_is_no_number_is_told_when_it_is_cast(tmp_path: Path) -> None:
    frames = np.array([[[0.0, np.nan], [np.inf, 1.0]]])
    report = convert([str(nexus(tmp_path / "a.h5", frames))], str(tmp_path / "t.tif"), Plan(options={"cast": "uint16"}))
    assert [loss.what for loss in report.losses] == ["2 values of img"]
    assert tifffile.imread(tmp_path / "t.tif").tolist() == [[0, 0], [65535, 65535]]


def test_a_constant_image_can_be_cast(tmp_path: Path) -> None:
    found = back(written(tmp_path, stack(np.full((1, 3, 3), 2.5)), cast="uint8")).fields["img"].values.read()
    np.testing.assert_array_equal(found, np.full((1, 3, 3), 2.5))


WRONG = [
    ({"cast": "uint16", "range": "5"}, UsageError, "no range"),
    ({"cast": "uint16", "range": "9,1"}, UsageError, "empty"),
    ({"cast": "uint16", "range": "a,b"}, UsageError, "no range"),
    ({"cast": "uint16", "range": "5%,200%"}, UsageError, "no range"),
    ({"range": "1,2"}, UsageError, "without --cast"),
    ({"cast": "picture"}, UsageError, "--cast"),
    ({"cast": "float32", "range": "1,2"}, UsageError, "integers"),
    ({"cast": "int64"}, UsageError, "64-bit"),
    ({"profile": "movie"}, UsageError, "--profile"),
    ({"compression": "bitshuffle-lz4"}, UsageError, "--compression"),
    ({"profile": "imagej", "compression": "lzw"}, UsageError, "compressed"),
    ({"profile": "imagej"}, OutputError, "ImageJ"),
]


@pytest.mark.parametrize(("options", "kind", "words"), WRONG)
def test_wrong_options_are_told(
    tmp_path: Path, options: dict[str, Any], kind: type[NxconvertError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        written(tmp_path, stack(np.ones((2, 3, 3))), **options)
    assert caught.value.tip or "not one of" in caught.value.message or "TIFF has" in caught.value.message


needs_long = pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 here")


@needs_long
def test_what_tiff_cannot_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no float128|no longdouble"):
        written(tmp_path, stack(np.ones((2, 3, 3), np.longdouble)))
    with pytest.raises(OutputError, match="no pixels"):
        written(tmp_path, stack(np.ones((0, 3, 3))))


# Sequences


def test_a_sequence_is_a_folder_and_one_record_again(tmp_path: Path) -> None:
    frames = noise((12, 5, 6))
    a = nexus(tmp_path / "a.h5", frames)
    report = convert([str(a)], str(tmp_path / "frames.tif"), Plan(options={"profile": "sequence"}))
    folder = tmp_path / "frames"
    assert report.outputs == [str(folder)]
    assert sorted(p.name for p in folder.iterdir()) == [f"img_{i:04d}.tif" for i in range(12)]
    np.testing.assert_array_equal(tifffile.imread(folder / "img_0007.tif"), frames[7])
    alone = back(folder / "img_0007.tif")
    assert alone.fields["angle"].values.read().tolist() == [np.linspace(0, 1, 12)[7]]
    convert([str(folder)], str(tmp_path / "b.h5"))
    with h5py.File(a) as f, h5py.File(tmp_path / "b.h5") as g:
        for name in ("img", "angle"):
            same(f["entry/data"][name], g["entry/data"][name])
    (folder / "img_0003.tif").unlink()
    (folder / "img_0005.tif").unlink()
    with pytest.raises(InputError, match="missing: 3, 5"):
        back(folder)


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    a = nexus(tmp_path / "a.h5", noise((2, 5, 6)))
    plan = Plan(options={"profile": "sequence"}, overwrite=True)
    convert([str(a)], str(tmp_path / "frames.tif"), plan)
    convert([str(a)], str(tmp_path / "frames.tif"), plan)
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds more"):
        convert([str(a)], str(tmp_path / "frames.tif"), plan)
    assert (tmp_path / "frames" / "notes.txt").read_text() == "mine"


@needs_long
def test_a_failed_sequence_leaves_nothing(tmp_path: Path) -> None:
    a = nexus(tmp_path / "a.h5", np.ones((2, 5, 6), np.longdouble))
    report = convert([str(a)], str(tmp_path / "frames.tif"), Plan(options={"profile": "sequence"}))
    assert report.failed
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


# Damage to what is written here


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}, {"profile": "imagej"}])
def test_each_cut_is_one_error(tmp_path: Path, options: dict[str, Any]) -> None:
    frames = noise((2, 5, 6))
    path = written(tmp_path, stack(frames), **options)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(InputError):
            back(path)


def test_frames_taken_away_by_another_program_are_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, stack(noise((4, 5, 6))))
    with tifffile.TiffFile(path) as file:
        text, frames = file.pages[0].description, file.asarray()
    tifffile.imwrite(path, frames[:3], description=text, metadata=None, photometric="minisblack")
    report = Report()
    assert FORMAT.open is not None
    with FORMAT.open(Location(str(path)), Policy(), report) as source:
        (record,) = source
        assert record.fields["data"].shape == (3, 5, 6)
    assert any("changed by another program" in str(n) for n in report.notices)
