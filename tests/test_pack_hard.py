"""Packing what people really have, and packed files from strangers: odd names, links, hostile numbers, full disks."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
linux = pytest.mark.skipif(sys.platform != "linux", reason="names and links as Linux has them")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in the test's folder; in this process, since there are many."""
    from typer.testing import CliRunner

    from nxconvert.cli.main import app

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert "unexpectedly" not in done.stderr, done.stderr
        return subprocess.CompletedProcess([], done.exit_code, done.stdout, done.stderr)

    return run


def edf(path: Path, frame: np.ndarray | None = None, keys: dict[str, str] | None = None, frames: int = 1) -> None:
    """Write an EDF file with any keys, byte for byte."""
    frame = np.arange(20, dtype="<u2").reshape(4, 5) if frame is None else frame
    out = b""
    for number in range(frames):
        about = {
            "HeaderID": f"EH:{number + 1:06d}:000000:000000",
            "ByteOrder": "LowByteFirst",
            "DataType": "UnsignedShort",
            "Dim_1": str(frame.shape[1]),
            "Dim_2": str(frame.shape[0]),
            "Size": str(frame.nbytes),
            **(keys or {}),
        }
        lines = b"{\n" + b"".join(f"{k} = {v} ;\n".encode("utf-8", "surrogateescape") for k, v in about.items())
        out += lines.ljust(-(-(len(lines) + 2) // 512) * 512 - 2) + b"}\n" + frame.tobytes()
    path.write_bytes(out)


def series(folder: Path, n: int, name: str = "s_{}.edf") -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(n):
        edf(folder / name.format(i), np.full((4, 5), i, "<u2"), {"n": str(i)})
    return folder


def comes_back(run: Run, folder: Path) -> None:
    """Pack a folder; make sure that all of it comes back."""
    done = run("pack", folder, "-o", "p.h5", "--overwrite")
    assert done.returncode == 0, done.stderr
    done = run("verify", "p.h5", "--against", folder)
    assert done.returncode == 0, done.stderr
    done = run("restore", "p.h5", "-o", "back", "-q", "--overwrite")
    assert done.returncode == 0, done.stderr
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert files
    for path in files:
        assert (Path("back") / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert not list(Path("back").rglob("*.part"))


@linux
def test_any_name_comes_back(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "d"
    scan.mkdir()
    names = [
        "a\nb_1.edf",
        "-x_1.edf",
        "A_1.edf",
        "a_1.edf",
        ".hidden.edf",
        "x" * 250 + ".edf",
        "b\\c.edf",
        "e\u0301_1.edf",
    ]
    names += ["é_1.edf", os.fsdecode(b"\xff\xfe_1.edf"), os.fsdecode(b"\xff\xfe_2.edf"), "n" * 255]
    for i, name in enumerate(names):
        edf(scan / name, keys={"n": str(i)})
    comes_back(run, scan)


@linux
def test_what_is_not_kept_is_told(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "d", 2)
    (scan / "empty" / "er").mkdir(parents=True)
    (tmp_path / "beside").write_text("beside")
    (scan / "file link").symlink_to(tmp_path / "beside")
    (scan / "folder link").symlink_to(tmp_path)
    (scan / "dangling").symlink_to("nowhere")
    os.mkfifo(scan / "pipe")
    done = run("pack", "d", "-o", "p.h5")
    assert done.returncode == 0
    assert "empty folders are not kept: empty/er" in done.stderr
    assert "links are kept as the files that they lead to: file link" in done.stderr
    assert "links to folders are not followed: folder link" in done.stderr
    assert "links that lead nowhere are not kept: dangling" in done.stderr
    assert "not kept: pipe" in done.stderr
    assert run("restore", "p.h5", "-o", "back").returncode == 0
    assert (tmp_path / "back" / "file link").read_text() == "beside"


def test_a_folder_that_cannot_be_read_ends_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = series(tmp_path / "d", 2)
    (scan / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = run("pack", "d", "-o", "p.h5")
    assert done.returncode == 1
    assert "closed cannot be read: Permission denied" in done.stderr
    assert not (tmp_path / "p.h5").exists()


def test_a_file_that_cannot_be_read_is_no_matter_of_taste(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path / "d", 3)
    opened = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("s_1.edf"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    for how in ("error", "skip", "fill"):
        done = run("pack", "d", "-o", "p.h5", "--on-problem", how)
        assert done.returncode == 1
        assert "s_1.edf: cannot be read: Permission denied" in done.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


def test_an_output_inside_of_the_folder_is_not_packed(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "d", 3)
    for name in (".p.h5.lock", ".p.h5.0.packing", ".p.h5.0.journal"):
        (scan / name).write_bytes(b"left by a run that was killed")
    done = run("pack", "d", "-o", "d/p.h5")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in scan.iterdir()) == ["p.h5", "s_0.edf", "s_1.edf", "s_2.edf"]
    assert run("verify", "d/p.h5", "--against", "d").returncode == 0
    done = run("verify", "d/p.h5", "--against", "d", "--delete-verified", "--yes")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in scan.iterdir()] == ["p.h5"]


def test_an_output_that_came_meanwhile_stays(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nxconvert.packed import pack

    series(tmp_path / "d", 3)
    catalogued = pack.catalogued

    def slow(*arguments: Any, **more: Any) -> Any:
        (tmp_path / "p.h5").write_text("another run was faster")
        return catalogued(*arguments, **more)

    monkeypatch.setattr(pack, "catalogued", slow)
    done = run("pack", "d", "-o", "p.h5")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "p.h5").read_text() == "another run was faster"


@pytest.mark.parametrize("what", ["grows", "shrinks", "vanishes", "other bytes"])
@pytest.mark.parametrize("name", ["s_1.edf", "notes.txt"])
def test_files_that_change_while_they_are_packed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str
) -> None:
    from nxconvert.packed import pack

    scan = series(tmp_path / "d", 3)
    (scan / "notes.txt").write_bytes(b"notes " * 2000)
    catalogued = pack.catalogued

    def changed(*arguments: Any, **more: Any) -> Any:
        found = catalogued(*arguments, **more)
        raw = (scan / name).read_bytes()
        (scan / name).unlink()
        if what != "vanishes":
            (scan / name).write_bytes({"grows": raw + b"x", "shrinks": raw[:-1], "other bytes": raw[:-1] + b"y"}[what])
            os.utime(scan / name, ns=(1, 1))
        return found

    monkeypatch.setattr(pack, "catalogued", changed)
    for how in ("error", "skip"):
        scan = series(tmp_path / "d", 3)
        (scan / "notes.txt").write_bytes(b"notes " * 2000)
        done = run("pack", "d", "-o", "p.h5", "--on-problem", how)
        assert done.returncode == 1
        assert name in done.stderr
        assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nxconvert.dissection import FileContent
    from nxconvert.errors import InputError
    from nxconvert.format import Report
    from nxconvert.packed import pack

    scan = series(tmp_path / "d", 2)
    notes = scan / "notes.txt"
    notes.write_bytes(os.urandom(20_000_000))
    view = FileContent.view

    def cut(self: FileContent, offset: int, size: int) -> memoryview:
        if offset == 8 << 20 and self.name.endswith("notes.txt"):
            os.truncate(notes, 9 << 20)
        return view(self, offset, size)

    monkeypatch.setattr(FileContent, "view", cut)
    with pytest.raises(InputError, match=r"notes\.txt was c"):
        pack.pack([str(scan)], tmp_path / "p.h5", pack.Plan(), Report())
    assert not (tmp_path / "p.h5").exists()


def test_a_file_that_is_new_or_changed_is_not_deleted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nxconvert.packed import verify

    scan = series(tmp_path / "d", 3)
    assert run("pack", "d", "-o", "p.h5").returncode == 0
    verified = verify.verify

    def later(*arguments: Any) -> Any:
        verdict = verified(*arguments)
        (scan / "a_new.edf").write_text("made after the verification")
        return verdict

    monkeypatch.setattr(verify, "verify", later)
    done = run("verify", "p.h5", "--against", "d", "--delete-verified", "--yes")
    assert done.returncode == 1
    assert "a_new.edf was changed since it was verified" in done.stderr
    assert len(list(scan.iterdir())) == 4


def test_numbers_in_names_may_be_of_any_size(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "d"
    scan.mkdir()
    for number in (1700000000000000000, 1700000060000000000, 10**30):
        edf(scan / f"s_{number}.edf")
    done = run("pack", "d", "-o", "p.h5")
    assert done.returncode == 0, done.stderr
    assert "59999999999 of its numbers are not there" in done.stderr.replace(",", "")
    comes_back(run, scan)


HARD = {
    **dict.fromkeys(["a/b", ".", "..", "header/data", "x#2", "NX_class", "entry", "frame_number"], "3"),
    "motor_mne": "th th a/b",
    "motor_pos": "1 2 3",
    "large": "1e999",
    "small": "1e-999",
    "big": "99999999999999999999",
    "nul": "a\0b",
    "latin": os.fsdecode(b"\xe9"),
}


def test_any_key_of_a_header_has_a_place(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "d"
    scan.mkdir()
    for i in range(3):
        varying = dict.fromkeys(["data", "status", "title", "scan/x", "missing_rows", "source_file", "signal"], str(i))
        varying |= {"long": str(i) * 70_000, "mixed": ("1", "1.5", "x")[i], "ns": f"170000000000000000{i}"}
        varying |= {"wide": ("9007199254740993", "1.5", "2")[i]}
        edf(scan / f"s_{i}.edf", keys=HARD | varying)
    comes_back(run, scan)
    with h5py.File(tmp_path / "p.h5") as file:
        header = file["entry/header"]
        assert header["large"][()] == b"1e999"
        assert header["small"][()] == b"1e-999"
        assert header["big"][()] == b"99999999999999999999"
        assert header["nul"][()] == b"a\0b"
        assert list(header["ns"][()]) == [1700000000000000000 + i for i in range(3)]
        assert list(header["wide"][()]) == [b"9007199254740993", b"1.5", b"2"]
        assert list(header["mixed"][()]) == [b"1", b"1.5", b"x"]
        assert header["long"][2] == b"2" * 70_000
        assert header["x#2"][()] == 3
        assert len([k for k in header if k.endswith(("data", "data#2"))]) == 2
        assert file["entry/data/data"].shape == (3, 4, 5)
        assert file["entry/instrument/positioners/th#2"][()] == 2


def test_keys_that_come_twice_never_take_the_name_of_another() -> None:
    from nxconvert.dissection import Entry
    from nxconvert.headers import named

    header = [Entry(k, i) for i, k in enumerate(["a", "a#2", "a", "a", "a#2"])]
    found = {e.key: e.value for e in named(header)}
    assert len(found) == 5
    assert found["a"] == 0
    assert found["a#2"] == 1


@pytest.mark.parametrize("text", ["0", "-1", "9223372036854775807", "0.5", "1e5", "nan", "-inf", "0.0e-999"])
def test_numbers_are_numbers(text: str) -> None:
    from nxconvert.dissection import Entry
    from nxconvert.headers import header_fields

    (field,) = header_fields([[Entry("k", text)]], "x")
    value = field.values.read()[()]
    assert not isinstance(value, str)
    assert str(value) == str(float(text) if "." in text or not text.lstrip("-").isdigit() else int(text))


@pytest.mark.parametrize("text", ["9223372036854775808", "1" * 400, "1e400", "4e-400", "0x1f", "1_000", "٣", "1 2"])
def test_what_no_number_holds_is_text(text: str) -> None:
    from nxconvert.dissection import Entry
    from nxconvert.headers import header_fields

    (field,) = header_fields([[Entry("k", text)]], "x")
    assert field.values.read()[()] == text


def test_columns_that_do_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nxconvert.format import Report
    from nxconvert.packed import pack
    from nxconvert.packed.verify import verify

    scan = tmp_path / "d"
    scan.mkdir()
    for i in range(9):
        edf(scan / f"s_{i}.edf", keys={"n": str(i), "text": f"t{i}" * (i + 1), **({"some": "1.5"} if i % 2 else {})})
    columns = pack.Columns
    monkeypatch.setattr(pack, "Columns", lambda records, _, folder: columns(records, 10, folder))
    pack.pack([str(scan)], tmp_path / "p.h5", pack.Plan(), Report())
    assert verify(tmp_path / "p.h5", [scan]).good
    with h5py.File(tmp_path / "p.h5") as file:
        header = file["entry/header"]
        assert list(header["n"][()]) == list(range(9))
        assert [t.decode() for t in header["text"][()]] == [f"t{i}" * (i + 1) for i in range(9)]
        assert list(header["some"].attrs["missing_rows"]) == [0, 2, 4, 6, 8]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "p.h5"]


def test_a_frame_larger_than_the_budget_is_refused(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "d"
    scan.mkdir()
    edf(scan / "a.edf", np.zeros((3000, 3000), "<u2"))
    done = run("pack", "d", "-o", "p.h5", "--memory", "16MiB")
    assert done.returncode == 1
    assert "a frame takes 18,000,000 bytes" in done.stderr
    assert "--memory" in done.stderr
    assert run("pack", "d", "-o", "p.h5", "--memory", "40MiB").returncode == 0


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_files_are_no_bombs(run: Run, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    from nxconvert.compressed import inside
    from nxconvert.dissection import Content
    from nxconvert.errors import InputError

    scan = series(tmp_path / "d", 2)
    (scan / "a.edf").write_bytes((scan / "s_1.edf").read_bytes() + bytes(20 << 20))
    (scan / "a.edf.gz").write_bytes(pack((scan / "a.edf").read_bytes()))
    (scan / "a.edf").unlink()
    done = run("pack", "d", "-o", "p.h5", "--memory", "16MiB")
    assert done.returncode == 1
    assert "a.edf.gz: unpacks to more than 8,388,608 bytes" in done.stderr
    (scan / "a.edf.gz").unlink()
    for raw in (b"", b"x", os.urandom(3_000_000), bytes(3 << 20)):
        for more in (b"", b"\0" * 500, pack(b"more")):
            found = inside(Content("x", memoryview(pack(raw) + more)))
            assert found is not None
            assert bytes(found.view(0, found.size)) == raw + (b"more" if more.strip(b"\0") else b"")
        with pytest.raises(InputError):
            inside(Content("x", memoryview(pack(raw)[:-5])))
    # what is no image may be of any size, or damaged
    (scan / "log.gz").write_bytes(pack(bytes(30 << 20)))
    (scan / "torn.gz").write_bytes(pack(os.urandom(9000))[:-7])
    done = run("pack", "d", "-o", "p.h5", "--memory", "16MiB")
    assert done.returncode == 0, done.stderr
    assert run("verify", "p.h5", "--against", "d").returncode == 0


@pytest.fixture
def packed(run: Run, tmp_path: Path) -> Path:
    """A packed file of three frames and a sidecar; beside it what must not be read."""
    scan = series(tmp_path / "d", 3)
    (scan / "note.txt").write_text("hello " * 100)
    assert run("pack", "d", "-o", "p.h5", "-q").returncode == 0
    (tmp_path / "secret").write_bytes(b"secret\0" * 100)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("x", data=np.frombuffer(b"secret\0" * 100, np.uint8), chunks=(700,))
    return tmp_path / "p.h5"


def put(file: h5py.File, name: str, values: Any) -> None:
    """Put an array into the origin."""
    if isinstance(values, bytes | list):
        raw = values if isinstance(values, bytes) else json.dumps(values).encode()
        values = np.frombuffer(raw, np.uint8)
    del file[f"origin/{name}"]
    file.create_dataset(f"origin/{name}", data=values, chunks=values.shape, compression="gzip")


def changed(name: str, value: int) -> Callable[[h5py.File], None]:
    return lambda file: put(file, name, np.full_like(file[f"origin/{name}"][()], value))


def recipe(*parts: Any) -> Callable[[h5py.File], None]:
    return lambda file: put(file, "recipes", [[["kept"]], list(parts)])


def instead(path: str, make: Callable[[h5py.File, str], Any]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[path]
        make(file, path)

    return change


def link(to: Any) -> Callable[[h5py.File, str], Any]:
    return lambda file, path: file.__setitem__(path, to)


def made(*arguments: Any, **more: Any) -> Callable[[h5py.File, str], Any]:
    return lambda file, path: file.create_dataset(path, *arguments, **more)


def virtual(file: h5py.File, path: str) -> None:
    layout = h5py.VirtualLayout((3, 4, 5), "<u2")
    layout[:] = h5py.VirtualSource("other.h5", "/x", shape=(3, 4, 5))
    file.create_virtual_dataset(path, layout)


def bomb(file: h5py.File, path: str) -> None:
    made_ = file.create_dataset(path, (1000,), "u1", chunks=(1000,), compression="gzip")
    made_.id.write_direct_chunk((0,), zlib.compress(bytes(64 << 20)))


def short(file: h5py.File) -> None:
    file["origin/kept"].id.write_direct_chunk((0,), zlib.compress(b"x"))


DATA, NAMES = "entry/data/data", "origin/names"
PIECE = ["piece", 0, None, "raw", []]
HOSTILE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "negative part": (changed("part_size", -5), "negative"),
    "negative size": (changed("size", -1), "negative"),
    "huge size": (changed("size", 1 << 50), "its parts have"),
    "huge parts": (changed("part_size", 1 << 50), "its parts have"),
    "row out of range": (changed("frame_row", 99), "is not in"),
    "negative row": (changed("frame_row", -5), "is not in"),
    "record out of range": (changed("frame_record", 9), "is not in"),
    "negative count": (changed("frames", -1), "damaged"),
    "deep nesting": (lambda f: put(f, "recipes", b"[" * 100_000 + b"]" * 100_000), "damaged"),
    "recipes of other types": (lambda f: put(f, "recipes", [5, {}]), "damaged"),
    "parts of other types": (recipe(["literal"], ["piece", "0", None, "raw", []]), "damaged"),
    "parameters of other types": (recipe(["literal"], ["piece", 0, None, "raw", [{}]]), "damaged"),
    "a frame that is not there": (recipe(["literal"], ["piece", 7, None, "raw", []]), "is not in"),
    "an encoder nobody knows": (recipe(["literal"], ["piece", 0, None, "nope", []]), "nope"),
    "parameters nobody knows": (recipe(["literal"], ["piece", 0, None, "lzw", ["x", "y"]]), "cannot be put back"),
    "too few parameters": (recipe(["literal"], ["piece", 0, None, "tile", []]), "cannot be put back"),
    "a huge tile": (recipe(["literal"], ["piece", 0, None, "tile", ["zero", 1, 50000, 50000, "raw"]]), "cannot be put"),
    "a box beyond the frame": (recipe(["literal"], ["piece", 0, [[0, 99], [0, 5]], "raw", []]), "cannot be put back"),
    "a box of another rank": (recipe(["literal"], ["piece", 0, [[0, 2]], "raw", []]), "cannot be put back"),
    "a chunk that is not there": (recipe(["literal"], ["chunk", 0, 77]), "no chunk 77"),
    "records of other types": (lambda f: put(f, "records", [1, 2]), "damaged"),
    "a record that is a group": (lambda f: put(f, "records", [{"entry": "entry", "path": "/origin"}]), "no dataset"),
    "names elsewhere": (instead(NAMES, link(h5py.ExternalLink("other.h5", "/x"))), "not in the file itself"),
    "names by a link": (instead(NAMES, link(h5py.SoftLink("/origin/kept"))), "not in the file itself"),
    "names in raw data": (instead(NAMES, made((700,), "u1", external=[("secret", 0, 700)])), "not stored in chunks"),
    "frames elsewhere": (instead(DATA, link(h5py.ExternalLink("other.h5", "/x"))), "not in the file itself"),
    "frames in raw data": (instead(DATA, made((3, 4, 5), "<u2", external=[("secret", 0, 120)])), "not stored in"),
    "virtual frames": (instead(DATA, virtual), "not stored in chunks"),
    "origin elsewhere": (instead("origin", link(h5py.ExternalLink("d/q.h5", "/origin"))), "no group /origin"),
    "huge names": (instead(NAMES, made((1 << 40,), "u1", chunks=(1 << 20,), compression="gzip")), "would take"),
    "a huge chunk": (instead(NAMES, made((9,), "u1", chunks=(1 << 31,), maxshape=(None,))), "would take"),
    "a bomb": (instead(NAMES, bomb), "does not hold 1,000 bytes"),
    "frames of text": (instead(DATA, made((3, 4, 5), h5py.string_dtype(), chunks=(1, 4, 5))), "holds no numbers"),
    "frames of records": (instead(DATA, made((3, 4, 5), [("a", "i4")], chunks=(1, 4, 5))), "holds no numbers"),
    "huge frames": (instead(DATA, made((3, 1 << 20, 1 << 20), "u2", chunks=(1, 9, 9))), "holds no frames"),
    "frames of another shape": (instead(DATA, made(data=np.ones((3, 7, 7)), chunks=(1, 7, 7))), "cannot be put back"),
    "a number for frames": (instead(DATA, made(data=5)), "not stored in chunks"),
    "a short stream": (short, "damaged at byte 0"),
    "an empty stream": (
        instead("origin/kept", made((1 << 40,), "u1", chunks=(1 << 20,), compression="gzip")),
        "damaged",
    ),
    "names that lead out": (lambda f: put(f, "names", b"../../a\0/b\0c\0d\0"), "none that can be written"),
    "names that come twice": (lambda f: put(f, "names", b"a\0a\0c\0d\0"), "two files would be a"),
    "a file that is a folder": (lambda f: put(f, "names", b"a\0a/b\0c\0d\0"), "cannot be written"),
    "a later version": (lambda f: f["origin"].attrs.modify("version", 99), "later nxconvert"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_packed_files_from_strangers(run: Run, packed: Path, what: str) -> None:
    change, told = HOSTILE[what]
    with h5py.File(packed, "r+") as file:
        change(file)
    done = run("restore", "p.h5", "-o", "back", "-q")
    assert done.returncode == 1
    assert told in done.stderr, done.stderr
    assert "secret" not in done.stdout + done.stderr.replace("/secret", "")
    back = list(Path("back").rglob("*")) if Path("back").exists() else []
    assert not [p for p in back if "secret" in p.name or p.name.endswith(".part")]
    done = run("verify", "p.h5", "--against", "d")
    assert done.returncode == 1


@pytest.mark.parametrize("what", ["elsewhere", "huge", "group", "no place", "raw seal", "huge seal"])
def test_digests_from_strangers(run: Run, packed: Path, what: str) -> None:
    with h5py.File(packed, "r+") as file:
        digests = file["origin/digests"]
        if what == "elsewhere":
            del digests["entry"]
            digests["entry"] = h5py.ExternalLink("other.h5", "/x")
        elif what == "huge":
            del digests["entry"]
            digests.create_dataset("entry", (1 << 33,), "u8", chunks=(1 << 17,)).attrs["of"] = "/entry/data/data"
        elif what == "group":
            digests["entry"].attrs["of"] = "/origin"
        elif what == "no place":
            del digests["entry"].attrs["of"]
        else:
            del file["origin/seal"]
            if what == "raw seal":
                file.create_dataset("origin/seal", (32,), "u1", external=[("secret", 0, 32)])
            else:
                file.create_dataset("origin/seal", (1 << 40,), "u1", chunks=(1 << 20,))
    done = run("verify", "p.h5")
    assert done.returncode == 1
    assert "damaged" in done.stderr


def test_a_packed_file_that_another_program_touched(run: Run, packed: Path) -> None:
    with h5py.File(packed, "r+") as file:
        file["entry"].attrs["comment"] = "added later"
    done = run("verify", "p.h5", "--against", "d")
    assert done.returncode == 1
    assert "seal is broken" in done.stderr
    assert run("restore", "p.h5", "-o", "back").returncode == 0


def test_two_files_never_become_one_by_converting(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "d"
    scan.mkdir()
    edf(scan / "a.edf", np.full((4, 5), 1, "<u2"))
    (scan / "a.edf.gz").write_bytes(gzip.compress((scan / "a.edf").read_bytes()))
    assert run("pack", "d", "-o", "p.h5").returncode == 0
    done = run("restore", "p.h5", "-o", "out", "--to", "tiff")
    assert done.returncode == 1
    assert "two files would be a.tif" in done.stderr
    done = run("restore", "p.h5", "a.edf.gz", "-o", "out", "--to", "tiff")
    assert done.returncode == 0, done.stderr
    import tifffile

    assert np.array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), np.full((4, 5), 1))


def test_numbers_are_no_extensions(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "d", 3, "image.{:04d}")
    assert run("pack", "d", "-o", "p.h5").returncode == 0
    done = run("restore", "p.h5", "-o", "out", "--to", "tiff")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"image.{i:04d}.tif" for i in range(3)]


def test_large_files_are_put_together_piece_by_piece(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nxconvert.packed import rebuild, restore

    scan = series(tmp_path / "d", 2)
    edf(scan / "many.edf", np.arange(2000, dtype="<u2").reshape(40, 50), frames=7)
    (scan / "movie.bin").write_bytes(os.urandom(5_000_000))
    for module in (rebuild, restore):
        monkeypatch.setattr(module, "LARGE", 5_000)
    windows = []
    made_at_once = rebuild.Rebuilder._windows

    def counted(self: Any, made: Any) -> Any:
        for window in made_at_once(self, made):
            windows.append(len(window))
            yield window

    monkeypatch.setattr(rebuild.Rebuilder, "_windows", counted)
    comes_back(run, scan)
    assert max(windows) <= rebuild.WINDOW
    assert len(windows) > 10
    done = run("restore", "p.h5", "many.edf", "-o", "out", "--to", "tiff")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["many.tif"]
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        sha256 = file["origin/sha256"][()]
        sha256[:] ^= 1
        put(file, "sha256", sha256)
    done = run("restore", "p.h5", "-o", "bad")
    assert done.returncode == 1
    assert "does not come back" in done.stderr
    assert not list((tmp_path / "bad").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="files that are in use cannot be told by processes there")
def test_what_a_killed_restore_left_is_removed(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "d", 2)
    assert run("pack", "d", "-o", "p.h5").returncode == 0
    back = tmp_path / "back"
    back.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (back / f".nxconvert-{dead.pid}-0.part").write_text("half")
    (back / f".nxconvert-{os.getpid()}-9.part").write_text("of a run that goes on")
    (back / ".other.part").write_text("of another program")
    assert run("restore", "p.h5", "-o", "back").returncode == 0
    left = {".other.part", f".nxconvert-{os.getpid()}-9.part"}
    assert {p.name for p in back.iterdir()} == {"s_0.edf", "s_1.edf"} | left


def test_a_run_that_was_killed_while_it_took_up_another_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nxconvert.format import Report
    from nxconvert.packed import journal, pack, writing
    from nxconvert.packed.verify import verify

    monkeypatch.setattr(writing, "SEGMENT", 3_000)
    scan = tmp_path / "d"
    scan.mkdir()
    for i in range(60):
        edf(scan / f"s_{i}.edf", np.random.default_rng(i).integers(0, 60000, (30, 30), "<u2"))
    out = tmp_path / "p.h5"

    def stop(self: object, *arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(pack._Run, "_complete", stop)
        with pytest.raises(KeyboardInterrupt):
            pack.pack([str(scan)], out, pack.Plan(), Report())
    marks = len(list(journal.read(journal.names(out, 0)[1])))
    copied = writing.Writing._copied
    count = 0

    def few(self: Any, *arguments: Any) -> bool:
        nonlocal count
        count += 1
        if count > 3:
            self.settle()
            raise KeyboardInterrupt
        return copied(self, *arguments)

    with monkeypatch.context() as stopped:
        stopped.setattr(writing.Writing, "_copied", few)
        with pytest.raises(KeyboardInterrupt):
            pack.pack([str(scan)], out, pack.Plan(), Report())
    assert journal.left(out) == [1, 0]
    assert marks > 10
    report = Report()
    pack.pack([str(scan)], out, pack.Plan(), report)
    (told,) = (str(n) for n in report.notices)
    assert int(told.split("going on with ")[1].split()[0]) > 50
    assert verify(out, [scan]).good
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "p.h5"]


FULL = """
import sys
from nxconvert.packed import writing
writing.SEGMENT = 30_000
from nxconvert.cli.boundary import start
from nxconvert.cli.main import app
start(app, "nxconvert")
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mount"), reason="a small disk must be mounted"
)
def test_a_full_disk_is_one_line_and_nothing_half_written(tmp_path: Path) -> None:
    scan, disk = tmp_path / "d", tmp_path / "disk"
    scan.mkdir()
    disk.mkdir()
    for i in range(8):
        edf(scan / f"s_{i}.edf", np.random.default_rng(i).integers(0, 60000, (100, 100), "<u2"))
    (scan / "notes.bin").write_bytes(os.urandom(300_000))

    def nxconvert(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", FULL, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    for size in (4, 60, 1500, 2000):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this machine mounts nothing")
        try:
            done = nxconvert("pack", scan, "-o", disk / "p.h5")
            assert done.returncode == 1, size
            assert done.stderr.count("error:") == 1
            assert len(done.stderr.splitlines()) == 2, done.stderr
            assert f"{disk / 'p.h5'} cannot be" in done.stderr
            assert not (disk / "p.h5").exists()
            subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
            assert nxconvert("pack", scan, "-o", disk / "p.h5").returncode == 0
            assert nxconvert("verify", disk / "p.h5", "--against", scan).returncode == 0
            assert [p.name for p in disk.iterdir()] == ["p.h5"]
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def test_frames_of_several_shapes_stay_together_or_are_told(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "d", 2)
    raw = (scan / "s_1.edf").read_bytes()
    edf(scan / "two.edf", np.zeros((3, 3), "<u2"))
    (scan / "two.edf").write_bytes(raw + (scan / "two.edf").read_bytes())
    comes_back(run, scan)
    done = run("restore", "p.h5", "-o", "out", "--to", "cbf")
    assert done.returncode == 1
    assert "two.edf has frames of 2 shapes or types, and a cbf file holds one" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["s_0.cbf", "s_1.cbf"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_ctrl_c_says_that_the_same_command_goes_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nxconvert.packed import pack, writing

    monkeypatch.setattr(writing, "SEGMENT", 100)
    series(tmp_path / "d", 9)

    def stop(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(pack._Run, "_complete", stop)
        done = run("pack", "d", "-o", "p.h5")
    assert done.returncode == 130
    assert "the same command goes on with it" in done.stderr
    done = run("pack", "d", "-o", "p.h5")
    assert done.returncode == 0
    assert "going on with 9 of 9 files" in done.stderr
    assert run("verify", "p.h5", "--against", "d").returncode == 0


def test_the_report_says_which_file_was_verified(run: Run, packed: Path) -> None:
    import hashlib

    told = json.loads(run("verify", "p.h5", "--json").stdout)
    assert told["good"]
    assert told["sha256"] == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_nothing_is_deleted_when_the_packed_file_changed(
    run: Run, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nxconvert.packed import verify

    verified = verify.verify

    def later(*arguments: Any) -> Any:
        verdict = verified(*arguments)
        packed.write_bytes(packed.read_bytes() + b"x")
        return verdict

    monkeypatch.setattr(verify, "verify", later)
    done = run("verify", "p.h5", "--against", "d", "--delete-verified", "--yes")
    assert done.returncode == 1
    assert "p.h5 was changed since it was verified" in done.stderr
    assert len(list(Path("d").iterdir())) == 4


def test_what_a_format_does_not_hold_is_told_file_by_file(run: Run, tmp_path: Path) -> None:
    import tifffile

    scan = series(tmp_path / "d", 2)
    tifffile.imwrite(scan / "colour.tif", np.zeros((6, 7, 3), "u1"), photometric="rgb")
    tifffile.imwrite(scan / "complex.tif", np.zeros((6, 7), "c8"))
    comes_back(run, scan)
    for to in ("edf", "cbf"):
        done = run("restore", "p.h5", "-o", to, "--to", to)
        assert done.returncode == 1
        assert f"colour.tif has a frame of 6 x 7 x 3 uint8, which no {to} file holds" in done.stderr
        assert f"complex.tif has a frame of 6 x 7 complex64, which no {to} file holds" in done.stderr
        assert sorted(p.name for p in (tmp_path / to).iterdir()) == [f"s_0.{to}", f"s_1.{to}"]
    assert run("restore", "p.h5", "-o", "tiff", "--to", "tiff").returncode == 0


def test_an_output_that_is_a_folder_is_refused(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "d", 2)
    done = run("pack", "d", "-o", "d", "--overwrite")
    assert done.returncode == 2
    assert "d is a folder" in done.stderr
    assert len(list((tmp_path / "d").iterdir())) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


@linux
def test_files_of_any_time_come_back(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "d", 3)
    times = (-(10**18), 0, 10**19)
    for i, when in enumerate(times):
        os.utime(scan / f"s_{i}.edf", ns=(when, when))
    comes_back(run, scan)
    back = [(tmp_path / "back" / f"s_{i}.edf").stat().st_mtime_ns for i in range(3)]
    assert back[:2] == list(times[:2])
    assert back[2] in (2**63 - 1, (scan / "s_2.edf").stat().st_mtime_ns)
