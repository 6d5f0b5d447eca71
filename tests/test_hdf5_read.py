"""Reading HDF5: every type, damaged files, declared sizes, odd names; h5py is the oracle."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t

from nxconvert import registry
from nxconvert.errors import InputError
from nxconvert.format import Location, Policy, Report
from nxconvert.tree import Dataset, Link, NewGroup, walk

HDF5 = registry.by_name("hdf5")


def opened(path: Path, report: Report | None = None, policy: Policy | None = None):
    return HDF5.open(Location(str(path)), policy or Policy(), report or Report())


def stored(path: Path, name: str, type_id, raw: bytes, shape: tuple[int, ...]) -> None:
    """Make a dataset of any HDF5 type from the bytes of its elements."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(shape)
    with h5py.File(path, "a") as file:
        made = h5d.create(file.id, name.encode(), type_id, h5s.create_simple(shape), plist)
        made.write_direct_chunk((0,) * len(shape), raw)


def float_type(size: int, fields: tuple[int, ...], bias: int):
    made = h5t.IEEE_F32LE.copy()
    made.set_fields(*fields)
    made.set_ebias(bias)
    made.set_precision(size * 8)
    made.set_size(size)
    return made


def integer_type(size: int):
    made = h5t.STD_I32LE.copy() if size < 4 else h5t.STD_I64LE.copy()
    made.set_size(size)
    return made


def test_hdf4_and_xml_are_refused_by_name(run, tmp_path):
    (tmp_path / "old.nxs").write_bytes(b"\x0e\x03\x13\x01" + bytes(100))
    (tmp_path / "cansas.nxs").write_text('<?xml version="1.0"?>\n<!-- a --> <SASroot version="1.1"></SASroot>')
    (tmp_path / "nexus.xml").write_text("<?xml version='1.0'?>\n<NXroot>\n</NXroot>", encoding="utf-16")
    for name, word in (("old.nxs", "HDF4"), ("cansas.nxs", "canSAS"), ("nexus.xml", "XML")):
        done = run("nxconvert", "convert", name, "out.h5")
        assert done.returncode == 1
        assert word in done.stderr.splitlines()[0]
        assert "tip: " in done.stderr
        assert not (tmp_path / "out.h5").exists()


def test_bfloat16_is_read_as_the_numbers_it_holds(tmp_path):
    wanted = np.array([1.0, -2.5, 3.140625, 1e30], "f4")
    raw = (wanted.view("u4") >> 16).astype("<u2").tobytes()
    stored(tmp_path / "a.h5", "x", float_type(2, (15, 7, 8, 0, 7), 127), raw, (4,))
    with opened(tmp_path / "a.h5") as tree:
        found = tree.root["x"].read()
    with h5py.File(tmp_path / "a.h5") as file:
        assert found.tolist() == file["x"][()].tolist()
    assert np.allclose(found, wanted, rtol=2**-7)


@pytest.mark.parametrize(
    ("type_id", "size"),
    [(integer_type(3), 3), (integer_type(16), 16), (h5t.UNIX_D32LE, 4), (h5t.UNIX_D64LE, 8)],
    ids=["24-bit", "128-bit", "time32", "time64"],
)
def test_types_that_numpy_lacks_are_named_and_the_rest_is_read(tmp_path, type_id, size):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["y"] = [1, 2]
    stored(tmp_path / "a.h5", "x", type_id, bytes(2 * size), (2,))
    with opened(tmp_path / "a.h5") as tree:
        with pytest.raises(InputError, match=r"a\.h5::/x.*type"):
            tree.root["x"].read()
        assert tree.root["y"].read().tolist() == [1, 2]


