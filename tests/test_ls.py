"""``nxconvert ls``: what files hold, odd and hostile ones included."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import needs_corpus
from typer.testing import CliRunner

from nxconvert.cli.main import app

Run = Callable[..., Any]


def ls(*arguments: object) -> tuple[int, list[str], str]:
    """Run the command; return its exit code, the lines it printed and what went to standard error."""
    done = CliRunner().invoke(app, ["ls", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout.splitlines(), done.stderr


def nodes(path: object, *options: str) -> dict[str, dict[str, Any]]:
    code, lines, _ = ls(path, "--json", *options)
    assert code == 0
    return {n["path"]: n for n in json.loads("\n".join(lines))[0]["nodes"]}


def test_a_scan(testdata: Path) -> None:
    code, lines, told = ls(testdata / "scan.h5")
    assert (code, told) == (0, "")
    assert lines[0] == f"{testdata}/scan.h5: NeXus/HDF5"
    assert lines[1] == "default plot /1.1/plotselect: mu against energy"
    assert lines[2:4] == ["/  NXroot", "  1.1  NXentry [default]"]
    for line in (
        '    title        str = "ascan energy 7 7.2 40 0.1"',
        "        samx   float64 = 1.25 mm",
        "      energy  41 float64 keV -> /1.1/instrument/energy/data",
        "      mu      41 float64 [signal] -> /1.1/instrument/mu/data",
        "      energy  41 float64 keV [axis] -> /1.1/instrument/energy/data",
        "        data  6 x 24 x 32 uint16",
    ):
        assert line in lines
    assert max(map(len, lines[1:])) <= 80


def test_from_a_path(testdata: Path) -> None:
    code, lines, _ = ls(f"{testdata}/scan.h5::/1.2/measurement")
    assert code == 0
    assert lines[1:] == [
        "measurement  NXcollection",
        "  elapsed  5 float64 s -> /1.2/instrument/elapsed/data",
        "  current  4 float64 mA -> /1.2/instrument/current/data",
    ]
    code, lines, _ = ls(f"{testdata}/scan.h5::/2.1/measurement/pilatus[0:2]")
    assert lines[1:] == ["pilatus  2 x 24 x 32 uint16", '  @interpretation = "image"']


def test_errors_do_not_hide_the_others(testdata: Path) -> None:
    code, lines, told = ls(testdata / "map.nxs", testdata / "gone.h5", f"{testdata}/map.nxs::/nothing")
    assert code == 1
    assert lines[0].endswith("map.nxs: NeXus/HDF5")
    assert told.count("error: ") == 2
    code, lines, _ = ls(testdata / "gone.h5", testdata / "map.nxs", "--json")
    said = json.loads("\n".join(lines))
    assert code == 1
    assert ["error" in file for file in said] == [True, False]


def test_json_is_whole(testdata: Path) -> None:
    found = nodes(testdata / "scan.h5")
    with h5py.File(testdata / "scan.h5") as f:
        names: list[str] = []
        f.visit(names.append)
    assert {f"/{n}" for n in names} <= set(found)
    assert found["/1.1/measurement/I0"] == {
        "path": "/1.1/measurement/I0",
        "kind": "dataset",
        "shape": [41],
        "dtype": "float64",
        "units": "counts",
        "link": "/1.1/instrument/I0/data",
        "attrs": {"units": "counts"},
    }
    assert found["/1.1/title"]["value"] == "ascan energy 7 7.2 40 0.1"
    assert found["/1.1/plotselect/mu"]["roles"] == ["signal"]


def test_records(testdata: Path, run: Run) -> None:
    assert run("nxtoascii", testdata / "scan.h5", "--outdir", "text").returncode == 0
    text = testdata.parent / "text"
    code, lines, _ = ls(text / "scan_1.1.csv")
    assert code == 0
    assert lines[1] == 'scan 1.1: 41 rows, 6 columns "ascan energy 7 7.2 40 0.1"'
    for line in ("  energy       float64 keV [axis]", "  mu           float64 [signal]", " header"):
        assert line in lines
    assert "  motor/samx   float64 = 1.25 mm" in lines
    code, lines, _ = ls(text / "scan_1.1.csv", "--json")
    (file,) = json.loads("\n".join(lines))
    (record,) = file["records"]
    assert (record["key"], record["rows"]) == ({"scan": "1.1"}, 41)
    assert {"name": "mu", "roles": ["signal"]}.items() <= record["fields"][1].items()
    code, lines, _ = ls(text)
    assert sum(line.startswith("scan ") for line in lines) == 3


def test_many_records_are_short(tmp_path: Path) -> None:
    scans = "".join(f"#S {n} ascan th 0 1 2 1\n#N 2\n#L th  det\n0 1\n1 2\n\n" for n in range(1, 31))
    (tmp_path / "many.spec").write_text(f"#F many.spec\n#D Mon Mar 02 10:00:00 2026\n\n{scans}")
    code, lines, _ = ls(tmp_path / "many.spec")
    assert code == 0
    assert sum(line.startswith("scan ") for line in lines) == 30
    assert sum(line.startswith("  th") for line in lines) == 1
    code, lines, _ = ls(tmp_path / "many.spec", "--all")
    assert sum(line.startswith("  th") for line in lines) == 30


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    path = tmp_path / "crowd.h5"
    with h5py.File(path, "w") as f:
        f.attrs["default"] = "12.1"
        for n in range(1, 21):
            entry = f.create_group(f"{n}.1")
            entry.attrs["NX_class"] = "NXentry"
            entry["title"] = f"scan {n}"
            for m in range(100):
                entry[f"motors/m{m}"] = m
    return path


def test_large_groups_are_abridged(crowd: Path) -> None:
    code, lines, _ = ls(crowd)
    assert code == 0
    assert '  1.1   NXentry "scan 1" (2 members)' in lines
    assert "  12.1  NXentry [default]" in lines
    assert sum("int64 = " in line for line in lines) == 20
    assert f"      ... 80 more; --all or {crowd}::/12.1/motors lists them" in lines
    assert len(lines) < 60
    assert len(ls(f"{crowd}::/12.1/motors")[1]) == 102
    assert len(ls(crowd, "--all")[1]) == 2 + 20 * (3 + 100)
    assert len(nodes(crowd)) == 1 + 20 * 103


def test_links(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "beside.h5", "w") as f:
        f["x"] = np.arange(3.0)
    (tmp_path / "sub").mkdir()
    with h5py.File(tmp_path / "sub" / "a.h5", "w") as f:
        f["x"] = np.arange(3)
        f["hard"] = f["x"]
        f["soft"] = h5py.SoftLink("/x")
        f["dangling"] = h5py.SoftLink("/gone")
        f["group"] = h5py.SoftLink("/")
        f["self"] = f["/"]
        f["one"], f["two"] = h5py.SoftLink("/two"), h5py.SoftLink("/one")
        f["out"] = h5py.ExternalLink("../beside.h5", "/x")
        f["lost"] = h5py.ExternalLink("gone.h5", "/x")
    code, lines, _ = ls(tmp_path / "sub" / "a.h5")
    assert code == 0
    assert [line.split(maxsplit=1) for line in lines[2:]] == [
        ["dangling", "-> /gone (missing)"],
        ["group", "group -> /"],
        ["hard", "3 int64"],
        ["lost", "-> gone.h5::/x (missing)"],
        ["one", "-> /two (missing)"],
        ["out", "-> ../beside.h5::/x (refused)"],
        ["self", "group (the same as /)"],
        ["soft", "3 int64 -> /x"],
        ["two", "-> /one (missing)"],
        ["x", "3 int64 (the same as /hard)"],
    ]
    code, lines, _ = ls(tmp_path / "sub" / "a.h5", "--allow-root", tmp_path)
    assert any(line.split() == ["out", "3", "float64", "->", "../beside.h5::/x"] for line in lines)


def test_names_and_values_are_printable(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["bad\x1b[31m\nname"] = "\x1b]0;title\x07"
        f.attrs["ev\x07il"] = "\x1b[2J"
        f["soft"] = h5py.SoftLink("/\x1b[31m")
        f.create_group("x")[b"latin\xe9"] = 1
        f["long"] = "x" * 10_000
    code, lines, _ = ls(tmp_path / "a.h5", "--attrs")
    assert code == 0
    assert all(c.isprintable() for line in lines for c in line)
    assert "x" * 100 not in "".join(lines)
    code, lines, _ = ls(tmp_path / "a.h5", "--json")
    assert code == 0
    assert "\x1b" not in "".join(lines)


def test_a_terminal_that_cannot_say_it(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["μ"] = "é"
    done = run("nxconvert", "ls", "a.h5")
    assert done.returncode == 0
    assert "\\u03bc" in done.stdout


def test_20_000_nested_groups(tmp_path: Path, run: Run) -> None:
    with h5py.File(tmp_path / "deep.h5", "w") as f:
        group = f.id
        for _ in range(20_000):
            group = h5py.h5g.create(group, b"g")
    done = run("nxconvert", "ls", "deep.h5", "--all")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-2].strip() == "g  group (1 member)"
    assert len(done.stdout.splitlines()) == 67
    assert run("nxconvert", "ls", "deep.h5", "--json").returncode == 0


def test_large_values_are_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("tebi", (1 << 20, 1 << 20), "u1", chunks=(1, 1 << 20))
        f.create_dataset("bad", (1,), "f8", external=[("/etc/hostname", 0, 8)])
    code, lines, _ = ls(tmp_path / "a.h5")
    assert code == 0
    assert "  tebi  1,048,576 x 1,048,576 uint8" in lines
    assert any("its values lie as raw bytes in another file" in line for line in lines)


def test_types_are_named(tmp_path: Path) -> None:
    kinds = {
        "bool": np.bool_(True),
        "enum": np.array(1, h5py.enum_dtype({"OFF": 0, "ON": 1}, "i1")),
        "compound": np.zeros(2, [("x", "f4"), ("n", "i2")]),
        "complex": np.complex64(1 + 2j),
        "big": np.array(3, ">f8"),
    }
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for name, value in kinds.items():
            f[name] = value
        f["type"] = np.dtype("f8")
        f["empty"] = h5py.Empty("f4")
        f.create_dataset("vlen", (2,), h5py.vlen_dtype("i4"))
        f["ref"] = f.ref
    code, lines, _ = ls(tmp_path / "a.h5")
    assert code == 0
    said = dict(line.split(maxsplit=1) for line in lines[2:])
    assert said["bool"] == "bool = True"
    assert said["enum"] == 'enum int8 = "ON"'
    assert said["compound"] == "2 compound(x: float32, n: int16)"
    assert said["complex"] == "complex64 = (1+2j)"
    assert said["big"] == ">f8 = 3.0"
    assert said["type"] == "named type"
    assert said["empty"] == "0 float32"
    assert said["vlen"] == "2 vlen(int32)"
    assert said["ref"].startswith("reference")


def test_a_broken_pipe_is_no_error(testdata: Path) -> None:
    import subprocess

    command = [sys.executable, "-m", "nxconvert.cli.main", "ls", "--all", "--attrs", str(testdata / "scan.h5")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@needs_corpus
def test_every_hdf5_file_is_listed_or_refused_in_one_line(corpus: Path) -> None:
    manifest = (corpus / "MANIFEST.tsv").read_text("utf-8").splitlines()[1:]
    names = [row.split("\t")[0] for row in manifest if "HDF5" in row.split("\t")[3]]
    assert len(names) > 150
    listed = 0
    for name in names:
        code, lines, told = ls(corpus / name)
        assert all(c.isprintable() for line in lines for c in line), name
        if code:
            assert told.startswith("error: "), name
            assert told.count("\n") <= 2, name
        else:
            listed += 1
            assert lines[1:], name
    assert listed >= len(names) - 4


def test_a_tree_is_listed_as_the_records_that_a_mapping_sees() -> None:
    file = str(Path(__file__).parent.parent / "testdata" / "map.nxs")
    done = CliRunner().invoke(app, ["ls", file, "--mapping", "auto", "--json"])
    (told,) = json.loads(done.stdout)
    assert [r["key"] for r in told["records"]] == [{"entry": "entry", "data": name} for name in ("map", "profile")]
    assert "nodes" not in told
    done = CliRunner().invoke(app, ["ls", f"{file}::/entry/profile", "--mapping", "nxdata"])
    assert done.stdout.splitlines()[1].startswith("entry entry, data profile: 9 rows, 2 columns")
    assert CliRunner().invoke(app, ["ls", file, "--mapping", "blis"]).exit_code == 2


def test_a_unit_that_is_no_utf8_is_shown_as_latin1(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as file:
        values = file.create_dataset("t", data=[1.0, 2.0])
        values.attrs["units"] = np.bytes_(b"\xb0C")
        values.attrs["control"] = np.bytes_(b"\x9b1m")
    _, lines, _ = ls(tmp_path / "old.h5", "--attrs")
    assert "  t  2 float64 °C" in lines
    assert '    @control = "\\udc9b1m"' in lines
    assert nodes(tmp_path / "old.h5")["/t"]["units"] == "\udcb0C"  # JSON has the byte
