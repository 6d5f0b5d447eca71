"""``nxtotiff``, and what ``nxconvert convert`` says of TIFF's options."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A file with two entries of frames, and one with none."""
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as f:
        for entry, n in (("1.1", 3), ("2.1", 2)):
            f.create_group(entry).attrs["NX_class"] = "NXentry"
            f[f"{entry}/title"] = f"scan {entry}"
            data = f.create_group(f"{entry}/data")
            data.attrs.update({"NX_class": "NXdata", "signal": "eiger", "axes": ["x", ".", "."]})
            data["eiger"] = np.arange(n * 20, dtype="u2").reshape(n, 4, 5)
            data["x"] = np.arange(n) * 0.5
    return path


def test_each_stack_becomes_a_file(run: Run, scan: Path, tmp_path: Path) -> None:
    done = run("nxtotiff", scan, "--outdir", "out")
    assert done.returncode == 0, done.stderr
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["scan_1.1_data.tif", "scan_2.1_data.tif"]
    assert [Path(line).name for line in done.stdout.splitlines()] == files
    found = tifffile.imread(tmp_path / "out" / "scan_1.1_data.tif")
    np.testing.assert_array_equal(found, np.arange(60, dtype="u2").reshape(3, 4, 5))


def test_profiles_and_compression(run: Run, scan: Path, tmp_path: Path) -> None:
    done = run("nxtotiff", scan, "--outdir", "out", "--profile", "sequence", "--compression", "gzip", "--scans", "1.1*")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scan_1.1_data"]
    names = sorted(p.name for p in (tmp_path / "out" / "scan_1.1_data").iterdir())
    assert names == ["eiger_0000.tif", "eiger_0001.tif", "eiger_0002.tif"]
    with tifffile.TiffFile(tmp_path / "out" / "scan_1.1_data" / names[1]) as file:
        assert file.pages[0].compression.name == "ADOBE_DEFLATE"


def test_one_dataset_and_a_slice(run: Run, scan: Path, tmp_path: Path) -> None:
    done = run(
        "nxconvert", "convert", f"{scan}::/1.1/data/eiger[1:3]", "part.tif", "--cast", "uint8", "--range", "0,255"
    )
    assert done.returncode == 0, done.stderr
    found = tifffile.imread(tmp_path / "part.tif")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.arange(20, 60).reshape(2, 4, 5))


def test_an_output_that_exists_is_refused(run: Run, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "scan_1.1_data.tif").write_bytes(b"mine")
    done = run("nxtotiff", scan)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "scan_1.1_data.tif").read_bytes() == b"mine"
    assert not (tmp_path / "scan_2.1_data.tif").exists()
    assert run("nxtotiff", scan, "--overwrite").returncode == 0
    assert tifffile.imread(tmp_path / "scan_1.1_data.tif").shape == (3, 4, 5)


def test_wrong_options_are_exit_2_and_nothing_is_written(run: Run, scan: Path, tmp_path: Path) -> None:
    for option in (["--profile", "film"], ["--cast", "uint16", "--range", "x"], ["--compression", "blosc2"]):
        done = run("nxtotiff", scan, "--outdir", "out", *option)
        assert done.returncode == 2, (option, done.stderr)
        assert option[-2].lstrip("-") in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_no_image_is_exit_1(run: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "flat.h5", "w") as f:
        f.create_group("entry").attrs["NX_class"] = "NXentry"
        f.create_group("entry/data").attrs.update({"NX_class": "NXdata", "signal": "y"})
        f["entry/data/y"] = np.arange(5.0)
    done = run("nxtotiff", "flat.h5")
    assert done.returncode == 1
    assert "error:" in done.stderr


def test_a_damaged_file_is_exit_1_and_others_are_done(run: Run, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", np.ones((3, 3), "u2"))
    raw = (tmp_path / "good.tif").read_bytes()
    (tmp_path / "bad.tif").write_bytes(raw[: len(raw) // 2])
    done = run("nxconvert", "convert", "bad.tif", "good.tif", "out.h5", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [Path(f["input"]).name for f in told["failed"]] == ["bad.tif"]
    with h5py.File(tmp_path / "out.h5") as f:
        (entry,) = (n for n in f if n != "nxconvert")
        np.testing.assert_array_equal(f[entry]["data/data"], np.ones((1, 3, 3)))


def test_from_standard_input(scan: Path, tmp_path: Path) -> None:
    import sys

    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 3), "u2"))
    with (tmp_path / "a.tif").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "nxconvert.cli.main", "convert", "-", "out.h5", "--from", "tiff"],
            stdin=file,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "out.h5") as f:
        assert f["entry/data/data"].shape == (1, 3, 3)