def test_arrays_and_opaque_bytes_within_elements_are_read(tmp_path):
    values = np.arange(12, dtype="i2").reshape(2, 2, 3)
    opaque = h5t.create(h5t.OPAQUE, 3)
    opaque.set_tag(b"a tag of its own")
    stored(tmp_path / "a.h5", "opaque", opaque, b"abcdef", (2,))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        pairs = np.dtype(("<i2", (2, 3)))
        made = h5d.create(file.id, b"arrays", h5t.py_create(pairs), h5s.create_simple((2,)))
        made.write(h5s.ALL, h5s.ALL, values, h5t.py_create(pairs))
        pair = h5py.h5a.create(made, b"pair", h5t.py_create(pairs), h5s.create(h5s.SCALAR))
        pair.write(values[0], h5t.py_create(pairs))
        assert np.array_equal(file["arrays"][()], values)
    with opened(tmp_path / "a.h5") as tree:
        assert np.array_equal(tree.root["arrays"].read(), values)
        assert np.array_equal(tree.root["arrays"].read((slice(1, 2),)), values[1:])
        assert np.array_equal(tree.root["arrays"].attrs["pair"], values[0])
        assert tree.root["opaque"].read().tobytes() == b"abcdef"


def test_an_attribute_of_a_type_that_numpy_lacks_is_a_loss(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
        file["x"].attrs["units"] = "mm"
        h5py.h5a.create(file["x"].id, b"when", h5t.UNIX_D32LE, h5s.create(h5s.SCALAR))
    report = Report()
    with opened(tmp_path / "a.h5", report) as tree:
        assert dict(tree.root["x"].attrs) == {"units": "mm"}
    assert [loss.what for loss in report.losses] == ["@when"]


def test_attributes_are_what_h5py_reads(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        attrs = file.create_group("g").attrs
        attrs["text"] = "µm"
        attrs.create("ascii", "mm", dtype=h5py.string_dtype("ascii"))
        attrs["fixed"] = np.bytes_("eV")
        attrs["list"] = ["a", "b", "ç"]
        attrs["number"] = np.float32(1.5)
        attrs["big"] = np.array([1, 2], ">i4")
        attrs["empty"] = h5py.Empty("f8")
        attrs["none"] = np.zeros((0,), "i2")
        attrs["flag"] = True
        attrs.create("blank", "", dtype=h5py.string_dtype())
    with opened(tmp_path / "a.h5") as tree:
        found = dict(tree.root["g"].attrs)
    assert list(found["list"]) == ["a", "b", "ç"]
    assert isinstance(found.pop("empty"), h5py.Empty)
    assert found.pop("none").shape == (0,)
    assert found.pop("big").tolist() == [1, 2]
    del found["list"]
    assert found == {"text": "µm", "ascii": "mm", "fixed": "eV", "number": 1.5, "flag": True, "blank": ""}


def test_null_empty_and_scalar_datasets(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["null"] = h5py.Empty("f4")
        file["empty"] = np.zeros((0, 3), "i2")
        file["scalar"] = 2.5
        file["text"] = "été"
    with opened(tmp_path / "a.h5") as tree:
        root = tree.root
        assert root["null"].null
        assert root["null"].read().size == 0
        assert (root["empty"].shape, root["empty"].read().dtype) == ((0, 3), np.dtype("i2"))
        assert root["scalar"].read() == 2.5
        assert root["text"].read()[()] in ("été", "été".encode())


def test_names_that_are_not_utf8_are_read_and_kept(run, tmp_path):
    raw = b"caf\xe9"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5d.create(file.id, raw, h5t.STD_I32LE, h5s.create(h5s.SCALAR)).write(h5s.ALL, h5s.ALL, np.array(7, "i4"))
    with opened(tmp_path / "a.h5") as tree:
        (name,) = tree.root
        assert name.encode("utf-8", "surrogateescape") == raw
        assert tree.root[name].read() == 7
    done = run("nxconvert", "ls", "a.h5")
    assert done.returncode == 0, done.stderr


def test_a_terabyte_that_is_only_declared_is_not_allocated(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (1 << 20, 1 << 17), "f8", chunks=(1, 1 << 17))
    with opened(tmp_path / "a.h5") as tree:
        x = tree.root["x"]
        assert x.shape == (1 << 20, 1 << 17)
        assert x.read((slice(5, 7), slice(0, 3))).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("arguments", [("a.h5::/entry/x", "out.tif"), ("a.h5", "out.h5", "--compression", "lzf")])
def test_a_chunk_larger_than_the_budget_is_refused_with_its_size(run, tmp_path, arguments):
    shape = (1, 1 << 12, 1 << 12)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("entry").attrs["NX_class"] = "NXentry"
        bomb = file.create_dataset("entry/x", shape, "f4", chunks=shape, compression="gzip")
        bomb.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1 << 26)))
    done = run("nxconvert", "convert", *arguments, "--memory", "16MiB")
    assert done.returncode == 1
    assert f"{1 << 26:,}" in done.stderr.splitlines()[0]


