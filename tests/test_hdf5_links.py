"""Links and virtual datasets of HDF5: where HDF5 itself would look for files, and paths longer than Python recurses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import nxconvert
from nxconvert.errors import InputError, PolicyError


def _source(path: Path, first: int) -> None:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["d"] = np.arange(first, first + 5)


def _virtual(path: Path, source: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((5,), "i8")
        layout[:] = h5py.VirtualSource(source, "d", (5,))
        file.create_virtual_dataset("v", layout)


def test_a_soft_link_through_thousands_of_groups_is_followed(run: Callable[..., Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("top")
        for _ in range(3000):
            group = group.create_group("g")
        group["x"] = 5
        file["deep"] = h5py.SoftLink("/top" + "/g" * 3000 + "/x")
        file["nowhere"] = h5py.SoftLink("/top" + "/g" * 3000 + "/y")
    with nxconvert.open(tmp_path / "a.h5") as tree:
        assert tree["deep"].read() == 5
    assert run("nxconvert", "convert", tmp_path / "a.h5", tmp_path / "b.h5", "--links", "resolve").returncode == 0
    with h5py.File(tmp_path / "b.h5") as copy:
        assert copy["deep"][()] == 5
        assert copy.get("nowhere", getlink=True).path.endswith("/y")


def test_what_hdf5_would_read_from_the_working_directory_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    _source(tmp_path / "home" / "secret.h5", 40)
    _virtual(tmp_path / "in" / "v.h5", "home/secret.h5")
    monkeypatch.chdir(tmp_path)
    with h5py.File(tmp_path / "in" / "v.h5") as file:
        assert file["v"][0] == 40  # HDF5 does read it
    with nxconvert.open(tmp_path / "in" / "v.h5", allow_missing=True) as tree, pytest.raises(PolicyError):
        tree["v"].read()


@pytest.mark.skipif(os.name == "nt", reason="absolute names differ")
def test_files_that_moved_together_are_found(run: Callable[..., Any], tmp_path: Path) -> None:
    _source(tmp_path / "in" / "s.h5", 60)
    _virtual(tmp_path / "in" / "v.h5", "/data/of/the/beamline/s.h5")
    with h5py.File(tmp_path / "in" / "v.h5", "a") as file:
        file["link"] = h5py.ExternalLink("/data/of/the/beamline/s.h5", "/d")
    assert run("nxconvert", "convert", tmp_path / "in" / "v.h5", tmp_path / "b.h5", "--strict").returncode == 0
    with h5py.File(tmp_path / "b.h5") as copy:
        assert not copy["v"].is_virtual
        np.testing.assert_array_equal(copy["v"], np.arange(60, 65))
        np.testing.assert_array_equal(copy["link"], np.arange(60, 65))


def test_a_virtual_dataset_becomes_data_that_is_stored_as_its_sources_are(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    frames = np.arange(6 * 64 * 64, dtype="u2").reshape(6, 64, 64)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("d", data=frames, chunks=(1, 64, 64), compression="gzip", shuffle=True)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        layout = h5py.VirtualLayout((12, 64, 64), "u2")
        layout[:6] = layout[6:] = h5py.VirtualSource("s.h5", "d", (6, 64, 64))
        file.create_virtual_dataset("v", layout)
    assert run("nxconvert", "convert", "v.h5", "b.h5", "--strict").returncode == 0
    with h5py.File(tmp_path / "b.h5") as copy:
        assert (copy["v"].chunks, copy["v"].compression, copy["v"].shuffle) == ((1, 64, 64), "gzip", True)
        np.testing.assert_array_equal(copy["v"], np.concatenate([frames, frames]))


@pytest.mark.parametrize("options", [("--compression", "gzip"), ("--chunks", "1,256,512"), ("--compression", "none")])
def test_what_is_not_stored_stays_so_when_a_dataset_is_stored_anew(
    run: Callable[..., Any], tmp_path: Path, options: tuple[str, ...]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("d", (1 << 20, 1024, 512), "u2", chunks=(1, 1024, 512), fillvalue=3)
        data[5], data[70000, 1000] = 7, 9
        file.create_dataset("never", (1 << 37,), "f8")
    done = run("nxconvert", "convert", "a.h5", "b.h5", *options)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "b.h5") as copy:
        data = copy["d"]
        assert (data[5] == 7).all()
        assert (data[6] == 3).all()
        assert (data[70000, 1000] == 9).all()
        assert (data[70000, 999] == 3).all()
        assert data.chunks is not None
        assert data.id.get_num_chunks() == 2 * 1024 * 512 // (data.chunks[1] * data.chunks[2])
        assert copy["never"].id.get_storage_size() == 0
    assert (tmp_path / "b.h5").stat().st_size < 1 << 26  # mostly the index of its chunks


def test_numbered_sources_become_data(run: Callable[..., Any], tmp_path: Path) -> None:
    for block in range(3):
        _source(tmp_path / f"s_{block}.h5", 10 * block)
    space = h5py.h5s.create_simple((15,), (h5py.h5s.UNLIMITED,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (5,), (5,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, b"s_%b.h5", b"d", h5py.h5s.create_simple((5,)))
    whole = h5py.h5s.create_simple((15,), (h5py.h5s.UNLIMITED,))
    with h5py.File(tmp_path / "v.h5", "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_INT64, whole, plist)
    done = run("nxconvert", "convert", "v.h5", "b.h5", "--strict")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "b.h5") as copy:
        assert not copy["v"].is_virtual
        assert copy["v"][:].tolist() == [*range(5), *range(10, 15), *range(20, 25)]
    (tmp_path / "s_0.h5").unlink()  # HDF5 itself takes a gap for the end
    done = run("nxconvert", "convert", "v.h5", "c.h5")
    assert done.returncode == 1
    assert "s_0.h5" in done.stderr
    assert not (tmp_path / "c.h5").exists()


def test_a_missing_source_ends_a_copy_unless_it_may_be_missing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["d"] = np.arange(4)
    layout = h5py.VirtualLayout((2, 4), "i8")
    for row, name in enumerate(("there.h5", "gone.h5")):
        layout[row] = h5py.VirtualSource(name, "d", (4,))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("v", layout, fillvalue=-1)
    with pytest.raises(InputError, match=r"1 of 2 sources are missing: .*gone\.h5"):
        nxconvert.convert(tmp_path / "v.h5", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
    report = nxconvert.convert(tmp_path / "v.h5", tmp_path / "out.h5", allow_missing=True)
    assert any("gone.h5" in str(n) for n in report.notices)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["v"][()].tolist() == [[0, 1, 2, 3], [-1, -1, -1, -1]]
    nxconvert.convert(tmp_path / "v.h5", tmp_path / "kept.h5", links="keep")
    with h5py.File(tmp_path / "kept.h5") as file:
        assert file["v"].is_virtual


def _counted(path: Path, filename: bytes, name: bytes) -> None:
    """Write a virtual dataset of numbered sources, five values each, as long as there are some."""
    space = h5py.h5s.create_simple((5,), (h5py.h5s.UNLIMITED,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (5,), (5,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, filename, name, h5py.h5s.create_simple((5,)))
    plist.set_fill_value(np.array(-1))
    whole = h5py.h5s.create_simple((5,), (h5py.h5s.UNLIMITED,))
    with h5py.File(path, "a", libver="latest") as file:
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_INT64, whole, plist)


@pytest.mark.parametrize("inside", [False, True])
def test_a_numbered_source_that_is_missing_does_not_hide_later_ones(tmp_path: Path, inside: bool) -> None:
    if inside:
        with h5py.File(tmp_path / "v.h5", "w", libver="latest") as file:
            for block in (0, 1, 4, 5):
                file[f"g/s{block}"] = np.arange(10 * block, 10 * block + 5)
        _counted(tmp_path / "v.h5", b".", b"/g/s%b")
    else:
        for block in (0, 1, 4, 5):
            _source(tmp_path / f"s_{block}.h5", 10 * block)
        _source(tmp_path / "s_x7.h5", 0)
        _counted(tmp_path / "v.h5", b"s_%b.h5", b"d")
    missing = r"2 of 6 sources are missing: \S*s_?2\S* \([^()]*\), \S*s_?3\S* \("
    with nxconvert.open(tmp_path / "v.h5::/v") as data, pytest.raises(InputError, match=missing):
        data[()]
    if not inside:
        with pytest.raises(InputError, match=missing):
            nxconvert.convert(tmp_path / "v.h5", tmp_path / "out.h5")
        assert not (tmp_path / "out.h5").exists()
    with nxconvert.open(tmp_path / "v.h5::/v", allow_missing=True) as data:
        assert data[()].reshape(-1, 5)[:, 0].tolist() == [0, 10, -1, -1, 40, 50]
        assert any("2 of 6 sources are missing" in str(n) for n in data.report.notices)
    nxconvert.convert(tmp_path / "v.h5::/v", tmp_path / "out.csv", allow_missing=True)
    assert np.loadtxt(tmp_path / "out.csv", skiprows=2)[::5].tolist() == [0, 10, -1, -1, 40, 50]


def test_a_far_number_costs_no_time(tmp_path: Path) -> None:
    for block in (0, 1, 10**15):
        _source(tmp_path / f"s_{block}.h5", 10)
    _counted(tmp_path / "v.h5", b"s_%b.h5", b"d")
    with pytest.raises(InputError, match=r"sources are missing: s_2\.h5"):
        nxconvert.convert(tmp_path / "v.h5", tmp_path / "out.h5")
