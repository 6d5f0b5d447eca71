"""Chunks encoded and decoded outside of HDF5 are those of HDF5's own filters."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # registers bitshuffle, the oracle
import numpy as np
import pytest

from nxconvert.engine import codecs

PIPELINES: dict[str, dict[str, Any]] = {
    "bitshuffle-lz4": {"compression": 32008, "compression_opts": (0, 2)},
    "bitshuffle-zstd": {"compression": 32008, "compression_opts": (0, 3, 3)},
    "bitshuffle-lz4, blocks of 64": {"compression": 32008, "compression_opts": (64, 2)},
    "gzip": {"compression": "gzip", "compression_opts": 4},
    "shuffle gzip": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    "shuffle gzip 9": {"compression": "gzip", "compression_opts": 9, "shuffle": True},
}
DTYPES = ["u1", "<u2", ">u2", "<i4", "<f4", "<f8", ">f8", "<c16", "S3"]
SIZES = [1, 7, 8, 9, 63, 64, 1000, 4095, 4096, 4097, 40_003]


def filters_of(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...]]]:
    plist = dataset.id.get_create_plist()
    found = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return [(code, tuple(values)) for code, _flags, values, _name in found]


def streams(dtype: str, size: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    itemsize = np.dtype(dtype).itemsize
    noise = rng.integers(0, 256, size * itemsize, np.uint8)
    counts = np.zeros((size, itemsize), np.uint8)
    counts[:, 0] = rng.poisson(20, size)
    ramp = np.resize(np.arange(size, dtype="<u4").view(np.uint8), size * itemsize)
    return [np.ascontiguousarray(a).reshape(-1).view(dtype) for a in (noise, np.zeros_like(noise), counts, ramp)]


def test_the_library_is_found() -> None:
    assert hdf5plugin.PLUGIN_PATH
    made = codecs.codec([(32008, (0, 5, 2, 0, 2))], np.dtype("u2"), (100,))
    if made is None:
        pytest.skip("hdf5plugin's library does not show its functions here")


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize(
    ("pipeline", "each", "size"),
    [
        ("bitshuffle-lz4", 250, 16_384),
        ("bitshuffle-zstd", 250, 16_384),
        ("shuffle gzip", 250, 16_384),
        ("shuffle gzip", 40, 180_001),  # large enough for our own encoder
        ("gzip", 40, 180_001),
        ("shuffle gzip 9", 250, 16_384),
    ],
)
def test_a_soak_in_threads_makes_no_wrong_stream(tmp_path: Path, pipeline: str, each: int, size: int) -> None:
    threads = 4
    with h5py.File(tmp_path / "f.h5", "w") as file:
        made = file.create_dataset("d", (threads * each, size), "<u2", chunks=(1, size), **PIPELINES[pipeline])
        codec = codecs.codec(filters_of(made), made.dtype, made.chunks)
        if codec is None:
            pytest.skip("not known here, left to HDF5")

        def work(number: int) -> list[bytes]:
            room = np.empty(codec.room, np.uint8)  # used again and again, as packing does
            return [bytes(codec.encode(values, room)) for values in frames(number)]

        def frames(number: int) -> Iterator[np.ndarray]:
            rng = np.random.default_rng(number)
            for i in range(each):
                yield rng.poisson(3 + i % 60, size).astype("<u2") if i % 5 else rng.integers(0, 65536, size, np.uint16)

        with ThreadPoolExecutor(threads) as pool:
            encoded = list(pool.map(work, range(threads)))
        for number, streams in enumerate(encoded):
            for i, raw in enumerate(streams):
                made.id.write_direct_chunk((number * each + i, 0), raw)
        file.flush()
        stored = [made.id.read_direct_chunk((i, 0))[1] for i in range(len(made))]

        def decoded(number: int) -> bool:
            out = np.empty(size, "<u2")
            ours = stored[number * each : (number + 1) * each]
            return all(
                codec.decode(np.frombuffer(raw, np.uint8), len(raw), out) and np.array_equal(out, values)
                for raw, values in zip(ours, frames(number), strict=True)
            )

        with ThreadPoolExecutor(threads) as pool:
            assert all(pool.map(decoded, range(threads)))
        for number in range(threads):  # and HDF5's own filters agree
            for i, values in enumerate(frames(number)):
                assert np.array_equal(made[number * each + i], values)


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hdf5_reads_what_is_encoded_and_its_own_chunks_are_decoded(tmp_path: Path, pipeline: str, dtype: str) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for size in SIZES:
            kept = streams(dtype, size, size)
            ours = file.create_dataset(f"ours{size}", (len(kept), size), dtype, chunks=(1, size), **PIPELINES[pipeline])
            theirs = file.create_dataset(
                f"theirs{size}", (len(kept), size), dtype, chunks=(1, size), **PIPELINES[pipeline]
            )
            codec = codecs.codec(filters_of(ours), ours.dtype, ours.chunks)
            if codec is None:
                pytest.skip("not known here, left to HDF5")
            buffer = np.full(codec.room, 255, np.uint8)
            for i, values in enumerate(kept):
                ours.id.write_direct_chunk((i, 0), codec.encode(values, buffer))
                theirs[i] = values
            file.flush()
            for i, values in enumerate(kept):
                assert ours[i].tobytes() == values.tobytes()
                _, raw = theirs.id.read_direct_chunk((i, 0))
                buffer[: len(raw)] = np.frombuffer(raw, np.uint8)
                out = np.empty(size, dtype)
                assert codec.decode(buffer, len(raw), out)
                assert out.tobytes() == values.tobytes()


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_damaged_chunks_never_crash_nor_pass_for_longer_ones(pipeline: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.poisson(20, 50_000).astype("u2")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        made = file.create_dataset("d", values.shape, "u2", chunks=values.shape, **PIPELINES[pipeline])
        codec = codecs.codec(filters_of(made), made.dtype, made.chunks)
    if codec is None:
        pytest.skip("not known here, left to HDF5")
    buffer = np.empty(codec.room, np.uint8)
    stored = bytes(codec.encode(values, buffer))
    for trial in range(300):
        raw = np.frombuffer(stored, np.uint8).copy()
        if trial % 3 == 0:
            raw = raw[: rng.integers(len(raw))]
        elif trial % 3 == 1:
            raw[rng.integers(len(raw), size=3)] = rng.integers(0, 256, 3)
        else:
            at = int(rng.integers(len(raw)))
            raw[at : at + 5] = 255
        buffer[:] = 255
        buffer[: len(raw)] = raw
        out = np.empty_like(values)
        codec.decode(buffer, len(raw), out)
        if trial % 3 == 0:
            assert not codec.decode(buffer, len(raw), out)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [8, 64, 4096 // 8])
def test_bitshuffle_reads_whatever_the_other_library_does_and_refuses_what_it_cannot(dtype: str, block: int) -> None:
    """Both decoders get the same damaged blocks: what ours takes, the other takes too, and the values are the same."""
    itemsize = np.dtype(dtype).itemsize
    rng = np.random.default_rng(block)
    for n in (7, 8, 100, 2000, 2051):
        for values in streams(dtype, n, n):
            both = [codecs.codec([(32008, (0, 5, itemsize, block, 2))], values.dtype, (n,))]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(codecs.compiled, "library", lambda: None)
                both.append(codecs.codec([(32008, (0, 5, itemsize, block, 2))], values.dtype, (n,)))
            ours, theirs = both
            if ours is None or theirs is None:
                pytest.skip("not known here, left to HDF5")
            buffer = np.empty(max(ours.room, theirs.room), np.uint8)
            stored = bytes(theirs.encode(values, buffer))
            for trial in range(20):
                raw = np.frombuffer(stored, np.uint8).copy()
                if trial % 2:
                    raw[rng.integers(12, len(raw), size=2)] = rng.choice([0, 1, 15, 16, 127, 240, 255], 2)
                elif trial:
                    raw = raw[: rng.integers(12, len(raw))]
                buffer[: len(raw)] = raw
                out, other = np.zeros_like(values), np.zeros_like(values)
                taken, by_other = ours.decode(buffer, len(raw), out), theirs.decode(buffer, len(raw), other)
                assert by_other or not taken
                assert taken or trial
                if taken:
                    assert out.tobytes() == other.tobytes()


def test_pipelines_that_are_not_known_are_left_to_hdf5() -> None:
    u2 = np.dtype("u2")
    assert codecs.codec([], u2, (10,)) is None
    assert codecs.codec([(1, (4,)), (3, ())], u2, (10,)) is None  # fletcher32
    assert codecs.codec([(32008, (0, 5, 2, 0, 0))], u2, (10,)) is None  # bitshuffle that compresses nothing
    assert codecs.codec([(32008, (0, 5, 4, 0, 2))], u2, (10,)) is None  # made for another type
    assert codecs.codec([(32001, (2, 2, 2, 20, 5, 1, 1))], u2, (10,)) is None  # blosc
    assert codecs.codec([(1, (4,))], np.dtype(object), (10,)) is None


def open_dataset(path: Path, name: str) -> Any:
    """Open a dataset through the format, as the engine does."""
    from nxconvert.format import Location, Policy, Report
    from nxconvert.formats.hdf5 import FORMAT

    return FORMAT.open(Location.parse(str(path)), Policy(), Report()).root[name]


BOXES = [
    (slice(0, 7), slice(0, 300), slice(0, 310)),
    (slice(1, 6), slice(0, 300), slice(0, 310)),
    (slice(0, 7), slice(5, 299), slice(17, 301)),
    (slice(3, 4), slice(0, 300), slice(0, 310)),
    (slice(2, 5), slice(130, 131), slice(0, 310)),
    (slice(2, 2), slice(0, 300), slice(0, 310)),
]


@pytest.mark.parametrize("chunk", [(1, 300, 310), (1, 200, 200), (3, 300, 310), (7, 300, 128)])
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "f8"])
def test_boxes_are_read_as_h5py_reads_them(tmp_path: Path, dtype: str, pipeline: str, chunk: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).poisson(30, (7, 300, 310)).astype(dtype)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        made = file.create_dataset("d", values.shape, dtype, chunks=chunk, fillvalue=5, **PIPELINES[pipeline])
        made[:6] = values[:6]
        # the last frame was never written; a chunk that skipped its filters lies in the first
        expected = values.copy()
        expected[6] = 5
        if chunk[0] != 7:
            made.id.write_direct_chunk((0, 0, 0), np.zeros(chunk, dtype).tobytes(), 0xFFFF)
            expected[tuple(slice(n) for n in chunk)] = 0
    found = open_dataset(tmp_path / "f.h5", "d")
    assert found.read().tobytes() == expected.tobytes()
    for box in BOXES:
        assert np.array_equal(found.read(box), expected[box])


def test_damage_in_a_chunk_is_an_error(tmp_path: Path) -> None:
    from nxconvert.errors import InputError

    values = np.random.default_rng(1).poisson(30, (4, 400, 400)).astype("u2")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        made = file.create_dataset("d", data=values, chunks=(1, 400, 400), compression="gzip")
        _, raw = made.id.read_direct_chunk((2, 0, 0))
        made.id.write_direct_chunk((2, 0, 0), bytes(raw[: len(raw) // 2]))
    with pytest.raises(InputError, match="cannot be read"):
        open_dataset(tmp_path / "f.h5", "d").read()


@pytest.mark.parametrize("compression", ["none", "gzip", "bitshuffle-lz4", "bitshuffle-zstd"])
@pytest.mark.parametrize("chunks", [None, (1, 200, 200), (3, 300, 310)])
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "f8"])
def test_boxes_are_written_as_h5py_reads_them(tmp_path: Path, dtype: str, chunks: Any, compression: str) -> None:
    from nxconvert.array import Lazy
    from nxconvert.format import Report
    from nxconvert.formats.hdf5.write import H5Sink
    from nxconvert.tree import NewDataset, NewGroup

    values = np.random.default_rng(1).poisson(30, (7, 300, 310)).astype(dtype)
    root = NewGroup("NXroot")
    lazy = Lazy(values.shape, values.dtype, lambda box: values[box])
    root.add("lazy", NewDataset(lazy))
    root.add("rows", NewDataset(lazy))
    root.add("tiles", NewDataset(lazy))
    root.add("memory", NewDataset(values))
    sink = H5Sink(tmp_path / "f.h5", Report(), compression, chunks)
    sink.begin(root)
    sink.write("/lazy", (0, 0, 0), values)
    for start, stop in ((0, 2), (2, 5), (5, 7)):
        sink.write("/rows", (start, 0, 0), values[start:stop])
    sink.write("/tiles", (0, 0, 0), values[:, :250])
    sink.write("/tiles", (0, 250, 0), values[:, 250:])
    sink.close()
    with h5py.File(tmp_path / "f.h5") as file:
        for name in root:
            assert file[name].dtype == values.dtype
            assert file[name][()].tobytes() == values.tobytes()


def test_what_a_padded_chunk_holds_beyond_the_end_is_the_fill_value(tmp_path: Path) -> None:
    from nxconvert.formats.hdf5.chunks import threaded

    values = np.random.default_rng(1).poisson(30, (5, 400, 410)).astype("u2")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        made = file.create_dataset(
            "d",
            values.shape,
            "u2",
            chunks=(2, 400, 256),
            maxshape=(None,) * 3,
            fillvalue=9,
            **PIPELINES["shuffle gzip"],
        )
        access = threaded(made.id, values.dtype)
        assert access is not None

        def never(start: tuple[int, ...], values: np.ndarray) -> None:
            raise AssertionError("all chunks are whole")

        assert access.write((0, 0, 0), values, never)
        assert np.array_equal(made[()], values)
        made.resize((6, 400, 512))
        assert np.array_equal(made[:5, :, :410], values)
        assert (made[5] == 9).all()
        assert (made[:, :, 410:] == 9).all()


@pytest.mark.parametrize("options", [{"compression": 32008, "compression_opts": (0, 2)}, {"compression": 32026}])
@pytest.mark.parametrize("box", [None, (slice(1, 2),), (slice(1, 2), slice(3, 4))])
def test_filters_of_hdf5plugin_are_read_in_a_fresh_process(tmp_path: Path, options: dict[str, Any], box: Any) -> None:
    import subprocess
    import sys

    values = np.random.default_rng(1).poisson(30, (3, 400, 400)).astype("u2")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("d", data=values, chunks=(1, 400, 400), **options)
    code = f"""
