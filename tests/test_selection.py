"""Names that select scans and columns: those that are nowhere are told, with the nearest that is somewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from nxconvert.conversion import Plan, convert, files
from nxconvert.engine import parallel
from nxconvert.errors import UsageError
from nxconvert.format import Report

TESTDATA = Path(__file__).parent.parent / "testdata"


@pytest.fixture(params=[False, True], ids=["alone", "shared out"])
def scan(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of four scans, whose records are shared out to processes or not."""
    if request.param:
        monkeypatch.setattr(files, "LARGE", 0)
        monkeypatch.setattr(files, "WORTH_A_PROCESS", 1)
        monkeypatch.setattr(files, "processors", lambda: 3 if parallel.processors() > 1 else 1)
    monkeypatch.chdir(tmp_path)
    shutil.copy(TESTDATA / "scan.h5", "scan.h5")
    return "scan.h5"


def told(source: str, **asked: object) -> tuple[list[str], Report]:
    """Convert to CSV; return the warnings about names, and the report."""
    report = Report()
    convert([source], "out/", Plan(to_format="csv", **asked), report)  # type: ignore[arg-type]
    return [n.message for n in report.notices if "no scan has" in n.message or "has no column" in n.message], report


def test_what_is_there_is_not_told(scan: str) -> None:
    warnings, report = told(scan, scans=("1.1", "loopscan*"), columns=("energy",), include=("mca",), only_columns=True)
    assert warnings == ["scan.h5::/2.1 has no column 'energy'"]
    assert [Path(p).name for p in report.outputs] == ["scan_1.1.csv", "scan_2.1_mca.csv"]


@pytest.mark.parametrize(
    ("asked", "warning"),
    [
        ({"scans": ("1.1", "7.?")}, "no scan has the name or title '7.?'"),
        ({"scans": ("1.1", "2.11")}, "no scan has the name or title '2.11'; did you mean '2.1'?"),
        ({"columns": ("enrgy",)}, "no scan has a column 'enrgy'; did you mean 'energy'?"),
        ({"columns": ("e*",)}, "no scan has a column 'e*'"),
        ({"include": ("pilatsu",)}, "no scan has a field 'pilatsu'; did you mean 'pilatus'?"),
        ({"include": ("nothing*",)}, "no scan has a field 'nothing*'"),
    ],
)
def test_what_is_nowhere_is_told_once(scan: str, asked: dict[str, tuple[str, ...]], warning: str) -> None:
    warnings, report = told(scan, **asked)
    assert warnings == [warning]
    assert report.outputs
    assert not report.failed


@pytest.mark.parametrize(
    ("asked", "tip"),
    [
        ({"scans": ("9.1", "8.1")}, "no scan has the name or title '9.1'; did you mean '3.1'?"),
        ({"scans": ("zz",)}, "no scan has the name or title 'zz'; 'nxconvert ls FILE' shows what there is"),
        ({"columns": ("enrgy",), "only_columns": True}, "no scan has a column 'enrgy'; did you mean 'energy'?"),
    ],
)
def test_nothing_at_all_is_a_failure(scan: str, asked: dict[str, tuple[str, ...]], tip: str) -> None:
    _, report = told(scan, **asked)
    assert not report.outputs
    ((_, error),) = report.failed
    assert str(error) == "scan.h5 holds nothing that csv can hold"
    assert error.tip == tip  # type: ignore[attr-defined]


def test_the_last_scans_of_a_file_are_found_by_name(scan: str) -> None:
    _, report = told(scan, scans=("2.1", "3.1"), unfinished=True)
    assert [Path(p).name for p in report.outputs] == ["scan_2.1.csv", "scan_3.1.csv"]


@pytest.mark.parametrize("asked", [{"scans": ("1.1",)}, {"include": ("mca",)}, {"columns": ("energy",)}])
def test_a_copied_tree_has_no_such_selection(asked: dict[str, tuple[str, ...]], scan: str) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(asked))} "):
        convert([scan], "out.h5", Plan(**asked))  # type: ignore[arg-type]
    assert not Path("out.h5").exists()


def test_scans_are_selected_on_their_way_into_a_tree(scan: str) -> None:
    report = convert([scan], "all.spec", Plan())
    assert report.outputs
    report = convert(["all.spec"], "some.h5", Plan(scans=("1.*", "5.1")))
    assert [n.message for n in report.notices] == ["no scan has the name or title '5.1'; did you mean '2.1'?"]
    with h5py.File("some.h5") as file:
        assert [name for name in file if name != "nxconvert"] == ["1.1", "1.2"]
