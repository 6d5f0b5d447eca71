"""Nothing half-written bears an output's name; what goes wrong is one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from nxconvert.conversion import Plan, convert
from nxconvert.engine import publish
from nxconvert.errors import OutputError, UsageError
from nxconvert.formats.csv.write import CsvSink
from nxconvert.location import safe_name


def test_an_existing_output_is_left_as_it_is(testdata: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        convert([f"{testdata}/scan.h5::/1.1"], str(out))
    assert out.read_text() == "precious"
    convert([f"{testdata}/scan.h5::/1.1"], str(out), Plan(overwrite=True))
    assert out.read_text().startswith("# {")


def test_a_failure_while_writing_leaves_nothing(
    testdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(CsvSink, "write", full)
    report = convert([f"{testdata}/scan.h5::/1.1"], str(tmp_path / "out" / "a.csv"))
    assert [str(e) for _, e in report.failed] == ["the disk is full"]
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("moment", ["write", "close"])
def test_an_output_that_fails_has_the_name_that_was_asked_for(
    testdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def full(sink: CsvSink, *_: object) -> None:
        raise OutputError(f"{sink.path} cannot be written: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(CsvSink, moment, full)
    out = tmp_path / "a.csv"
    report = convert([f"{testdata}/scan.h5::/1.1"], str(out))
    ((_, error),) = report.failed
    assert isinstance(error, OutputError)
    assert str(error) == f"{out} cannot be written: {os.strerror(errno.ENOSPC)}"
    assert error.tip == "free some space, or choose another folder"
    assert os.listdir(tmp_path) == ["testdata"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_the_end_of_a_job_leave_nothing(tmp_path: Path, sign: signal.Signals, code: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["big"] = np.random.default_rng(1).random((400_000, 12))
    process = subprocess.Popen(
        [sys.executable, "-m", "nxconvert.cli.main", "convert", "a.h5::/big", "out/big.csv"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    part = tmp_path / "out"
    for _ in range(2000):
        if part.is_dir() and any(p.stat().st_size for p in part.iterdir()):
            break
        time.sleep(0.005)
    process.send_signal(sign)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert os.listdir(part) == []


@pytest.mark.parametrize("name", ["con", "NUL.csv", "lpt1.txt", "a:b", "what?", "ends.", "ends ", "a/b", "a\\b", ""])
def test_names_that_a_system_reserves_are_mended(name: str) -> None:
    safe = safe_name(name)
    assert safe != name
    assert safe == safe_name(safe)


def test_a_name_stays_within_its_folder(testdata: Path, tmp_path: Path) -> None:
    with h5py.File(testdata / "map.nxs") as f, h5py.File(tmp_path / "b.h5", "w") as g:
        f.copy("entry", g, "a b..")
        del g["a b../profile"]
    convert([str(tmp_path / "b.h5")], str(tmp_path / "out") + "/", Plan(to_format="csv", name="../../{entry}{ext}"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".._.._a b.._map.csv"]


def test_an_output_that_cannot_be_flushed_fails_by_itself(
    testdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = publish.sync

    def sync(path: Path) -> None:
        if "_2.1" in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        usual(path)

    monkeypatch.setattr(publish, "sync", sync)
    report = convert([str(testdata / "scan.h5")], f"{tmp_path}/out/", Plan(to_format="csv"))
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == sorted(Path(p).name for p in report.outputs)
    assert names
    assert not [name for name in names if "2.1" in name or name.endswith(".part")]
    assert len(report.failed) == 1
    assert "scan_2.1.csv cannot be written" in str(report.failed[0][1])


def test_more_outputs_than_are_flushed_at_once_are_all_there(tmp_path: Path) -> None:
    done: list[str] = []
    with publish.Publisher() as publisher:
        for i in range(publish.FLUSHES * 2 + 1):
            path = tmp_path / f"{i}.txt"
            publisher.reserve(path, "test")
            publisher.part(path).write_text(str(i))
            publisher.publish_soon(path, lambda path=path: done.append(path.name))
        publisher.finish()
        assert done == [f"{i}.txt" for i in range(publish.FLUSHES * 2 + 1)]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(done)
    assert all((tmp_path / name).read_text() == name.removesuffix(".txt") for name in done)
