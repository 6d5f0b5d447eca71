"""What is special about Zarr: links, names, types, OME-Zarr, and stores that nobody vetted."""

import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from nxconvert_zarr import FORMAT

from nxconvert import registry
from nxconvert.conversion import Plan, convert
from nxconvert.errors import InputError, OutputError, PolicyError, UsageError
from nxconvert.format import Location, Policy, Report
from nxconvert.testing import plain_tree, tree_differences
from nxconvert.tree import Link, NewDataset, NewGroup, walk

pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")


def written(tree: NewGroup, path: Path, report: Report | None = None, **options: object) -> Path:
    from nxconvert.engine.transfer import tree_to_tree

    sink = FORMAT.create(path, report or Report(), **options)
    tree_to_tree(tree, sink, 1 << 20)
    sink.close()
    return path


def opened(path: Path, policy: Policy | None = None):
    return FORMAT.open(Location(str(path)), policy or Policy(), Report())


def test_the_plugin_is_found_by_its_entry_point():
    assert registry.formats()["zarr"] is FORMAT


# Links


def linked() -> NewGroup:
    root = NewGroup("NXroot")
    entry = root.require("entry", "NXentry")
    data = entry.add("counts", NewDataset(np.arange(5.0)))
    entry.require("plot", "NXdata").add("counts", Link("/entry/counts"))
    entry.add("other", Link("/data", "external", "elsewhere.h5"))
    entry.children["same"] = data
    return root


def test_links_come_back_as_links(tmp_path):
    report = Report()
    tree = linked()
    with opened(written(tree, tmp_path / "a.zarr", report)) as back:
        assert not tree_differences(tree, back.root)
        assert back.root["entry/plot/counts"].read().tolist() == [0, 1, 2, 3, 4]
        assert back.root["entry/same"].identity == back.root["entry/counts"].identity
        with pytest.raises(InputError, match=r"another file, elsewhere\.h5"):
            back.root["entry/other"]
    assert "3 links" in str(report.notices[0])
    assert not report.losses


