"""Copies of HDF5 files and of parts of them, looked at with h5py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import needs_corpus
from h5py import h5d, h5o, h5s, h5t

from nxconvert.conversion import Plan, convert
from nxconvert.errors import NxconvertError, PolicyError, UsageError
from nxconvert.format import Report
from nxconvert.formats.hdf5.alike import proxied
from nxconvert.location import Location

SIGNATURE = {"file_name", "file_time", "creator", "HDF5_Version", "h5py_version", "NX_class"}


def copy(source: Path | str, target: Path, **options: Any) -> Report:
    """Convert one file, and raise what failed."""
    report = convert([str(source)], str(target), Plan(options=options))
    if report.failed:
        raise report.failed[0][1]
    return report


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with links and references of all kinds, beside one that it links to."""
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in" / "other.h5", "w") as f:
        f["x/y"] = np.arange(5)
        f["x/abs"] = h5py.SoftLink("/x/y")
    path = tmp_path / "in" / "a.h5"
    with h5py.File(path, "w", track_order=True) as f:
        entry = f.create_group("1.1", track_order=True)
        entry.attrs["title"] = "a scan"
        data = entry.create_dataset("z", data=np.arange(20000).reshape(100, 200), chunks=(10, 200), compression="gzip")
        entry["hard"] = data
        entry["soft"] = h5py.SoftLink("/1.1/z")
        entry["relative"] = h5py.SoftLink("z")
        entry["dangling"] = h5py.SoftLink("/1.1/nothing")
        entry["external"] = h5py.ExternalLink("other.h5", "/x")
        entry["dead"] = h5py.ExternalLink("gone.h5", "/x")
        entry["leaves"] = h5py.SoftLink("/2.1/v")
        entry["cycle"] = entry
        scale = entry.create_dataset("a", data=np.arange(100.0))
        scale.make_scale("rows")
        data.dims[0].attach_scale(scale)
        entry.create_dataset("refs", data=np.array([data.ref, entry.ref], h5py.ref_dtype))
        entry.create_dataset("regions", data=np.array([data.regionref[2:4, 5:9]], h5py.regionref_dtype))
        entry.attrs["ref"] = data.ref
        f["2.1/v"] = 3.5
        entry.attrs["away"] = f["2.1/v"].ref
        layout = h5py.VirtualLayout((5,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x/y", (5,))
        entry.create_virtual_dataset("virtual", layout)
        layout = h5py.VirtualLayout((100, 200), "i8")
        layout[:] = h5py.VirtualSource(f["1.1/z"])
        entry.create_virtual_dataset("own", layout)
        f["named"] = np.dtype([("a", "i4"), ("b", "S3")])
        entry.create_dataset("typed", (3,), dtype=f["named"])
    return path


def link(group: h5py.Group, name: str) -> Any:
    return group.get(name, getlink=True)


class TestLinks:
    def test_hard_links_stay_one_object(self, source: Path, tmp_path: Path) -> None:
        copy(source, tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            assert f["1.1/z"] == f["1.1/hard"]
            assert f["1.1/cycle"] == f["1.1"]
            assert f["1.1/typed"].id.get_type().committed()
            assert list(f["1.1"])[:3] == ["z", "hard", "soft"]  # the order of creation
            assert f["1.1"].attrs["title"] == "a scan"

    def test_links_that_stay_inside_are_kept_others_are_data(self, source: Path, tmp_path: Path) -> None:
        report = copy(source, tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            entry = f["1.1"]
            assert link(entry, "soft").path == "/1.1/z"
            assert link(entry, "relative").path == "z"
            assert link(entry, "dangling").path == "/1.1/nothing"
            assert link(entry, "leaves").path == "/2.1/v"
            assert isinstance(link(entry, "external"), h5py.HardLink)
            assert list(entry["external/y"]) == [0, 1, 2, 3, 4]
            assert link(entry["external"], "abs").path == "/1.1/external/y"
            assert list(entry["external/abs"]) == [0, 1, 2, 3, 4]
            assert not entry["virtual"].is_virtual
            assert list(entry["virtual"]) == [0, 1, 2, 3, 4]
            assert entry["own"].is_virtual
            assert (entry["own"][()] == entry["z"][()]).all()
            assert link(entry, "dead").filename == "in/gone.h5"
        assert any("gone.h5" in str(n) for n in report.notices)

    def test_keep(self, source: Path, tmp_path: Path) -> None:
        copy(f"{source}::/1.1", tmp_path / "b.h5", links="keep")
        with h5py.File(tmp_path / "b.h5") as f:
            assert link(f["1.1"], "external").filename == "in/other.h5"
            assert link(f["1.1"], "leaves").path == "/2.1/v"
            assert list(f["1.1/external/y"]) == [0, 1, 2, 3, 4]
            assert f["1.1/virtual"].is_virtual
            assert list(f["1.1/virtual"]) == [0, 1, 2, 3, 4]

    def test_resolve(self, source: Path, tmp_path: Path) -> None:
        copy(source, tmp_path / "b.h5", links="resolve")
        with h5py.File(tmp_path / "b.h5") as f:
            for name in ("soft", "relative"):
                assert isinstance(link(f["1.1"], name), h5py.HardLink)
                assert f["1.1"][name] == f["1.1/z"]
            assert not f["1.1/own"].is_virtual
            assert (f["1.1/own"][()] == f["1.1/z"][()]).all()

    def test_a_refused_link_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        with h5py.File(tmp_path / "secret.h5", "w") as f:
            f["x"] = 1
        with h5py.File(tmp_path / "in" / "a.h5", "w") as f:
            f["x"] = h5py.ExternalLink("../secret.h5", "/x")
        with pytest.raises(PolicyError, match="secret"):
            copy(tmp_path / "in" / "a.h5", tmp_path / "b.h5")
        copy(tmp_path / "in" / "a.h5", tmp_path / "c.h5", links="keep")
        with h5py.File(tmp_path / "c.h5") as f:
            assert f["x"][()] == 1

    def test_the_command_knows_the_option(self, source: Path, run: Callable[..., Any], tmp_path: Path) -> None:
        assert run("nxconvert", "convert", source, "b.h5", "--links", "keep").returncode == 0
        with h5py.File(tmp_path / "b.h5") as f:
            assert isinstance(link(f["1.1"], "external"), h5py.ExternalLink)
        assert run("nxconvert", "convert", source, "c.h5", "--links", "hope").returncode == 2


class TestReferences:
    def test_they_point_at_the_copies(self, source: Path, tmp_path: Path) -> None:
        copy(source, tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            entry = f["1.1"]
            refs = entry["refs"][()]
            assert f[refs[0]] == entry["z"]
            assert f[refs[1]] == entry
            assert f[entry.attrs["ref"]] == entry["z"]
            region = entry["regions"][0]
            assert (f[region][region] == np.arange(20000).reshape(100, 200)[2:4, 5:9]).all()
            assert entry["z"].dims[0][0] == entry["a"]
            assert f[entry["a"].attrs["REFERENCE_LIST"][0][0]] == entry["z"]

    def test_what_is_not_copied_is_a_loss(self, source: Path, tmp_path: Path) -> None:
        report = copy(f"{source}::/1.1", tmp_path / "b.h5", links="keep")
        assert any("away" in str(loss) for loss in report.losses)
        with h5py.File(tmp_path / "b.h5") as f:
            assert not f["1.1"].attrs["away"]

    def test_a_scale_alone_forgets_who_used_it(self, source: Path, tmp_path: Path) -> None:
        copy(f"{source}::/1.1/a", tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            assert "REFERENCE_LIST" not in f["1.1/a"].attrs
            assert f["1.1/a"].is_scale


class TestParts:
    def test_a_group_keeps_its_path(self, source: Path, tmp_path: Path) -> None:
        copy(f"{source}::/1.1", tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            assert "2.1" not in f
            assert f["1.1/leaves"][()] == 3.5
            assert link(f["1.1"], "soft").path == "/1.1/z"
            assert f["1.1/z"].compression == "gzip"

    def test_a_dataset_and_a_box_of_it(self, source: Path, tmp_path: Path) -> None:
        copy(f"{source}::/1.1/z", tmp_path / "b.h5")
        copy(f"{source}::/1.1/z[3:5,7:9]", tmp_path / "c.h5")
        values = np.arange(20000).reshape(100, 200)
        with h5py.File(tmp_path / "b.h5") as f:
            assert (f["1.1/z"][()] == values).all()
            assert f["1.1"].attrs["title"] == "a scan"
        with h5py.File(tmp_path / "c.h5") as f:
            assert (f["1.1/z"][()] == values[3:5, 7:9]).all()

    def test_nothing_there(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(NxconvertError, match="nothing at"):
            copy(f"{source}::/9.1", tmp_path / "b.h5")


def _raw(id: h5d.DatasetID) -> bytes:
    kind = id.get_type()
    out = np.zeros(id.get_space().get_simple_extent_npoints(), f"V{kind.get_size()}")
    id.read(h5s.ALL, h5s.ALL, out, kind)
    return out.tobytes()


class TestStorage:
    def test_types(self, tmp_path: Path) -> None:
        full = h5t.C_S1.copy()
        full.set_size(3)
        full.set_strpad(h5t.STR_NULLTERM)
        opaque = h5t.create(h5t.OPAQUE, 4)
        opaque.set_tag(b"a tag")
        kinds = {
            "nullterm": full,
            "opaque": opaque,
            "bits": h5t.STD_B16BE.copy(),
            "big": h5t.IEEE_F64BE.copy(),
            "array": h5t.array_create(h5t.STD_I16LE, (2, 3)),
            "enum": h5t.py_create(h5py.enum_dtype({"off": 0, "on": 1}), logical=True),
            "compound": h5t.py_create(np.dtype([("a", "<f4"), ("b", "S2", (2,))])),
        }
        with h5py.File(tmp_path / "a.h5", "w") as f:
            for name, kind in kinds.items():
                for where in ("set", "attribute"):
                    raw = bytes(range(65, 65 + 4 * kind.get_size()))
                    values = np.frombuffer(raw, f"V{kind.get_size()}")
                    if where == "set":
                        made = h5d.create(f.id, name.encode(), kind, h5s.create_simple((4,)))
                        made.write(h5s.ALL, h5s.ALL, values, kind)
                    else:
                        h5py.h5a.create(f.id, name.encode(), kind, h5s.create_simple((4,))).write(values, kind)
            f["text"] = ["a", "bé", ""]
            f["vlen"] = np.array([np.arange(3), np.arange(1)], h5py.vlen_dtype("i4"))
            f["null"] = h5py.Empty("f4")
            f.attrs["null"] = h5py.Empty("f4")
            f.attrs.create("latin", np.array(b"\xb5m", object), dtype=h5py.string_dtype())
        with h5py.File(tmp_path / "big.h5", "w", libver="v110") as f:
            f.attrs["large"] = np.arange(20000)
        copy(tmp_path / "a.h5", tmp_path / "b.h5")
        copy(tmp_path / "a.h5", tmp_path / "gz.h5", compression="gzip", chunks=(2,))
        for other in ("b.h5", "gz.h5"):
            with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / other) as b:
                for name in kinds:
                    assert a[name].id.get_type().equal(b[name].id.get_type()), name
                    assert _raw(a[name].id) == _raw(b[name].id), name
                    one, two = h5py.h5a.open(a.id, name.encode()), h5py.h5a.open(b.id, name.encode())
                    assert one.get_type().equal(two.get_type()), name
                assert list(b["text"]) == [b"a", "bé".encode(), b""]
                assert [list(v) for v in b["vlen"]] == [[0, 1, 2], [0]]
                assert b["null"][()] == h5py.Empty("f4")
                assert b.attrs["null"] == h5py.Empty("f4")
                assert b.attrs["latin"].encode("utf-8", "surrogateescape") == b"\xb5m"
        copy(tmp_path / "big.h5", tmp_path / "big2.h5")
        with h5py.File(tmp_path / "big2.h5") as f:
            assert (f.attrs["large"] == np.arange(20000)).all()

    def test_chunks_move_as_they_are(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as f:
            d = f.create_dataset(
                "d", (40, 10), "i4", chunks=(10, 10), maxshape=(None, 10), shuffle=True, compression="gzip", fillvalue=7
            )
            d[:10] = 3
            d.id.write_direct_chunk((20, 0), np.full((10, 10), 5, "i4").tobytes(), 3)  # skips both filters
        copy(tmp_path / "a.h5", tmp_path / "b.h5")
        with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
            one, two = a["d"].id, b["d"].id
            assert two.get_num_chunks() == 2
            for offset in ((0, 0), (20, 0)):
                assert one.read_direct_chunk(offset) == two.read_direct_chunk(offset)
            assert b["d"].maxshape == (None, 10)
            assert b["d"].fillvalue == 7
            assert (a["d"][()] == b["d"][()]).all()

    def test_stored_anew(self, tmp_path: Path) -> None:
        values = np.arange(60000, dtype="u2").reshape(300, 200)
        with h5py.File(tmp_path / "a.h5", "w") as f:
            f.create_dataset("d", data=values, chunks=(100, 200), compression="lzf")
            f["small"] = [1, 2]
        copy(tmp_path / "a.h5", tmp_path / "b.h5", compression="gzip", chunks=(50, 50))
        copy(tmp_path / "a.h5", tmp_path / "c.h5", compression="none")
        with h5py.File(tmp_path / "b.h5") as b, h5py.File(tmp_path / "c.h5") as c:
            assert (b["d"].chunks, b["d"].compression) == ((50, 50), "gzip")
            assert c["d"].compression is None
            assert (b["d"][()] == values).all()
            assert (c["d"][()] == values).all()

    def test_chunks_that_fit_nothing(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as f:
            f["here"] = np.zeros((3, 4))
        with pytest.raises(UsageError, match="/here has 2"):
            copy(tmp_path / "a.h5", tmp_path / "b.h5", chunks=(1, 2, 3))
        assert not (tmp_path / "b.h5").exists()

    def test_deep(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as f:
            here = f.id
            for _ in range(5000):
                here = h5py.h5g.create(here, b"g")
        copy(tmp_path / "a.h5", tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            assert "g/" * 5000 in f
            assert "g/" * 5001 not in f

    def test_who_made_it(self, source: Path, tmp_path: Path) -> None:
        copy(source, tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5") as f:
            assert f.attrs["creator"] == "nxconvert"
            assert f.attrs["file_name"] == "b.h5"
            assert f.attrs["HDF5_Version"] == h5py.version.hdf5_version
            assert f.attrs["file_time"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk(tmp_path: Path, run: Callable[..., Any]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with h5py.File(tmp_path / "a.h5", "w") as f:
            for n in range(8):
                f[f"d{n}"] = np.random.default_rng(n).integers(0, 1 << 62, 100000)
        for more in ((), ("--compression", "gzip", "--chunks", "1000")):
            done = run("nxconvert", "convert", "a.h5", "disk/b.h5", *more)
            assert done.returncode == 1, done.stderr
            assert "error: " in done.stderr
            assert "disk" in done.stderr
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_WALK = """
import json, sys
sys.path.insert(0, "tests")
from test_hdf5_copy import copy_and_compare
for line in sys.stdin:
    print(json.dumps([line.strip(), "starts"]), flush=True)
    print(json.dumps([line.strip(), copy_and_compare(line.strip(), sys.argv[1])]), flush=True)
"""


def copy_and_compare(path: str, target: str) -> list[str]:
    """Copy a file that h5py opens, and say what is not the same; an error of ours is an answer."""
    try:
        with h5py.File(path):
            pass
    except OSError:
        return []
    try:
        Path(target).unlink(missing_ok=True)
        copy(Location.parse(path).file, Path(target))
    except NxconvertError:
        return []
    with h5py.File(path) as a, h5py.File(target) as b:
        return list(_different(a, b))


def _different(a: h5py.File, b: h5py.File) -> Iterator[str]:
    groups: dict[Any, Any] = {}
    walked: set[Any] = set()
    pending = [("", a["/"], b["/"])]
    while pending:
        path, one, two = pending.pop()
        here, there = h5o.get_info(one.id), h5o.get_info(two.id)
        seen = groups.setdefault((here.fileno, here.addr), there.addr)
        if seen != there.addr:
            yield f"{path}: not the same object"
        if type(one) is not type(two):
            yield f"{path}: another kind of object"
            continue
        gone = set(one.attrs) - set(two.attrs) - {"REFERENCE_LIST"}
        if gone:
            yield f"{path}: attributes {gone} are gone"
        if isinstance(one, h5py.Dataset):
            yield from _different_values(path, one, two)
        if not isinstance(one, h5py.Group) or (here.fileno, here.addr) in walked:
            continue
        walked.add((here.fileno, here.addr))
        for name in one:
            yield from _different_link(f"{path}/{name}", one, two, name)
            if path.count("/") < 30 and _opens(one, name) and _opens(two, name):
                pending.append((f"{path}/{name}", one[name], two[name]))


def _different_link(path: str, one: h5py.Group, two: h5py.Group, name: str) -> Iterator[str]:
    try:
        kind = one.get(name, getlink=True)
    except TypeError:  # a user-defined link
        return
    if isinstance(kind, h5py.HardLink) and _opens(one, name) and not _opens(two, name):
        yield f"{path}: is gone"
    elif isinstance(kind, h5py.SoftLink) and two.get(name, getlink=True).path != kind.path:
        yield f"{path}: its link leads elsewhere"


def _opens(group: h5py.Group, name: str) -> bool:
    """Tell whether a hard link leads to something that h5py opens."""
    try:
        return isinstance(group.get(name, getlink=True), h5py.HardLink) and group[name] is not None
    except (KeyError, TypeError, OSError):
        return False


def _different_values(path: str, one: h5py.Dataset, two: h5py.Dataset) -> Iterator[str]:
    try:
        if not one.id.get_type().equal(two.id.get_type()) or one.shape != two.shape:
            yield f"{path}: type or shape"
            return
        if proxied(one.id.get_type()) or not one.size or one.size > 1 << 23:
            return
        if _raw(one.id) != _raw(two.id):
            yield f"{path}: values"
    except (OSError, TypeError):
        return


@needs_corpus
def test_real_files(corpus: Path, tmp_path: Path) -> None:
    names = (".h5", ".nxs", ".hdf5", ".hdf", ".cxi", ".nx5")
    waiting = sorted(str(p) for p in corpus.rglob("*") if p.suffix in names and p.stat().st_size < 20 << 20)
    answers: dict[str, Any] = {}
    while waiting:
        done = subprocess.run(
            [sys.executable, "-c", _WALK, str(tmp_path / "b.h5")],
            input="\n".join(waiting), capture_output=True, text=True, check=False, timeout=120,
            cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        answers.update(lines)
        if done.returncode == 0:
            break
        answers[lines[-1][0]] = [f"the process ended with {done.returncode}: {done.stderr[-800:]}"]
        waiting = waiting[waiting.index(lines[-1][0]) + 1 :]
    wrong = {path: answer for path, answer in answers.items() if answer}
    assert not wrong, "\n".join(f"{p}: {w[:3]}" for p, w in wrong.items())
    assert answers
