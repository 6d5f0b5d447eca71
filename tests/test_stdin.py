"""Standard input as an input: it gives what the file would, and nobody sees where it is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

TESTDATA = Path(__file__).parent.parent / "testdata"
SCAN = f"{TESTDATA / 'scan.h5'}::/1.1"
FRAMES = f"{TESTDATA / 'scan.h5'}::/2.1/measurement/pilatus"


def run(folder: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "nxconvert.cli.main", *words]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("source", "name", "to"),
    [
        (SCAN, "in.h5", "hdf5"),
        (SCAN, "in.csv", "csv"),
        (SCAN, "in.dat", "plain"),
        (SCAN, "in.spec", "spec"),
        (FRAMES, "in.tif", "tiff"),
        (FRAMES, "in.edf", "edf"),
    ],
)
def test_each_format_comes_from_standard_input(tmp_path: Path, source: str, name: str, to: str) -> None:
    assert run(tmp_path, "convert", source, name, "--to", to).returncode == 0
    content = (tmp_path / name).read_bytes()
    assert run(tmp_path, "convert", name, "file.h5").returncode == 0
    done = run(tmp_path, "convert", "-", "stdin.h5", stdin=content)
    assert done.returncode == 0, done.stderr
    assert run(tmp_path, "compare", "file.h5", "stdin.h5").stdout.startswith(b"equal")
    with h5py.File(tmp_path / "stdin.h5") as file:
        last = max(name for name in file if name.startswith("nxconvert"))  # a copy has that of its original too
        assert file[f"{last}/source"].asstr()[()].tolist() == ["standard input"]
    assert b"nxconvert-" not in (tmp_path / "stdin.h5").read_bytes() + done.stderr
    cut = run(tmp_path, "convert", "-", "cut.h5", "--from", to, stdin=content[: len(content) // 3])
    assert b"nxconvert-" not in cut.stderr
    assert not cut.stderr.startswith(b"error") or b"standard input" in cut.stderr


def test_messages_and_outputs_name_standard_input(tmp_path: Path) -> None:
    content = (TESTDATA / "scan.h5").read_bytes()
    done = run(tmp_path, "convert", "-", "out/", "--to", "csv", stdin=content)
    assert b"warning: standard input::/3.1 is unfinished" in done.stderr
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").iterdir())
    assert b"standard input::/1.1" in written
    assert b"nxconvert-" not in written + done.stderr
    assert run(tmp_path, "ls", "-", stdin=content).stdout.startswith(b"standard input: NeXus/HDF5")


def test_empty_and_foreign_standard_input_are_one_line(tmp_path: Path) -> None:
    assert run(tmp_path, "convert", "-", "x.h5").stderr.startswith(b"error: standard input is empty")
    done = run(tmp_path, "convert", "-", "x.h5", stdin=b"\0\1\2")
    assert done.stderr.startswith(b"error: standard input is of no format that is known here")
    assert done.returncode == 1
