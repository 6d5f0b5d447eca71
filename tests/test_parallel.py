"""Records shared out to processes give the same files as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from nxconvert import table
from nxconvert.conversion import Plan, convert, files
from nxconvert.engine import parallel
from nxconvert.errors import InputError


@pytest.fixture
def many(testdata: Path) -> Path:
    path = testdata / "many.h5"
    with h5py.File(testdata / "map.nxs") as f, h5py.File(path, "w") as g:
        for i in range(12):
            f.copy("entry", g, f"e{i}")
            g[f"e{i}/map/fluo"][...] = np.full((5, 7), i)
    return path


def test_shares_give_the_same_files(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = convert([str(many)], f"{tmp_path}/alone/", Plan(to_format="csv"))
    monkeypatch.setattr(files, "LARGE", 0)
    monkeypatch.setattr(files, "processors", lambda: 3 if parallel.processors() > 1 else 1)
    shared = convert([str(many)], f"{tmp_path}/shared/", Plan(to_format="csv"))
    assert [Path(p).name for p in shared.outputs] == [Path(p).name for p in alone.outputs]
    assert len(shared.outputs) == 24
    for path in alone.outputs:
        assert (tmp_path / "shared" / Path(path).name).read_bytes() == Path(path).read_bytes()
    assert shared.notices == alone.notices


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_failure_in_a_share_is_raised_when_all_have_ended() -> None:
    def work(share: int, shares: int) -> int:
        if share == 1:
            raise InputError("damaged", "mend it")
        return share

    with pytest.raises(InputError, match="damaged") as caught:
        parallel.shared(work, 3)
    assert caught.value.tip == "mend it"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_share_that_dies_is_an_error() -> None:
    def work(share: int, shares: int) -> int:
        if share == 1:
            os._exit(9)
        return share

    with pytest.raises(RuntimeError, match="died"):
        parallel.shared(work, 2)


# Pieces made in turn


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    monkeypatch.setattr(parallel, "processors", lambda: 3)


@pytest.mark.usefixtures("three")
def test_pieces_come_in_order_from_several_processes() -> None:
    def work(number: int) -> bytes:
        return b"%d %d " % (number, os.getpid()) * (200_000 if number == 4 else 1)

    pieces = list(parallel.in_turn(work, 11))
    assert [int(p.split()[0]) for p in pieces] == list(range(11))
    assert len({p.split()[1] for p in pieces}) == 3
    assert len(pieces[4].split()) == 400_000


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were forked."""
    pids: list[int] = []
    fork = os.fork

    def noted() -> int:
        pid = fork()
        if pid:
            pids.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", noted)
    return pids


def none_is_left(pids: list[int]) -> bool:
    """Tell whether processes have been waited for."""
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(pids)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("bad", [3, 4, 5])
def test_what_a_piece_raises_is_raised(bad: int, forked: list[int]) -> None:
    def work(number: int) -> bytes:
        if number == bad:
            raise InputError(f"{number} is bad", "leave it out")
        return b"%d" % number

    pieces = parallel.in_turn(work, 9)
    assert [next(pieces) for _ in range(bad)] == [b"%d" % i for i in range(bad)]
    with pytest.raises(InputError, match=f"{bad} is bad") as raised:
        next(pieces)
    assert raised.value.tip == "leave it out"
    assert none_is_left(forked)


@pytest.mark.usefixtures("three")
def test_processes_end_when_their_pieces_are_not_wanted(forked: list[int]) -> None:
    pieces = parallel.in_turn(lambda number: bytes(3 << 20), 50)
    assert len(next(pieces)) == 3 << 20
    pieces.close()
    assert none_is_left(forked)


@pytest.mark.usefixtures("three")
def test_a_process_that_dies_is_an_error() -> None:
    def work(number: int) -> bytes:
        if number == 5:
            os._exit(1)
        return b"x"

    with pytest.raises(RuntimeError, match="died"):
        list(parallel.in_turn(work, 9))


@pytest.mark.usefixtures("three")
def test_a_large_table_is_the_same_from_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    columns = [rng.normal(size=700), rng.integers(0, 99, 700), rng.normal(size=(700, 3)), rng.normal(size=650)]
    columns[0][::50] = np.nan
    style = table.Style()
    alone = b"".join(table.rows(columns, 700, style))
    monkeypatch.setattr(table, "PIECE", 60)
    monkeypatch.setattr(table, "MANY", 0)
    assert b"".join(table.rows(columns, 700, style)) == alone
    assert alone.count(b"\n") == 700


# Pieces of a text that are read in turn

READ = """
import sys
from nxconvert import compiled
from nxconvert.conversion import convert
from nxconvert.engine import parallel
from nxconvert.textfile import layout, sheet
compiled.library = lambda: None  # which threads would use
sheet.PIECE = layout.SMALL = 1 << 12
sheet.MANY = 4
parallel.processors = lambda: int(sys.argv[3])
started = []
usual = parallel._start
parallel._start = lambda body: started.append(1) or usual(body)
report = convert([sys.argv[1]], sys.argv[2])
print(len(started), *(str(error) for _, error in report.failed))
"""


def read_in(processes: int, source: Path, target: Path) -> str:
    command = [sys.executable, "-c", READ, str(source), str(target), str(processes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_large_text_is_the_same_from_several_processes(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    table = np.column_stack([np.arange(3000) / 7, rng.normal(size=3000), rng.normal(size=3000) * 1e300])
    np.savetxt(tmp_path / "t.csv", table, fmt="%.17g", delimiter=",", header="x,a,b", comments="")
    assert read_in(1, tmp_path / "t.csv", tmp_path / "1.h5").strip() == "0"
    assert read_in(3, tmp_path / "t.csv", tmp_path / "3.h5").strip() == "2"
    for name in ("1.h5", "3.h5"):
        with h5py.File(tmp_path / name) as file:
            found: dict[str, np.ndarray] = {}
            file.visititems(
                lambda n, o, found=found: found.update({n.split("/")[-1]: o[()]}) if hasattr(o, "shape") else None
            )
        for i, label in enumerate(("x", "a", "b")):
            assert found[label].tobytes() == table[:, i].tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_bad_cell_is_named_by_whichever_process_reads_it(tmp_path: Path) -> None:
    lines = ["x,a", *(f"{i}.5,{i * 3}.25" for i in range(3000))]
    lines[2001] = "2000.5,huh"
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    for processes in (1, 3):
        assert "t.csv:2002: column 2 (a): 'huh'" in read_in(processes, tmp_path / "t.csv", tmp_path / f"{processes}.h5")
