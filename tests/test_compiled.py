"""The compiled library is built where it can be, and does what Python does."""

from __future__ import annotations

import hashlib
import os
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nxconvert import compiled
from nxconvert.digests import md5, sha256
from nxconvert.engine.codecs import codec


def test_the_library_is_built_where_there_is_a_compiler() -> None:
    if compiled.library() is None and not os.environ.get("CI"):
        pytest.skip("nothing was compiled here: install it anew, with a C compiler")
    assert compiled.library() is not None or sys.byteorder == "big"


def test_another_version_of_the_library_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "VERSION", compiled.VERSION + 1)
    assert compiled.library.__wrapped__() is None


@pytest.mark.usefixtures("with_and_without_compiled")
def test_several_digests_at_once_are_those_of_hashlib() -> None:
    data = np.random.default_rng(1).integers(0, 256, 70_000, np.uint8).data
    sizes = [*range(200), 1000, 4095, 4096, 65_537, len(data)]
    runs = [data[i % 7 : max(i % 7, n)] for i, n in enumerate(sizes)]
    for some in (runs, runs[::-1], runs[:1], runs[:3], [], [runs[-1], runs[0]]):
        assert sha256(some) == [hashlib.sha256(run).digest() for run in some]


def test_nothing_is_written_behind_the_room_of_a_chunk() -> None:
    rng = np.random.default_rng(2)
    for size in (8, 16, 24, 40, 64, 100, 500, 4096, 5000):
        for dtype in ("u1", "u2", "u4", "f8", "S3"):
            made = codec([(32008, (0, 5, np.dtype(dtype).itemsize, 64, 2))], np.dtype(dtype), (size,))
            if made is None:
                pytest.skip("not known here, left to HDF5")
            for density in (0.0, 0.02, 0.2, 1.0):
                raw = rng.integers(0, 256, size * np.dtype(dtype).itemsize, np.uint8)
                raw[rng.random(raw.size) >= density] = 0
                buffer = np.full(made.room + 64, 0xAB, np.uint8)
                made.encode(raw.view(dtype), buffer[: made.room])
                assert (buffer[made.room :] == 0xAB).all()


def deflated(plain: np.ndarray) -> bytes:
    """Encode bytes, once from elsewhere and once from the end of the buffer, as codecs do."""
    library = compiled.library()
    if library is None:
        pytest.skip("nothing was compiled here")
    n = len(plain)
    room = np.full(n + (n >> 8) + 1024 + (128 << 10), 255, np.uint8)
    size = library.nx_deflate(plain.ctypes.data, n, room.ctypes.data)
    assert size <= n + (n >> 8) + 1024
    made = room[:size].tobytes()
    room[len(room) - n :] = plain
    size = library.nx_deflate(room.ctypes.data + len(room) - n, n, room.ctypes.data)
    assert room[:size].tobytes() == made
    return made


def inflated_by_all(stream: bytes, n: int) -> set[bytes]:
    """Inflate with zlib, with libdeflate and, where it is there, with ISA-L."""
    found = {zlib.decompress(stream), bytes(imagecodecs.deflate_decode(stream, out=n)) if n else b""}
    try:
        from isal import isal_zlib
    except ImportError:
        return found
    return found | {isal_zlib.decompress(stream)}


def part(kind: int, byte: int, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    makers = [
        lambda: rng.integers(0, 256, n),
        lambda: np.full(n, byte),
        lambda: rng.poisson(byte, n) % 256,
        lambda: rng.poisson(0.3, n),
        lambda: np.minimum(rng.geometric(0.5, n) + byte, 255),  # codes that would be longer than they may
        lambda: np.repeat(rng.integers(0, 3, n), rng.integers(5, 12, n))[:n],  # runs, and nearly ones
        lambda: np.repeat(rng.integers(0, 256, n), 258 + byte % 5)[:n],  # runs of the longest match, and a few more
    ]
    return makers[kind]().astype(np.uint8)


PARTS = st.tuples(
    st.integers(0, 6), st.integers(0, 255), st.integers(0, 300) | st.integers(0, 300_000), st.integers(0, 9)
)


@given(st.lists(PARTS, max_size=6))
@settings(max_examples=150, deadline=None)
def test_every_library_inflates_what_is_deflated(parts: list[tuple[int, int, int, int]]) -> None:
    plain = np.concatenate([np.empty(0, np.uint8), *(part(*p) for p in parts)])
    assert inflated_by_all(deflated(plain), len(plain)) == {plain.tobytes()}


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 65535, 65536, 131_071, 131_072, 131_073])
@pytest.mark.parametrize("kind", range(7))
def test_sizes_where_blocks_begin_and_end(kind: int, n: int) -> None:
    plain = part(kind, 100, n, n)
    assert inflated_by_all(deflated(plain), n) == {plain.tobytes()}


def test_a_soak_of_deflate_in_threads_makes_no_wrong_stream() -> None:
    def work(number: int) -> int:
        right = 0
        for i in range(60):
            plain = np.concatenate(
                [part((number + i) % 7, i, 60_000 + 9000 * (i % 9), i), part(i % 5, number, 1 + i * 700, i)]
            )
            right += inflated_by_all(deflated(plain), len(plain)) == {plain.tobytes()}
        return right

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [60] * 4


@pytest.mark.usefixtures("with_and_without_compiled")
def test_eight_md5_at_once_are_those_of_hashlib() -> None:
    data = np.random.default_rng(4).integers(0, 256, 70_000, np.uint8).data
    sizes = [*range(140), 1000, 4095, 4096, 65_537, len(data)]
    runs = [data[i % 7 : max(i % 7, n)] for i, n in enumerate(sizes)]
    rng = np.random.default_rng(5)
    mixed = [runs[i] for i in rng.permutation(len(runs))]
    for some in (runs, runs[::-1], mixed, runs[:1], runs[60:63], [], [runs[-1], *runs[:9]]):
        assert md5(some) == [hashlib.md5(run, usedforsecurity=False).digest() for run in some]