def test_resolved_links_are_copies_that_any_program_sees(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["counts"] = np.arange(5.0)
        file["plot/counts"] = h5py.SoftLink("/counts")
        file["broken"] = h5py.SoftLink("/nowhere")
        file["same"] = file["counts"]
    report = convert([str(tmp_path / "a.h5")], str(tmp_path / "a.zarr"), Plan(options={"links": "resolve"}))
    root = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert root["plot/counts"][:].tolist() == root["same"][:].tolist() == [0, 1, 2, 3, 4]
    assert [loss.what for loss in report.losses] == ["/broken"]


def test_a_group_that_holds_itself_ends(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/x"] = 1
        file["a/again"] = h5py.SoftLink("/a")
    for links in ("keep", "resolve"):
        out = tmp_path / f"{links}.zarr"
        report = convert([str(tmp_path / "a.h5")], str(out), Plan(options={"links": links}))
        assert not report.failed
        assert zarr.open_group(out, mode="r")["a/x"][()] == 1
        assert bool(report.losses) == (links == "resolve")


def test_links_that_follow_one_another_in_a_circle_are_one_error(tmp_path):
    root = NewGroup()
    root.add("a", Link("/b"))
    root.add("b", Link("/a"))
    with opened(written(root, tmp_path / "a.zarr")) as back, pytest.raises(InputError, match="a cycle"):
        back.root["a"]


# Names and types


def test_names_that_file_systems_refuse_are_stored_as_safe_ones(tmp_path):
    root = NewGroup()
    for name in ("a:b", "CON", "A", "a", "__x", ".hidden", "zarr.json", "ends.", "x" * 300, "µ"):
        root.add(name, NewDataset(np.arange(2)))
    report = Report()
    path = written(root, tmp_path / "a.zarr", report)
    stored = {p.name for p in path.iterdir() if p.is_dir()}
    assert len({s.casefold() for s in stored}) == len(root)
    assert not stored & {"a:b", "CON", "__x", ".hidden", "ends."}
    assert "names that not every file system holds" in str(report.notices)
    with opened(path) as back:
        assert not tree_differences(root, back.root)


@pytest.mark.parametrize("version", ["2", "3"])
def test_what_zarr_has_no_type_for_is_a_loss(tmp_path, version):
    root = NewGroup()
    ragged = np.empty(1, dtype=np.dtype(object, metadata={"vlen": np.dtype("i4")}))
    ragged[0] = np.arange(3, dtype="i4")
    root.add("ragged", NewDataset(ragged))
    root.add("long", NewDataset(np.zeros(2, np.longdouble)))
    root.add("fine", NewDataset(np.zeros(2, "c8"), {"broken": np.zeros(2, [("x", "f4")])}))
    report = Report()
    with opened(written(root, tmp_path / "a.zarr", report, zarr_format=version)) as back:
        assert list(back.root) == ["fine"]
    assert [loss.what for loss in report.losses] == ["/fine@broken", "/long", "/ragged"] or {
        loss.what for loss in report.losses
    } == {"/ragged", "/long", "/fine@broken"}


def test_text_that_is_not_utf8_is_a_loss(tmp_path):
    root = NewGroup()
    root.add("units", NewDataset(np.array([b"\xc5", b"mm"], "S2")))
    report = Report()
    written(root, tmp_path / "a.zarr", report)
    assert [loss.what for loss in report.losses] == ["/units"]


def test_dates_are_read_as_numbers_with_units(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr")
    root.create_array("t", data=np.array(["2024-01-01", "NaT"], "M8[ns]"))
    with opened(tmp_path / "a.zarr") as back:
        t = back.root["t"]
        assert t.dtype == np.int64
        assert t.attrs["units"] == "ns since 1970-01-01"
        assert t.read().astype("M8[ns]")[0] == np.datetime64("2024-01-01")


def test_dimension_names_are_an_attribute(tmp_path):
    zarr.create_group(tmp_path / "a.zarr").create_array("d", data=np.zeros((2, 3)), dimension_names=("y", None))
    with opened(tmp_path / "a.zarr") as back:
        assert back.root["d"].attrs["dimension_names"].tolist() == ["y", ""]
        tree = NewGroup()
        tree.add("d", NewDataset(back.root["d"].read(), back.root["d"].attrs))
    assert zarr.open_group(written(tree, tmp_path / "b.zarr"), mode="r")["d"].metadata.dimension_names == ("y", None)
    two = zarr.open_group(written(tree, tmp_path / "c.zarr", zarr_format="2"), mode="r")
    assert two["d"].attrs["_ARRAY_DIMENSIONS"] == ["y", ""]


def test_missing_chunks_read_as_the_fill_value(tmp_path):
    array = zarr.create_group(tmp_path / "a.zarr").create_array(
        "d", shape=(4, 4), chunks=(2, 2), dtype="i4", fill_value=-7
    )
    array[:2, :2] = 1
    with opened(tmp_path / "a.zarr") as back:
        assert back.root["d"].read((slice(0, 4), slice(1, 3))).tolist() == [[1, -7], [1, -7], [-7, -7], [-7, -7]]


@pytest.mark.parametrize("version", ["2", "3"])
def test_version_and_compression_are_as_asked_for(tmp_path, version):
    path = written(plain_tree(), tmp_path / "a.zarr", zarr_format=version, compression="gzip", chunks=(3, 5, 7))
    array = zarr.open_group(path, mode="r")["1.1/data/frames"]
    assert array.metadata.zarr_format == int(version)
    assert array.chunks == (3, 5, 7)
    assert "gzip" in str(array.compressors).lower()
    with pytest.raises(UsageError, match="no compression 'zip'"):
        written(plain_tree(), tmp_path / "b.zarr", compression="zip", zarr_format=version)


def test_the_same_record_twice_is_refused(tmp_path):
    sink = FORMAT.create(tmp_path / "a.zarr", Report())
    sink.begin(plain_tree())
    with pytest.raises(OutputError, match="written twice"):
        sink.begin(plain_tree())
    sink.abort()


# Stores of other programs


def test_a_root_that_is_an_array_is_a_dataset(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=np.arange(6).reshape(2, 3))
    with opened(tmp_path / "a.zarr") as back:
        assert [n.path for n in walk(back.root)] == ["/data"]
        assert back.root["data"].read().tolist() == [[0, 1, 2], [3, 4, 5]]
    report = convert([str(tmp_path / "a.zarr")], str(tmp_path / "a.h5"))
    assert not report.failed
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["data"][()].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_zip_file_is_read(tmp_path):
    store = zarr.storage.ZipStore(tmp_path / "a.zip", mode="w")
    zarr.create_group(store).create_array("d", data=np.arange(3))
    store.close()
    convert([str(tmp_path / "a.zip")], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["d"][()].tolist() == [0, 1, 2]


def test_pickled_objects_are_refused(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return Path.touch, (ran,)

    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    root.create_array("d", shape=(1,), chunks=(1,), dtype="i4")
    meta = json.loads((tmp_path / "a.zarr/d/.zarray").read_text())
    meta |= {"dtype": "|O", "fill_value": None, "compressor": None, "filters": [{"id": "pickle", "protocol": 5}]}
    (tmp_path / "a.zarr/d/.zarray").write_text(json.dumps(meta))
    (tmp_path / "a.zarr/d/0").write_bytes(numcodecs.Pickle().encode(np.array([Evil()], dtype=object)))
    with opened(tmp_path / "a.zarr") as back, pytest.raises((PolicyError, InputError)):
        back.root["d"].read()
    assert not ran.exists()


def test_chunks_that_lie_elsewhere_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    root = zarr.create_group(tmp_path / "in/a.zarr")
    root.create_array("d", shape=(8,), chunks=(8,), dtype="u1", compressors=None)
    secret = tmp_path / "secret"
    secret.write_bytes(b"password")
    (tmp_path / "in/a.zarr/d/c").mkdir()
    try:
        (tmp_path / "in/a.zarr/d/c/0").symlink_to(secret)
    except OSError:
        pytest.skip("no symbolic links here")
    with opened(tmp_path / "in/a.zarr") as back, pytest.raises(PolicyError, match="symbolic link"):
        back.root["d"].read()
    with opened(tmp_path / "in/a.zarr", Policy(roots=(tmp_path,))) as back:
        assert back.root["d"].read().tobytes() == b"password"


def test_a_chunk_that_does_not_fit_the_memory_is_refused(tmp_path):
    zarr.create_group(tmp_path / "a.zarr").create_array("d", shape=(1 << 40,), chunks=(1 << 40,), dtype="f8")
    with opened(tmp_path / "a.zarr") as back, pytest.raises(InputError, match="one chunk takes"):
        back.root["d"].read((slice(0, 1),))


def test_a_huge_shape_is_read_by_box(tmp_path):
    zarr.create_group(tmp_path / "a.zarr").create_array("d", shape=(1 << 40,), chunks=(1 << 10,), dtype="f8")
    with opened(tmp_path / "a.zarr") as back:
        assert back.root["d"].read((slice(1 << 39, (1 << 39) + 2),)).tolist() == [0, 0]


# OME-Zarr


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_metadata_of_an_image_is_kept(tmp_path, version):
    scales = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    image = {"multiscales": [{"axes": axes, "datasets": scales, "version": "0.4"}], "omero": {"channels": []}}
    attrs = image if version == "0.4" else {"ome": {"version": "0.5", **image}}
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2 if version == "0.4" else 3, attributes=attrs)
    root.create_array("0", data=np.arange(12, dtype="u2").reshape(3, 4))
    convert([str(tmp_path / "a.zarr")], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as file:
        for name, value in attrs.items():
            assert json.loads(file.attrs[name]) == value
    convert([str(tmp_path / "a.h5")], str(tmp_path / "b.zarr"))
    back = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert {n: back.attrs[n] for n in attrs} == attrs
    assert back["0"][:].tolist() == root["0"][:].tolist()


def test_an_image_is_described_for_viewers(tmp_path):
    tree = NewGroup("NXroot")
    data = tree.require("entry", "NXentry").require("data", "NXdata")
    data.attrs.update(signal="frames", axes=np.array([".", "y", "x"], dtype=object))
    data.add("frames", NewDataset(np.zeros((4, 3, 5), "u2")))
    data.add("y", NewDataset(np.arange(3) * 0.25, {"units": "mm"}))
    data.add("x", NewDataset(np.arange(5) * 0.5, {"units": "um"}))
    path = written(tree, tmp_path / "a.zarr", ome="/entry/data/frames")
    found = zarr.open_group(path, mode="r")["entry/data"].attrs["ome"]
    (image,) = found["multiscales"]
    assert found["version"] == "0.5"
    assert image["axes"] == [
        {"name": "frame"},
        {"name": "y", "type": "space", "unit": "millimeter"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert image["datasets"] == [
        {"path": "frames", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.25, 0.5]}]}
    ]
    with pytest.raises(UsageError, match="no such array"):
        written(tree, tmp_path / "b.zarr", ome="/entry/nothing")
    with pytest.raises(UsageError, match="rank 2 to 5"):
        written(tree, tmp_path / "c.zarr", ome="/entry/data/x")
    with pytest.raises(UsageError, match="version 3"):
        written(tree, tmp_path / "d.zarr", ome="/entry/data/frames", zarr_format="2")


# The command


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nxconvert.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hdf5_goes_to_a_store_and_back(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", track_order=True) as file:
        file.attrs["NX_class"] = "NXroot"
        entry = file.create_group("1.1", track_order=True)
        entry.attrs["NX_class"] = "NXentry"
        entry["title"] = "a scan, ü"
        entry["frames"] = np.arange(240, dtype=">u2").reshape(4, 6, 10)
        entry["state"] = np.array([0, 1], h5py.enum_dtype({"OFF": 0, "ON": 1}, "i1"))
        entry["fixed"] = np.array([b"ab", b""], "S4")
        entry["a"] = entry["frames"]
        entry["soft"] = h5py.SoftLink("/1.1/frames")
        entry["frames"].attrs["scale"] = np.float32(0.1)
        entry["frames"].attrs["odd"] = np.array([np.nan, np.inf])
    done = run("convert", tmp_path / "a.h5", tmp_path / "a.zarr")
    assert done.returncode == 0, done.stderr
    assert run("convert", tmp_path / "a.zarr", tmp_path / "b.h5").returncode == 0
    hdf5 = registry.by_name("hdf5")
    with (
        hdf5.open(Location(str(tmp_path / "a.h5")), Policy(), Report()) as a,
        hdf5.open(Location(str(tmp_path / "b.h5")), Policy(), Report()) as b,
    ):
        mine, other = a.root["1.1"], b.root["1.1"]
        assert list(mine) == list(other)
        for name in ("title", "frames", "state", "fixed"):
            found = list(_one(mine, other, name))
            assert not found, found
        assert str(other.link("soft")) == "/1.1/frames"


def _one(a, b, name):
    from nxconvert.testing.differences import _arrays, _attributes

    yield from map(str, _arrays(name, a[name], b[name]))
    yield from map(str, _attributes(name, a[name].attrs, b[name].attrs))


def test_an_existing_folder_is_refused_and_only_a_store_is_replaced(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    store = tmp_path / "a.zarr"
    assert run("convert", tmp_path / "a.h5", store).returncode == 0
    again = run("convert", tmp_path / "a.h5", store)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    (store / "old").mkdir()
    assert run("convert", tmp_path / "a.h5", store, "--overwrite").returncode == 0
    assert not (store / "old").exists()
    precious = tmp_path / "precious.zarr"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    refused = run("convert", tmp_path / "a.h5", precious, "--overwrite")
    assert refused.returncode == 2
    assert (precious / "thesis.txt").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"a.h5", "a.zarr", "precious.zarr"}


def test_a_conversion_that_fails_leaves_nothing(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource("gone.h5", "x", (3,))
        file.create_virtual_dataset("x", layout)
    done = run("convert", tmp_path / "a.h5", tmp_path / "a.zarr")
    assert done.returncode == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_nothing_is_written_after_a_write_that_failed(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.random.default_rng(0).random((64, 100)), chunks=(1, 100))
    written_chunks = []
    usual = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "/c/" in path.as_posix():
            written_chunks.append(path)
            if len(written_chunks) > 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return usual(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "a.zarr"
    report = convert([str(tmp_path / "a.h5")], str(out), Plan(options={"chunks": (1, 100)}))
    ((_, error),) = report.failed
    assert isinstance(error, OutputError)
    assert str(error) == f"{out}::/x cannot be written: {os.strerror(errno.ENOSPC)}"
    assert len(written_chunks) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_nothing_warns(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = plain_tree()
        tree.add("table", NewDataset(np.zeros(2, [("a", "i4"), ("s", "S3")])))
        with opened(written(tree, tmp_path / "a.zarr")) as back:
            assert not tree_differences(tree, back.root)