import sys
from nxconvert.format import Location, Policy, Report
from nxconvert.formats.hdf5 import FORMAT
values = FORMAT.open(Location.parse(sys.argv[1]), Policy(), Report()).root["d"].read({box!r})
sys.stdout.buffer.write(values.tobytes())
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f.h5")], capture_output=True)
    assert done.stdout == values[box or ()].tobytes(), done.stderr.decode()


def test_blocks_read_ahead_come_in_order_and_errors_where_they_happen() -> None:
    from nxconvert.engine.transfer import ahead

    for n in range(6):
        assert list(ahead(range(1, n + 1))) == list(range(1, n + 1))

    def broken() -> Any:
        yield from (1, 2, 3)
        raise OSError("gone")

    blocks = ahead(broken())
    assert [next(blocks) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="gone"):
        next(blocks)


def test_blocks_end_where_chunks_do(tmp_path: Path) -> None:
    from nxconvert.record import Field, Record

    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("d", data=np.arange(1000.0).reshape(100, 10), chunks=(8, 10), compression="gzip")
    field = Field("d", open_dataset(tmp_path / "f.h5", "d"), per_row=True)
    blocks = list(Record({}, {"d": field}).blocks(budget=21 * 80))
    assert [b.start for b in blocks] == [0, 16, 32, 48, 64, 80, 96]
    assert np.concatenate([b.columns["d"] for b in blocks]).ravel().tolist() == list(range(1000))
