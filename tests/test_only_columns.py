"""``only_columns``: what is not asked for is neither written nor read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import pytest

from nxconvert.conversion import Plan, convert
from nxconvert.formats.hdf5.dataset import H5Dataset


def converted(source: Path, folder: Path, *columns: str, only: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Return the memo and the labels of what scan 1.1 becomes."""
    plan = Plan(to_format="csv", scans=("1.1",), columns=columns, only_columns=only, overwrite=True)
    report = convert([str(source)], f"{folder}/", plan)
    first, labels = Path(report.outputs[0]).read_text("utf-8").splitlines()[:2]
    return json.loads(first.removeprefix("# ")), labels.split(",")


def test_columns_and_what_names_the_scan_stay_the_motors_go(testdata: Path, tmp_path: Path) -> None:
    memo, labels = converted(testdata / "scan.h5", tmp_path, "mu", "I0")
    assert labels == ["mu", "I0"]
    assert set(memo["header"]) == {"title", "start_time", "end_time", "sample"}


def test_a_motor_that_is_named_stays(testdata: Path, tmp_path: Path) -> None:
    memo, labels = converted(testdata / "scan.h5", tmp_path, "mu", "motor/samx")
    assert labels == ["mu"]
    with h5py.File(testdata / "scan.h5") as file:
        assert memo["header"]["motor/samx"]["value"] == file["1.1/instrument/positioners/samx"][()]
    assert "motor/samy" not in memo["header"]


def test_columns_alone_leave_nothing_out(testdata: Path, tmp_path: Path) -> None:
    memo, labels = converted(testdata / "scan.h5", tmp_path, "mu", only=False)
    assert labels[0] == "mu"
    assert set(labels) == {"mu", "energy", "I0", "I1", "epoch", "shots"}
    assert {"motor/bragg", "motor/samx", "motor/samy"} <= set(memo["header"])


def test_columns_are_the_same_with_and_without_the_others(testdata: Path, tmp_path: Path) -> None:
    alone, _ = converted(testdata / "scan.h5", tmp_path / "alone", "mu", "energy")
    among, _ = converted(testdata / "scan.h5", tmp_path / "among", "mu", "energy", only=False)
    assert alone["columns"] == {name: among["columns"][name] for name in ("mu", "energy")}


def test_what_is_left_out_is_not_read(testdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    usual = H5Dataset.read

    def noted(self: H5Dataset, *box: Any) -> Any:
        read.add(self.path)
        return usual(self, *box)

    monkeypatch.setattr(H5Dataset, "read", noted)
    converted(testdata / "scan.h5", tmp_path, "mu")
    assert "/1.1/instrument/mu/data" in read
    assert not [path for path in read if "positioners" in path or "epoch" in path]


def test_a_scan_without_the_column_is_named(testdata: Path, tmp_path: Path) -> None:
    plan = Plan(to_format="csv", columns=("nothing",), only_columns=True)
    report = convert([str(testdata / "scan.h5")], f"{tmp_path}/", plan)
    assert not report.outputs
    assert report.failed[0][1].tip.startswith("no scan has a column 'nothing'")
