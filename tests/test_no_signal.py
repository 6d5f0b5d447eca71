"""An NXdata without a signal keeps what its axes are, on the way to a table and back."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import nxconvert
from nxconvert.record import Role


def nxdata(path: Path, axes: object, **values: np.ndarray) -> str:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        data.attrs["axes"] = axes
        for name, value in values.items():
            data[name] = value
    return str(path)


@pytest.mark.parametrize("axes", ["x", ["x"]])
def test_columns_without_a_signal_keep_their_axis(tmp_path: Path, axes: object) -> None:
    source = nxdata(tmp_path / "a.h5", axes, a=np.arange(4), b=np.arange(4.0), x=np.arange(4.0) / 2)
    nxconvert.convert(source, f"{tmp_path}/a.csv")
    with nxconvert.open(f"{tmp_path}/a.csv") as records:
        roles = {name: f.role for name, f in records[0].fields.items()}
        assert roles == {"x": Role.AXIS, "a": None, "b": None}
    nxconvert.convert(f"{tmp_path}/a.csv", f"{tmp_path}/b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        data = file["entry/data"]
        assert list(data.attrs["axes"]) == ["x"]
        assert "signal" not in data.attrs
        assert list(data["x"]) == [0, 0.5, 1, 1.5]


def test_the_axes_of_a_grid_without_a_signal_are_known(tmp_path: Path) -> None:
    source = nxdata(tmp_path / "a.h5", ["y", "x"], y=np.arange(3.0), x=np.arange(4.0), m=np.ones((3, 4)))
    with nxconvert.open(source) as file, file.records() as records:
        fields = records[0].fields
        assert {name: f.role for name, f in fields.items()} == {"y": Role.AXIS, "x": Role.AXIS, "m": None}
        assert fields["m"].axes == ("y", "x")
        assert fields["y"].per_row
        assert not fields["x"].per_row


@pytest.mark.parametrize("axes", [["gone"], ["m"], ["x", "."], ""])
def test_axes_that_are_not_there_are_no_roles(tmp_path: Path, axes: object) -> None:
    source = nxdata(tmp_path / "a.h5", axes, x=np.arange(3.0), m=np.ones((3, 4)))
    with nxconvert.open(source) as file, file.records() as records:
        assert not any(f.role for f in records[0].fields.values())