@pytest.mark.parametrize("chunk", [(1, 128, 64), (1, 512, 512)], ids=["small", "large"])
@pytest.mark.parametrize("block", [0, 1, 7, 1 << 31, 0xFFFFFFFF])
def test_a_damaged_bitshuffle_chunk_is_an_error_and_no_crash(run, tmp_path, chunk, block):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    shape = (2, *chunk[1:])
    frames = np.random.default_rng(1).integers(0, 9, shape, "u2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("entry").attrs["NX_class"] = "NXentry"
        x = file.create_dataset("entry/x", data=frames, chunks=chunk, **hdf5plugin.Bitshuffle())
        _mask, raw = x.id.read_direct_chunk((1, 0, 0))
        x.id.write_direct_chunk((1, 0, 0), raw[:8] + block.to_bytes(4, "big") + raw[12:])
    place = "a.h5::/entry/x"
    done = run("nxconvert", "convert", place, "out.tif", "--compression", "none")
    assert done.returncode == 1, done.stderr
    assert "/entry/x" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_intact_bitshuffle_chunks_are_read(tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    values = np.random.default_rng(2).integers(0, 999, (5, 37, 19), "i4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for n, filters in enumerate(
            [
                hdf5plugin.Bitshuffle(),
                hdf5plugin.Bitshuffle(cname="none"),
                hdf5plugin.Bitshuffle(cname="zstd"),
                hdf5plugin.Bitshuffle(nelems=64),
            ]
        ):
            file.create_dataset(f"{n}", data=values, chunks=(2, 10, 19), **filters)
    with opened(tmp_path / "a.h5") as tree:
        for n in range(4):
            assert np.array_equal(tree.root[f"{n}"].read(), values)
            assert np.array_equal(tree.root[f"{n}"].read((slice(1, 4), slice(3, 9))), values[1:4, 3:9])


def test_no_code_is_loaded_from_the_plugin_path(tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    shutil.copy(next((Path(hdf5plugin.__file__).parent / "plugins").glob("libh5lz4*")), tmp_path)
    env = {**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path)}
    env.pop("HDF5_PLUGIN_PRELOAD", None)
    found = []
    for first in ("sys", "nxconvert.formats.hdf5.read"):
        script = f"import {first}, h5py; print(h5py.h5z.filter_avail(32004))"
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        found.append(done.stdout.strip())
    assert found == ["True", "False"]


def test_damaged_metadata_is_one_clear_error(run, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver=("v110", "v110")) as file:
        for n in range(3):
            file[f"entry/data{n}"] = np.arange(5)
            file[f"entry/data{n}"].attrs["units"] = "mm"
        address = h5py.h5o.get_info(file["entry/data1"].id).addr
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[address + 20] ^= 0xFF
    (tmp_path / "b.h5").write_bytes(raw)
    done = run("nxconvert", "convert", "b.h5::/entry/data1", "out.csv")
    assert done.returncode == 1
    assert "/entry/data1" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr
    (tmp_path / "c.h5").write_bytes(bytes(raw[: len(raw) // 2]))
    done = run("nxconvert", "convert", "c.h5", "out.h5")
    assert done.returncode == 1
    assert "truncated" in done.stderr.splitlines()[0]


def test_a_new_group_knows_its_links_by_name():
    group = NewGroup()
    group.add("there", Link("/elsewhere"))
    assert "there" in group
    assert "gone" not in group


def test_walking_ends_where_a_group_holds_itself(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = 1
        file["g/again"] = file["g"]
        file["g/up"] = file["/"]
    with opened(tmp_path / "a.h5") as tree:
        found = [node.path for node in walk(tree.root)]
        assert [n.path for n in walk(tree.root) if isinstance(n, Dataset)] == ["/g/x"]
    assert found[0] == "/g"
