"""The compiled library is built where it can be, and does what Python does."""

from __future__ import annotations

import hashlib
import os
import sys

import numpy as np
import pytest

from nxconvert import compiled
from nxconvert.digests import sha256
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
