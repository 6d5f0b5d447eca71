"""Frames that are fetched from their places in an HDF5 file arrive as HDF5 reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile

from nxconvert.conversion import Plan, convert
from nxconvert.engine import disk
from nxconvert.format import Report
from nxconvert.formats.hdf5 import FORMAT
from nxconvert.formats.hdf5.dataset import H5Dataset
from nxconvert.location import Location
from nxconvert.policy import Policy

SHAPE = (7, 130, 270)  # one frame is larger than what is not worth a thread's while
STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunk a frame": {"chunks": (1, *SHAPE[1:])},
    "chunk of three frames": {"chunks": (3, *SHAPE[1:])},
    "chunks within frames": {"chunks": (2, 64, 64)},
    "gzip": {"chunks": (1, *SHAPE[1:]), "compression": "gzip", "shuffle": True},
    "gzip, three frames": {"chunks": (3, *SHAPE[1:]), "compression": "gzip"},
    "bitshuffle": {"chunks": (1, *SHAPE[1:]), **hdf5plugin.Bitshuffle()},
    "lzf": {"chunks": (1, *SHAPE[1:]), "compression": "lzf"},
    "checked": {"chunks": (1, *SHAPE[1:]), "fletcher32": True},
    "can grow": {"chunks": (1, *SHAPE[1:]), "maxshape": (None, None, None)},
    "has grown": {"chunks": (1, 150, 300), "maxshape": (None, None, None)},
}
FETCHED = {"contiguous", "chunk a frame", "chunk of three frames", "gzip", "bitshuffle", "can grow"}


def frames(dtype: str = "<u2") -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(1, 1000, SHAPE).astype(dtype)


def made(folder: Path, values: np.ndarray, **options: Any) -> Path:
    path = folder / "in.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, **options)
    return path


def to_tiff(path: Path, output: Path, inner: str = "/data", **options: Any) -> list[np.ndarray]:
    sequence = output.suffix != ".tif"
    plan = Plan(to_format="tiff", options={**options, **({"profile": "sequence"} if sequence else {})})
    report = convert([f"{path}::{inner}"], str(output), plan)
    for _, error in report.failed:
        raise error
    files = sorted(output.iterdir()) if sequence else [output]
    found: list[np.ndarray] = []
    for file in files:
        with tifffile.TiffFile(file) as tif:
            found += [page.asarray() for page in tif.pages]
    return found


def known(path: Path) -> bool:
    assert FORMAT.open is not None
    with FORMAT.open(Location.parse(str(path)), Policy(), Report()) as tree:
        return tree.root["data"].places() is not None


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("output", ["out.tif", "frames"])
def test_frames_are_those_that_hdf5_reads(tmp_path: Path, stored: str, output: str) -> None:
    values = frames()
    path = made(tmp_path, values, **STORED[stored])
    assert known(path) == (stored in FETCHED)
    found = to_tiff(path, tmp_path / output)
    assert len(found) == len(values)
    assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, values, strict=True))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", "<f8", "i1", "<i8", "<c8", "?"])
@pytest.mark.parametrize("stored", ["contiguous", "bitshuffle"])
def test_any_type(tmp_path: Path, dtype: str, stored: str) -> None:
    if dtype == "?" and stored == "bitshuffle":
        pytest.skip("bitshuffle does not take enumerations")
    values = frames(dtype)
    found = to_tiff(made(tmp_path, values, **STORED[stored]), tmp_path / "out.tif")
    expected = values.astype(np.uint8) * 255 if dtype == "?" else values
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("stored", ["contiguous", "chunk of three frames", "gzip"])
def test_compressed_frames_and_slices(tmp_path: Path, stored: str) -> None:
    values = frames()
    path = made(tmp_path, values, **STORED[stored])
    assert np.array_equal(to_tiff(path, tmp_path / "zip.tif", compression="deflate"), values)
    assert np.array_equal(to_tiff(path, tmp_path / "some.tif", "/data[2:5]"), values[2:5])
    assert np.array_equal(to_tiff(path, tmp_path / "part.tif", "/data[2:5,10:20]"), values[2:5, 10:20])


def test_a_user_block_moves_all_places(tmp_path: Path) -> None:
    values = frames()
    with h5py.File(tmp_path / "in.h5", "w", userblock_size=1024) as file:
        file.create_dataset("data", data=values)
        file.create_dataset("chunks", data=values, **STORED["gzip"])
    assert np.array_equal(to_tiff(tmp_path / "in.h5", tmp_path / "a.tif"), values)
    assert np.array_equal(to_tiff(tmp_path / "in.h5", tmp_path / "b.tif", "/chunks"), values)


@pytest.mark.parametrize("fill", [0, 5])
@pytest.mark.parametrize("stored", ["chunk a frame", "chunk of three frames", "gzip", "chunks within frames"])
@pytest.mark.parametrize("output", ["out.tif", "frames"])
def test_what_is_not_stored_is_the_fill_value(tmp_path: Path, fill: int, stored: str, output: str) -> None:
    values = np.full(SHAPE, fill, "<u2")
    with h5py.File(tmp_path / "in.h5", "w") as file:
        dataset = file.create_dataset("data", SHAPE, "<u2", fillvalue=fill, **STORED[stored])
        values[4] = dataset[4] = frames()[4]
    assert np.array_equal(to_tiff(tmp_path / "in.h5", tmp_path / output), values)


def test_a_chunk_that_skipped_its_filter_is_read_as_it_is(tmp_path: Path) -> None:
    values = frames()
    path = made(tmp_path, values, **STORED["gzip"])
    with h5py.File(path, "r+") as file:
        values[3] = 77
        file["data"].id.write_direct_chunk((3, 0, 0), values[3].tobytes(), 3)
    assert np.array_equal(to_tiff(path, tmp_path / "out.tif"), values)


@pytest.mark.parametrize("output", ["out.tif", "frames"])
def test_a_damaged_chunk_is_an_error(tmp_path: Path, output: str) -> None:
    path = made(tmp_path, frames(), **STORED["gzip"])
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((3, 0, 0), b"nonsense" * 1000)
    with pytest.raises(Exception, match=r"data cannot be read"):
        to_tiff(path, tmp_path / output)
    assert not (tmp_path / output).exists()


def test_a_file_that_ends_early_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, frames())
    monkeypatch.setattr(disk, "copy", lambda source, at, target, to, size: size - 1)
    with pytest.raises(Exception, match="ends within item"):
        to_tiff(path, tmp_path / "out.tif")


def test_bytes_are_copied_from_file_to_file(tmp_path: Path) -> None:
    data = np.random.default_rng(6).bytes(3_000_001)
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("w+b") as target:
        for at, to, size in ((0, 5, 10), (7, 4096, 2_500_000), (2_999_990, 2_600_000, 11), (2_999_990, 2_700_000, 100)):
            done = disk.copy(source.fileno(), at, target.fileno(), to, size)
            assert done == min(size, len(data) - at)
            target.seek(to)
            assert target.read(done) == data[at : at + done]


def test_without_what_linux_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = frames()
    path, zipped = made(tmp_path, values), tmp_path / "zipped.h5"
    with h5py.File(zipped, "w") as file:
        file.create_dataset("data", data=values, **STORED["gzip"])
    monkeypatch.setattr(disk.sys, "platform", "other")
    disk._call.cache_clear()
    monkeypatch.delattr(os, "preadv")
    monkeypatch.delattr(os, "pwrite")
    try:
        assert np.array_equal(to_tiff(path, tmp_path / "out.tif"), values)
        assert np.array_equal(to_tiff(zipped, tmp_path / "zipped.tif"), values)
        assert np.array_equal(to_tiff(path, tmp_path / "frames"), values)
    finally:
        disk._call.cache_clear()


def test_a_file_that_this_process_writes_is_read_through_hdf5(tmp_path: Path) -> None:
    path = made(tmp_path, frames(), **STORED["chunk a frame"])
    with h5py.File(path, "r+") as file:
        file["data"][2] = 9
        assert not known(path)
        found = to_tiff(path, tmp_path / "out.tif")
    assert np.all(found[2] == 9)


@pytest.mark.skipif(os.name != "posix", reason="holes are told by the blocks of a file")
@pytest.mark.parametrize("output", ["out.tif", "frames"])
@pytest.mark.parametrize("stored", ["chunk a frame", "gzip", "chunks within frames"])
def test_empty_frames_take_no_space(tmp_path: Path, output: str, stored: str) -> None:
    shape = (40, 256, 256)
    chunks = STORED[stored]["chunks"] if stored == "chunks within frames" else (1, *shape[1:])
    with h5py.File(tmp_path / "in.h5", "w") as file:
        dataset = file.create_dataset("data", shape, "<u2", **{**STORED[stored], "chunks": chunks})
        dataset[5] = dataset[39] = 7
    found = to_tiff(tmp_path / "in.h5", tmp_path / output)
    assert [int(f.sum()) for f in found] == [7 * 65536 if i in (5, 39) else 0 for i in range(40)]
    files = list((tmp_path / output).iterdir()) if output == "frames" else [tmp_path / output]
    assert sum(f.stat().st_size for f in files) > np.prod(shape) * 2
    (tmp_path / "hole").write_bytes(b"")
    os.truncate(tmp_path / "hole", 1 << 20)
    if (tmp_path / "hole").stat().st_blocks:
        pytest.skip("this file system has no holes")
    assert sum(f.stat().st_blocks * 512 for f in files) < np.prod(shape) * 2 // 4


def made_tiff(folder: Path, values: np.ndarray, **options: Any) -> Path:
    with tifffile.TiffWriter(folder / "in.tif", byteorder=options.pop("byteorder", "<")) as file:
        for frame in values:
            file.write(frame, photometric="minisblack", **options)
    return folder / "in.tif"


def to_hdf5(path: Path, output: Path, **options: Any) -> Path:
    report = convert([str(path)], str(output), Plan(options=options))
    for _, error in report.failed:
        raise error
    return output


@pytest.mark.parametrize("compression", ["none", "gzip", "bitshuffle-lz4", "zstd"])
@pytest.mark.parametrize("chunks", [None, (1, 64, 64), (2, 130, 270)])
@pytest.mark.parametrize("how", [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"rowsperstrip": 50}])
def test_a_tiff_stack_becomes_a_dataset(tmp_path: Path, compression: str, chunks: Any, how: dict[str, Any]) -> None:
    values = frames()
    options = {"compression": compression, **({"chunks": chunks} if chunks else {})}
    output = to_hdf5(made_tiff(tmp_path, values, **how), tmp_path / "out.h5", **options)
    with h5py.File(output) as file:
        dataset = _stack(file)
        assert dataset.dtype == values.dtype
        assert np.array_equal(dataset[()], values)


def _stack(file: h5py.File) -> h5py.Dataset:
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, node: found.append(node) if isinstance(node, h5py.Dataset) and node.ndim == 3 else None)
    return found[0]


@pytest.mark.parametrize("before", ["contiguous", "chunk a frame", "chunk of three frames", "gzip", "bitshuffle"])
@pytest.mark.parametrize("after", ["gzip", "bitshuffle-lz4"])
@pytest.mark.parametrize("fill", [0, 5])
def test_a_dataset_is_compressed_anew(tmp_path: Path, before: str, after: str, fill: int) -> None:
    values = frames()
    with h5py.File(tmp_path / "in.h5", "w") as file:
        dataset = file.create_dataset("data", SHAPE, "<u2", fillvalue=fill, **STORED[before])
        dataset[2] = dataset[5] = values[2]
        expected = dataset[()]
    with h5py.File(to_hdf5(tmp_path / "in.h5", tmp_path / "out.h5", compression=after)) as file:
        assert np.array_equal(file["data"][()], expected)
        assert file["data"].fillvalue == fill


@pytest.mark.parametrize("compression", ["gzip", "bitshuffle-lz4"])
def test_what_is_damaged_is_not_compressed_anew(tmp_path: Path, compression: str) -> None:
    path = made(tmp_path, frames(), **STORED["gzip"])
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((3, 0, 0), b"nonsense" * 1000)
    with pytest.raises(Exception, match=r"cannot be read"):
        to_hdf5(path, tmp_path / "out.h5", compression=compression)
    assert not (tmp_path / "out.h5").exists()


def test_frames_that_do_not_exist_stay_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        dataset = file.create_dataset("data", (50, 256, 256), "<u2", chunks=(1, 256, 256))
        dataset[7] = 3
    with h5py.File(to_hdf5(tmp_path / "in.h5", tmp_path / "out.h5", compression="gzip")) as file:
        assert file["data"].id.get_num_chunks() == 1
        assert np.array_equal(file["data"][6:8, 0, 0], [0, 3])


def test_a_map_of_frames_is_read_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(3 * 5 * 300 * 400, dtype="<u4").reshape(3, 5, 300, 400)
    path = made(tmp_path, values, chunks=(2, 2, 100, 100))
    read = H5Dataset.read

    def measured(dataset: H5Dataset, box: Any = None) -> np.ndarray:
        found = read(dataset, box)
        assert found.nbytes <= 4 << 20
        return found

    monkeypatch.setattr(H5Dataset, "read", measured)
    plan = Plan(to_format="tiff", policy=Policy(memory=8 << 20))
    assert not convert([f"{path}::/data"], str(tmp_path / "out.tif"), plan).failed
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert np.array_equal([page.asarray() for page in tif.pages], values.reshape(15, 300, 400))


def test_default_chunks_are_frames(tmp_path: Path) -> None:
    shapes = {"map": (2, 2, 200, 200), "colour": (2, 200, 200, 3), "stack": (2, 200, 200), "table": (400, 300)}
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, shape in shapes.items():
            file[name] = np.ones(shape, "f4")
        file.create_dataset("large", (2, 6000, 4000), "<u2", chunks=(1, 100, 4000))[0, 0] = 1
    with h5py.File(to_hdf5(tmp_path / "in.h5", tmp_path / "out.h5", compression="gzip")) as file:
        assert file["map"].chunks == (1, 1, 200, 200)
        assert file["colour"].chunks == (1, 200, 200, 3)
        assert file["stack"].chunks == (1, 200, 200)
        assert file["table"].chunks == (400, 300)
        assert file["large"].chunks == (1, 3000, 4000)
        assert file["large"][0, 0, 0] == 1
