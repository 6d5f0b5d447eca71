"""Packing series of image files: what the packed file says, and that every original comes back byte for byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import needs_corpus

fabio = pytest.importorskip("fabio")
from fabio.edfimage import EdfImage  # noqa: E402

Run = Callable[..., subprocess.CompletedProcess[str]]

COMPRESSIONS = ["bitshuffle-lz4", "gzip", "none", "zstd", "bitshuffle-zstd"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in the test's folder; in this process, since there are many."""
    from typer.testing import CliRunner

    from nxconvert.cli.main import app

    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        return subprocess.CompletedProcess([command], done.exit_code, done.stdout, done.stderr)

    return run


def frame(number: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A frame of counts, with a peak that moves."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: shape[0], : shape[1]]
    peak = 500 * np.exp(-((x - number % shape[1]) ** 2 + (y - 30) ** 2) / 40)
    return rng.poisson(5 + peak).astype(np.uint16)


def series(folder: Path, n: int, name: str = "scan_{:04d}.edf", shape: tuple[int, int] = (60, 80)) -> Path:
    """Write files as an ESRF beamline did, with fabio."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        header = {
            "run": "7",
            "time_of_day": f"{1000 + i / 7:.6f}",
            "motor_mne": "th tth chi",
            "motor_pos": f"{i * 0.1:.4f} {i * 0.2:.4f} 90",
            "counter_mne": "mon det",
            "counter_pos": f"{1000 + i} {i * 7}",
        }
        if i % 2:
            header["note"] = f"frame number {i}"
        EdfImage(data=frame(i, shape), header=header).write(str(folder / name.format(i)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their names."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_files_come_back_with_their_bytes_names_and_times(run: Run, tmp_path: Path, compression: str) -> None:
    scan = series(tmp_path / "scan", 7)
    (scan / "scan.log").write_text("everything went well\n")
    (scan / "empty.txt").touch()
    (scan / "sub").mkdir()
    (scan / "sub" / "ünï.dat").write_bytes(bytes(range(256)) * 9000)
    os.utime(scan / "scan_0003.edf", ns=(10**18 + 1, 10**18 + 1))
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5", "--compression", compression)
    assert done.returncode == 0, done.stderr
    assert "7 x 60 x 80 uint16" in done.stdout
    assert "3 files that are no image, kept whole" in done.stdout
    done = run("nxconvert", "verify", "scan.h5", "--against", "scan")
    assert done.returncode == 0, done.stderr
    done = run("nxconvert", "restore", "scan.h5", "-o", "back")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "back") == contents(scan)
    assert (tmp_path / "back" / "scan_0003.edf").stat().st_mtime_ns == 10**18 + 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "scan", "scan.h5"]


def test_the_packed_file_opens_everywhere(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "scan", 5)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    originals = [fabio.open(str(p)).data for p in sorted(scan.iterdir())]
    opened = fabio.open(str(tmp_path / "scan.h5"))
    assert opened.nframes == 5
    for i in range(5):
        assert np.array_equal(opened.get_frame(i).data, originals[i])
    silx_io = pytest.importorskip("silx.io")
    with silx_io.open(str(tmp_path / "scan.h5")) as file:
        assert np.array_equal(file["/entry/data/data"][3], originals[3])
        from silx.io import nxdata

        plot = nxdata.get_default(file)
        assert plot is not None
        assert plot.signal_name == "data"
    with h5py.File(tmp_path / "scan.h5") as file:
        data = file["/entry/data/data"]
        assert data.chunks == (1, 60, 80)
        assert data.dtype == np.dtype("<u2")


def test_headers_become_values_and_columns(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 6)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    with h5py.File(tmp_path / "scan.h5") as file:
        entry = file["entry"]
        assert entry["header/run"][()] == 7
        assert np.array_equal(entry["header/time_of_day"][()], [float(f"{1000 + i / 7:.6f}") for i in range(6)])
        assert np.allclose(entry["instrument/positioners/th"][()], np.arange(6) * 0.1, rtol=1e-15)
        assert entry["instrument/positioners/chi"][()] == 90
        assert np.array_equal(entry["measurement/det"][()], np.arange(6) * 7)
        assert entry["measurement/det"].dtype == np.int64
        note = entry["header/note"]
        assert list(note.attrs["missing_rows"]) == [0, 2, 4]
        assert [v.decode() for v in note[1::2]] == [f"frame number {i}" for i in (1, 3, 5)]
        assert [v.decode() for v in entry["frames/source_file"][()]] == [f"scan_{i:04d}.edf" for i in range(6)]
        assert entry["data"].attrs["signal"] == "data"
        assert list(entry["data"].attrs["axes"]) == ["frame_number", ".", "."]


def test_roles_have_entries_of_their_own(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "tomo", 6, "tomo{:04d}.edf")
    series(tmp_path / "tomo", 1, "dark.edf")
    series(tmp_path / "tomo", 2, "refHST{:04d}.edf")
    done = run("nxconvert", "pack", "tomo", "-o", "tomo.h5", "--json")
    told = json.loads(done.stdout)
    assert {(r["entry"], r["role"], r["frames"]) for r in told["records"]} == {
        ("entry", "projection", 6),
        ("entry_dark", "dark", 1),
        ("entry_flat", "flat", 2),
    }
    with h5py.File(tmp_path / "tomo.h5") as file:
        assert file.attrs["default"] == "entry"
        assert file["entry_dark/data/data"].shape == (1, 60, 80)


def test_numbers_are_in_natural_order_and_gaps_are_told(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    series(scan, 12, "s_{}.edf")
    (scan / "s_7.edf").unlink()
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5")
    assert done.returncode == 0
    assert "1 of its numbers are not there: 7" in done.stderr
    with h5py.File(tmp_path / "scan.h5") as file:
        assert list(file["entry/data/frame_number"]) == [*range(7), *range(8, 12)]
        assert np.array_equal(file["entry/data/data"][9], frame(10))
    assert run("nxconvert", "pack", "scan", "-o", "b.h5", "--strict").returncode == 1
    done = run("nxconvert", "pack", "scan", "-o", "b.h5", "--expect", 12)
    assert done.returncode == 1
    assert "11 frames are there, 12 were expected" in done.stderr
    assert not (tmp_path / "b.h5").exists()


def test_patterns_choose_files(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 8, "s_{:03d}.edf")
    for pattern in ("scan/s_%03d.edf", "scan/s_{index:03d}.edf"):
        done = run("nxconvert", "pack", pattern, "-o", "p.h5", "--begin", 2, "--end", 4, "--overwrite")
        assert done.returncode == 0, done.stderr
        with h5py.File(tmp_path / "p.h5") as file:
            assert list(file["entry/data/frame_number"]) == [2, 3, 4]
    ends = ("pack", "scan/s_%03d.edf", "-o", "e.h5", "--begin", 6, "--end", 9)
    done = run("nxconvert", *ends)
    assert done.returncode == 0
    assert "scan/s_%03d.edf: 2 of the numbers 6 to 9 are not there: 8, 9" in done.stderr
    done = run("nxconvert", *ends, "--strict", "--overwrite")
    assert done.returncode == 1
    done = run("nxconvert", "pack", "scan/s_00[1-3].edf", "-o", "g.h5")
    assert "3 x 60 x 80" in done.stdout
    done = run("nxconvert", "pack", "scan", "-o", "h.h5", "--begin", 2)
    assert done.returncode == 2
    assert "need a pattern" in done.stderr


def spoil(scan: Path) -> None:
    """Damage files of a series in several ways."""
    (scan / "scan_0001.edf").write_bytes((scan / "scan_0001.edf").read_bytes()[:3000])
    EdfImage(data=frame(2, (10, 10)), header={}).write(str(scan / "scan_0002.edf"))
    (scan / "scan_0003.edf").write_bytes(b"")
    (scan / "scan_04.edf").write_bytes((scan / "scan_0004.edf").read_bytes())


def test_problems_are_all_listed_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "scan", 8)
    spoil(scan)
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5")
    assert done.returncode == 1
    assert "scan_0001.edf: is truncated" in done.stderr
    assert "scan_0002.edf: its frame is 10 x 10 uint16, those of the series are 60 x 80 uint16" in done.stderr
    assert "scan_0003.edf: is empty" in done.stderr
    assert "has the same number as scan_0" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["scan"]


@pytest.mark.parametrize(("on_problem", "rows"), [("skip", [0, 4, 5, 6, 7]), ("fill", [0, 1, 2, 3, 4, 4, 5, 6, 7])])
def test_damaged_files_come_back_too(run: Run, tmp_path: Path, on_problem: str, rows: list[int]) -> None:
    scan = series(tmp_path / "scan", 8)
    spoil(scan)
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5", "--on-problem", on_problem)
    assert done.returncode == 0, done.stderr
    assert run("nxconvert", "verify", "scan.h5", "--against", "scan").returncode == 0
    assert run("nxconvert", "restore", "scan.h5", "-o", "back").returncode == 0
    assert contents(tmp_path / "back") == contents(scan)
    with h5py.File(tmp_path / "scan.h5") as file:
        names = [v.decode() for v in file["entry/frames/source_file"]]
        assert [int(name[5:-4]) for name in names] == rows
        status = file["entry/frames/status"][()]
        for row, (number, name) in enumerate(zip(rows, names, strict=True)):
            good = number in (0, 4, 5, 6, 7) and not status[row]
            assert good == np.array_equal(file["entry/data/data"][row], frame(number)), name
        assert status.sum() == len(rows) - 5


def test_damage_in_a_body_ends_the_run_or_is_marked(run: Run, tmp_path: Path) -> None:
    from fabio.cbfimage import CbfImage  # a CBF states the MD5 of its frame

    scan = tmp_path / "scan"
    scan.mkdir()
    for i in range(4):
        CbfImage(data=frame(i).astype(np.int32)).write(str(scan / f"c_{i:03d}.cbf"))
    raw = bytearray((scan / "c_002.cbf").read_bytes())
    raw[raw.index(b"\x0c\x1a\x04\xd5") + 500] ^= 1
    (scan / "c_002.cbf").write_bytes(raw)
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5")
    assert done.returncode == 1
    assert "c_002.cbf" in done.stderr
    assert "MD5" in done.stderr
    assert not (tmp_path / "scan.h5").exists()
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5", "--on-problem", "fill")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "scan.h5") as file:
        assert list(file["entry/frames/status"]) == [0, 0, 1, 0]
        assert list(file["entry/data/data"].attrs["missing_rows"]) == [2]
    assert run("nxconvert", "verify", "scan.h5", "--against", "scan").returncode == 0


def test_chunks_may_cut_frames(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 3)
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5", "--chunks", "1,32,50")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "scan.h5") as file:
        assert file["entry/data/data"].chunks == (1, 32, 50)
        assert np.array_equal(file["entry/data/data"][2], frame(2))
    assert run("nxconvert", "verify", "scan.h5", "--against", "scan").returncode == 0
    done = run("nxconvert", "pack", "scan", "-o", "b.h5", "--chunks", "2,32,50")
    assert done.returncode == 2
    assert "one by one" in done.stderr


def test_some_files_or_frames_are_restored(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "scan", 8)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    done = run("nxconvert", "restore", "scan.h5", "-o", "some", "--frames", "2:4")
    assert sorted(contents(tmp_path / "some")) == ["scan_0002.edf", "scan_0003.edf"]
    done = run("nxconvert", "restore", "scan.h5", "*5.edf", "-o", "one")
    assert contents(tmp_path / "one") == {"scan_0005.edf": (scan / "scan_0005.edf").read_bytes()}
    done = run("nxconvert", "restore", "scan.h5", "-o", "one")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    done = run("nxconvert", "restore", "scan.h5", "-o", "tiff", "--frames", "5", "--to", "tiff")
    assert done.returncode == 0, done.stderr
    import tifffile

    assert np.array_equal(tifffile.imread(tmp_path / "tiff" / "scan_0005.tif"), frame(5))


def test_compressed_files_are_packed_as_images_and_come_back(run: Run, tmp_path: Path) -> None:
    import bz2
    import gzip

    scan = series(tmp_path / "scan", 4)
    for i, pack in enumerate((gzip.compress, bz2.compress)):
        path = scan / f"scan_{i:04d}.edf"
        (scan / f"scan_{i:04d}.edf.{('gz', 'bz2')[i]}").write_bytes(pack(path.read_bytes()))
        path.unlink()
    (scan / "log.gz").write_bytes(gzip.compress(b"no image"))
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "scan.h5") as file:
        found = [
            file[f"{e}/data/data"][i] for e in file if e.startswith("entry") for i in range(len(file[f"{e}/data/data"]))
        ]
        assert {f.tobytes() for f in found} == {frame(i).tobytes() for i in range(4)}
    assert run("nxconvert", "verify", "scan.h5", "--against", "scan").returncode == 0
    (scan / "scan_0009.edf.gz").write_bytes((scan / "scan_0000.edf.gz").read_bytes()[:-20])
    done = run("nxconvert", "pack", "scan", "-o", "b.h5")
    assert done.returncode == 1
    assert "scan_0009.edf.gz: is truncated" in done.stderr


def test_strips_of_deflate_move_as_they_are(run: Run, tmp_path: Path) -> None:
    import tifffile

    scan = tmp_path / "scan"
    scan.mkdir()
    for i in range(3):
        tifffile.imwrite(scan / f"t_{i}.tif", frame(i), compression="zlib", rowsperstrip=25)
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "scan.h5") as file:
        data = file["entry/data/data"]
        assert data.chunks == (1, 25, 80)
        assert np.array_equal(data[()], [frame(i) for i in range(3)])
        with tifffile.TiffFile(scan / "t_1.tif") as tif:
            page = tif.pages[0]
            raw = (scan / "t_1.tif").read_bytes()
            at, n = page.dataoffsets[1], page.databytecounts[1]
        assert data.id.read_direct_chunk((1, 25, 0))[1] == raw[at : at + n]
        assert "kept" not in file["origin/recipes"][()].tobytes().decode()
    assert run("nxconvert", "verify", "scan.h5", "--against", "scan").returncode == 0


def test_names_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    from nxconvert.errors import OutputError
    from nxconvert.packed.restore import checked

    for name in ("../a", "/etc/passwd", "a/../../b", "a//b", "", "./a", "a\0b"):
        with pytest.raises(OutputError):
            checked(tmp_path, {0: name})
    assert checked(tmp_path, {0: "a/b.edf"}) == {0: tmp_path / "a" / "b.edf"}


def test_a_link_in_the_folder_leads_nowhere(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan" / "sub", 2)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "back").mkdir()
    try:
        (tmp_path / "back" / "sub").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("this system makes no links")
    done = run("nxconvert", "restore", "scan.h5", "-o", "back")
    assert done.returncode == 1
    assert "leads out of" in done.stderr
    assert not list((tmp_path / "elsewhere").iterdir())


def test_originals_go_only_when_all_is_well(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "scan", 4)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    delete = ("verify", "scan.h5", "--against", "scan", "--delete-verified")
    done = run("nxconvert", *delete)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    (scan / "new.txt").write_text("not packed")
    done = run("nxconvert", *delete, "--yes")
    assert done.returncode == 1
    assert "new.txt is in scan, but not in scan.h5" in done.stderr
    assert len(list(scan.iterdir())) == 5
    (scan / "new.txt").unlink()
    raw = bytearray((scan / "scan_0002.edf").read_bytes())
    good = bytes(raw)
    raw[-5] ^= 1
    (scan / "scan_0002.edf").write_bytes(raw)
    done = run("nxconvert", *delete, "--yes")
    assert done.returncode == 1
    assert "scan_0002.edf is another file in scan" in done.stderr
    assert len(list(scan.iterdir())) == 4
    (scan / "scan_0002.edf").write_bytes(good)
    done = run("nxconvert", *delete, "--yes")
    assert done.returncode == 0, done.stderr
    assert "deleted 4 originals" in done.stdout
    assert not list(scan.iterdir())


@pytest.mark.parametrize("compression", ["bitshuffle-lz4", "gzip", "none"])
def test_every_flipped_bit_is_found(run: Run, tmp_path: Path, compression: str) -> None:
    from nxconvert.errors import NxconvertError
    from nxconvert.packed.verify import verify

    series(tmp_path / "scan", 5)
    (tmp_path / "scan" / "scan.log").write_text("a sidecar\n" * 50)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5", "--compression", compression).returncode == 0
    packed = tmp_path / "scan.h5"
    good = packed.read_bytes()
    assert verify(packed).good
    chosen = random.Random(1)
    missed = []
    for _ in range(60):
        at, bit = chosen.randrange(len(good)), chosen.randrange(8)
        raw = bytearray(good)
        raw[at] ^= 1 << bit
        packed.write_bytes(raw)
        try:
            if verify(packed).good:
                missed.append((at, bit))
        except NxconvertError:
            pass
    assert not missed


def test_a_truncated_packed_file_is_found(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 3)
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    good = (tmp_path / "scan.h5").read_bytes()
    for n in (0, 10, len(good) // 2, len(good) - 1):
        (tmp_path / "scan.h5").write_bytes(good[:n])
        done = run("nxconvert", "verify", "scan.h5")
        assert done.returncode == 1, n
        assert "Traceback" not in done.stderr
    (tmp_path / "scan.h5").write_bytes(good + b"more")
    assert run("nxconvert", "verify", "scan.h5").returncode == 1


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what is written safe every few frames."""
    from nxconvert.packed import writing

    monkeypatch.setattr(writing, "SEGMENT", 20_000)


STOPPED = """
import sys
from pathlib import Path
from nxconvert.format import Report
from nxconvert.packed import pack, writing
writing.SEGMENT = 20_000
report = Report()
pack.pack([sys.argv[1]], Path(sys.argv[2]), pack.Plan(), report)
print(report.notices)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    scan = series(tmp_path / "scan", 60)
    (scan / "notes.txt").write_bytes(os.urandom(3_000_000))
    command = [sys.executable, "-c", STOPPED, str(scan), str(tmp_path / "scan.h5")]
    started = time.monotonic()
    subprocess.run(command, check=True)
    whole = time.monotonic() - started
    from nxconvert.packed.verify import verify

    resumed = 0
    for i in range(6):
        (tmp_path / "scan.h5").unlink(missing_ok=True)
        for _ in range(1 + i % 2):
            process = subprocess.Popen(command)
            deadline = time.monotonic() + whole
            while time.monotonic() < deadline and process.poll() is None:
                journal = list(tmp_path.glob(".*.journal"))
                if journal and journal[0].stat().st_size > 1000 * (i + 1):
                    break
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, check=True, capture_output=True, text=True) if not_there(tmp_path) else None
        resumed += done is not None and "going on with" in done.stdout
        assert verify(tmp_path / "scan.h5", [scan]).good
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["scan", "scan.h5"]
    assert resumed


def not_there(folder: Path) -> bool:
    """Tell whether the packed file has not got its name yet."""
    return not (folder / "scan.h5").exists()


def test_what_is_damaged_in_a_dead_runs_work_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: None
) -> None:
    from nxconvert.format import Report
    from nxconvert.packed import journal, pack
    from nxconvert.packed.verify import verify

    scan = series(tmp_path / "scan", 30)
    out = tmp_path / "scan.h5"

    def stop(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(pack._Run, "_complete", stop)
        with pytest.raises(KeyboardInterrupt):
            pack.pack([str(scan)], out, pack.Plan(), Report())
    part, lines = journal.names(out, 0)
    marks = list(journal.read(lines))
    assert len(marks) > 3
    _, _, offset, _, _ = marks[2]["chunks"][0]
    raw = bytearray(part.read_bytes())
    raw[offset + 20] ^= 8
    part.write_bytes(raw)
    report = Report()
    pack.pack([str(scan)], out, pack.Plan(), report)
    assert any(f"going on with {marks[1]['files']} of 30" in str(n) for n in report.notices)
    assert verify(out, [scan]).good
    # another plan does not take it up
    out.unlink()
    with monkeypatch.context() as stopped:
        stopped.setattr(pack._Run, "_complete", stop)
        with pytest.raises(KeyboardInterrupt):
            pack.pack([str(scan)], out, pack.Plan(), Report())
    report = Report()
    pack.pack([str(scan)], out, pack.Plan(compression="gzip"), report)
    assert not report.notices
    assert verify(out, [scan]).good
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan", "scan.h5"]


def test_a_large_file_is_packed_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: None) -> None:
    from nxconvert.format import Report
    from nxconvert.packed import pack
    from nxconvert.packed.verify import verify

    monkeypatch.setattr(pack, "WINDOW", 20_000)
    folder = tmp_path / "scan"
    folder.mkdir()
    image = EdfImage(data=frame(0), header={"a": "1"})
    for i in range(1, 9):
        image.append_frame(data=frame(i), header={"a": str(i)})
    image.write(str(folder / "many.edf"))
    (folder / "movie.bin").write_bytes(os.urandom(4_000_000))
    pack.pack([str(folder)], tmp_path / "scan.h5", pack.Plan(), Report())
    assert verify(tmp_path / "scan.h5", [folder]).good
    with h5py.File(tmp_path / "scan.h5") as file:
        for i in range(9):
            assert np.array_equal(file["entry/data/data"][i], frame(i))


def test_a_scan_is_joined(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 4)
    (tmp_path / "scan.csv").write_text(
        "index,energy,file\n2,7.5,scan_0002.edf\n0,7.1,scan_0000.edf\n3,7.7,scan_0003.edf\n"
    )
    done = run("nxconvert", "pack", "scan", "-o", "a.h5", "--join", "scan.csv", "--on", "index")
    assert done.returncode == 0, done.stderr
    assert "1 of 4 frames have no row" in done.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        energy = file["entry/scan/energy"]
        assert list(energy[[0, 2, 3]]) == [7.1, 7.5, 7.7]
        assert list(energy.attrs["missing_rows"]) == [1]
    done = run("nxconvert", "pack", "scan", "-o", "b.h5", "--join", "scan.csv", "--on", "file")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "b.h5") as file:
        assert list(file["entry/scan/index"][[0, 2, 3]]) == [0, 2, 3]
    done = run("nxconvert", "pack", "scan", "-o", "c.h5", "--join", "scan.csv")
    assert done.returncode == 1
    assert "3 rows, and there are 4 frames" in done.stderr
    assert not (tmp_path / "c.h5").exists()


def test_origin_is_small(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 300, shape=(8, 8))
    assert run("nxconvert", "pack", "scan", "-o", "scan.h5").returncode == 0
    with h5py.File(tmp_path / "scan.h5") as file:
        size = 0

        def add(name: str, node: h5py.HLObject) -> None:
            nonlocal size
            if isinstance(node, h5py.Dataset):
                size += node.id.get_storage_size()

        file["origin"].visititems(add)
    assert size < 400 * 300


@needs_corpus
@pytest.mark.parametrize("part", ["series", "images"])
def test_real_files_come_back(run: Run, tmp_path: Path, corpus: Path, part: str) -> None:
    done = run("nxconvert", "pack", corpus / part, "-o", "c.h5", "--on-problem", "skip", "--json")
    assert done.returncode == 0, done.stderr
    assert run("nxconvert", "restore", "c.h5", "-o", "back", "-q").returncode == 0
    assert contents(tmp_path / "back") == contents(corpus / part)
    with h5py.File(tmp_path / "c.h5") as file:
        origin = file["origin"]
        recipes = json.loads(origin["recipes"][()].tobytes())
        names = origin["names"][()].tobytes().decode().split("\0")[:-1]
        rebuilt = [
            Path(name).suffix.lower()
            for name, recipe in zip(names, origin["recipe"][()], strict=True)
            if any(part[0] in ("piece", "chunk") for part in recipes[recipe])
        ]
    if part == "series":
        assert rebuilt.count(".edf") == 43
        assert rebuilt.count(".cbf") == 2
        assert rebuilt.count(".tif") + rebuilt.count(".tiff") == 101
    else:
        assert rebuilt.count(".edf") == 2
        assert rebuilt.count(".cbf") >= 4
        assert rebuilt.count(".tif") + rebuilt.count(".tiff") >= 20


@pytest.mark.parametrize("how", ["bitshuffle", "gzip", "none", "contiguous", "zstd"])
def test_hdf5_files_are_packed_and_their_chunks_move(run: Run, tmp_path: Path, how: str) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    options: dict[str, object] = {
        "bitshuffle": dict(hdf5plugin.Bitshuffle()),
        "gzip": {"compression": "gzip", "shuffle": True},
        "none": {"chunks": (1, 60, 80)},
        "contiguous": {},
        "zstd": dict(hdf5plugin.Zstd()),
    }[how]
    if how not in ("none", "contiguous"):
        options["chunks"] = (1, 60, 80)
    scan = tmp_path / "scan"
    scan.mkdir()
    for i in range(3):
        with h5py.File(scan / f"data_{i:03d}.h5", "w") as file:
            file.create_dataset("entry/data/data", data=np.stack([frame(2 * i), frame(2 * i + 1)]), **options)
            file["entry/when"] = f"now {i}"
    with h5py.File(scan / "no_image.h5", "w") as file:
        file["x"] = np.arange(5)
    done = run("nxconvert", "pack", "scan", "-o", "scan.h5")
    assert done.returncode == 0, done.stderr
    assert "6 x 60 x 80 uint16" in done.stdout
    assert "1 file that is no image" in done.stdout
    with h5py.File(tmp_path / "scan.h5") as file, h5py.File(scan / "data_001.h5") as member:
        data = file["entry/data/data"]
        assert np.array_equal(data[()], [frame(i) for i in range(6)])
        if how in ("bitshuffle", "gzip"):
            raw = member["entry/data/data"].id.read_direct_chunk((1, 0, 0))[1]
            assert data.id.read_direct_chunk((3, 0, 0))[1] == raw
            assert file["origin/kept"].shape[0] == (scan / "no_image.h5").stat().st_size
    assert run("nxconvert", "verify", "scan.h5", "--against", "scan").returncode == 0


def test_a_folders_name_makes_no_file_a_flat() -> None:
    from nxconvert.series import Layout

    layout = Layout({"dark": ["dark*", "df/*"], "flat": ["ref*", "ob/*"], "projection": ["*"]})
    names = ["refined/img_1.edf", "ref_1.edf", "a/ref_1.edf", "a/df/1.tif", "df/1.tif", "pdf/1.tif", "dark/x.edf"]
    assert [layout.role(n) for n in names] == ["projection", "flat", "flat", "dark", "dark", "projection", "projection"]


def test_a_run_that_was_stopped_twice_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: None
) -> None:
    from nxconvert.format import Report
    from nxconvert.packed import pack
    from nxconvert.packed.verify import verify

    scan = series(tmp_path / "scan", 30)
    out = tmp_path / "scan.h5"

    def stop(self: object) -> None:
        raise KeyboardInterrupt

    for where in ("_complete", "_files", "_files"):  # the later ones have just copied what the first made safe
        with monkeypatch.context() as stopped:
            stopped.setattr(pack._Run, where, stop)
            with pytest.raises(KeyboardInterrupt):
                pack.pack([str(scan)], out, pack.Plan(), Report())
    report = Report()
    pack.pack([str(scan)], out, pack.Plan(), report)
    assert any("going on with" in str(n) for n in report.notices)
    assert verify(out, [scan]).good
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan", "scan.h5"]


def test_what_was_packed_of_several_folders_is_verified_and_deleted_against_all(run: Run, tmp_path: Path) -> None:
    for name in "ab":
        folder = series(tmp_path / name, 2)
        for path in list(folder.iterdir()):
            path.rename(folder / f"{name}_{path.name}")
    assert run("nxconvert", "pack", "a", "b", "-o", "both.h5").returncode == 0
    done = run("nxconvert", "verify", "both.h5", "--against", "a")
    assert done.returncode == 1
    assert "is not in a" in done.stderr
    done = run("nxconvert", "verify", "both.h5", "--against", "a", "--against", "b", "--delete-verified", "--yes")
    assert done.returncode == 0, done.stderr
    assert "all of them as in a and b" in done.stdout
    assert "deleted 4 originals in a and b" in done.stdout
    assert not [*(tmp_path / "a").iterdir(), *(tmp_path / "b").iterdir()]


def test_what_was_never_packed_is_told_in_one_line(run: Run, tmp_path: Path) -> None:
    scan = series(tmp_path / "scan", 2)
    image = next(scan.iterdir())
    assert run("nxconvert", "pack", "scan", "-o", "p.h5").returncode == 0
    (tmp_path / "cut.h5").write_bytes((tmp_path / "p.h5").read_bytes()[:-100])
    for command in (("verify",), ("restore", "-o", "back")):
        for name, said in ((image, "it is no HDF5 file"), ("scan", "is a folder"), ("cut.h5", "is truncated")):
            done = run("nxconvert", *command, name)
            assert done.returncode == 1
            assert said in done.stderr, done.stderr
            assert len(done.stderr.splitlines()) <= 2


def test_only_the_scan_that_is_joined_warns(run: Run, tmp_path: Path) -> None:
    series(tmp_path / "scan", 3)
    scans = "".join(f"#S {n} ascan th 0 1 2 1\n#N 2\n#L th  th\n0 1\n1 2\n2 3\n\n" for n in (1, 2, 3))
    (tmp_path / "x.spec").write_text("#F x.spec\n#E 1000\n\n" + scans)
    done = run("nxconvert", "pack", "scan", "-o", "p.h5", "--join", "x.spec::2.1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("columns of equal names") == 1
    assert "x.spec::2.1" in done.stderr
    done = run("nxconvert", "pack", "scan", "-o", "p.h5", "--join", "x.spec::4.1", "--overwrite")
    assert done.returncode == 1
    assert "has no scan 4.1" in done.stderr
    assert "there are 1.1, 2.1, 3.1" in done.stderr
