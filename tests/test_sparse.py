"""Files that declare far more than they hold keep to the memory rule: the budget and 200 MiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

RUN = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> (20 if sys.platform == "darwin" else 10))
sys.exit(code)
"""
"""A small process in between: a child's largest memory begins with that of the process that starts it."""

DATASETS: dict[str, dict[str, Any]] = {
    "a chunk a frame": {"shape": (2500, 2048, 2048), "chunks": (1, 2048, 2048), "compression": "gzip"},
    "chunks across frames": {"shape": (2500, 2048, 2048), "chunks": (16, 256, 256), "fillvalue": 3},
    "a map": {"shape": (500, 500, 200, 200), "chunks": (8, 8, 64, 64)},
    "contiguous": {"shape": (2500, 2048, 2048)},
}


def peak(folder: Path, *arguments: str) -> int:
    """Convert, and return the largest memory in MiB."""
    ours = [sys.executable, "-m", "nxconvert.cli.main", "convert", *arguments, "--memory", "64MiB", "--quiet"]
    command = [sys.executable, "-c", RUN, *ours]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell the largest memory of a process")
@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("options", [(), ("--compression", "gzip")])
def test_a_copy_of_twenty_gigabytes_that_are_not_there(tmp_path: Path, kind: str, options: tuple[str, ...]) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        dataset = file.create_dataset("data", dtype="u2", **DATASETS[kind])
        if dataset.chunks:
            dataset[(*(3,) * (dataset.ndim - 2), slice(70), slice(70))] = np.arange(70)
    assert peak(tmp_path, "in.h5", "out.h5", *options) <= 64 + 200
    assert (tmp_path / "out.h5").stat().st_size < 100 << 20
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["data"].shape == DATASETS[kind]["shape"]
        if kind != "contiguous":  # which holds nothing at all
            assert np.array_equal(file["data"][(*(3,) * (file["data"].ndim - 2), 5, slice(70))], np.arange(70))
            assert file["data"][(-1,) * file["data"].ndim] == DATASETS[kind].get("fillvalue", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell the largest memory of a process")
def test_frames_of_twenty_gigabytes_that_are_not_there(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        dataset = file.create_dataset("data", dtype="u2", **DATASETS["a chunk a frame"])
        dataset[2400] = np.arange(2048)
    assert peak(tmp_path, "in.h5::/data", "out.tif") <= 64 + 200
    status = (tmp_path / "out.tif").stat()
    assert status.st_size > 20_000_000_000
    if status.st_blocks * 512 > 1 << 30:
        pytest.skip("this file system has no holes")
    with h5py.File(tmp_path / "in.h5") as file:
        tifffile = pytest.importorskip("tifffile")
        with tifffile.TiffFile(tmp_path / "out.tif") as tif:
            assert len(tif.pages) == 2500
            assert np.array_equal(tif.pages[2400].asarray(), file["data"][2400])
            assert not tif.pages[2401].asarray().any()
