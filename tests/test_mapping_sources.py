"""``sources`` of a mapping: columns of another file beside the frames, never from outside of their folder."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from nxconvert.errors import InputError, MappingError
from nxconvert.mapping.load import compile_text, text_of
from nxconvert.packed.api import pack


def mapping_with(sources: str) -> str:
    text = text_of("series").replace("name: series\n", f"name: mine\nsources: {sources}\n")
    assert "sources" in text
    return text


def series(folder: Path, sources: str) -> Path:
    """Write three frames, a scan beside them, and a mapping that joins them."""
    (folder / "data").mkdir()
    for i in range(3):
        tifffile.imwrite(folder / "data" / f"im_{i:04d}.tif", np.full((4, 5), i, np.uint16))
    (folder / "m.yaml").write_text(mapping_with(sources), "utf-8")
    return folder / "data"


def test_columns_of_the_scan_go_beside_the_frames(tmp_path: Path) -> None:
    data = series(tmp_path, '[{file: "scan*.csv", on: row}]')
    (data / "scan1.csv").write_text("angle,I0\n0.5,1\n1.0,2\n1.5,3\n")
    report = pack([str(data)], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert report.failed == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/scan/angle"][()].tolist() == [0.5, 1.0, 1.5]


def test_a_source_that_is_not_there_is_told_and_two_are_refused(tmp_path: Path) -> None:
    data = series(tmp_path, '[{file: "scan*.csv", on: row}]')
    report = pack([str(data)], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert any("scan*.csv" in str(n) for n in report.notices)
    for name in ("scan1.csv", "scan2.csv"):
        (data / name).write_text("angle\n1\n2\n3\n")
    with pytest.raises(InputError, match="2 files match"):
        pack([str(data)], str(tmp_path / "two.h5"), mapping=str(tmp_path / "m.yaml"))
    assert not (tmp_path / "two.h5").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    data = series(tmp_path, '[{file: "scan.csv"}]')
    (tmp_path / "secret.csv").write_text("angle\n1\n2\n3\n")
    (data / "scan.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError, match="leads out of the folder"):
        pack([str(data)], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))


@pytest.mark.parametrize("file", ["../scan.csv", "/etc/passwd", "a/../../b", "~/x", "C:/x", "a//b", r"..\\b", ""])
def test_paths_that_leave_the_folder_are_refused_at_load(file: str) -> None:
    with pytest.raises(MappingError, match=r"m\.yaml:\d+:\d+: sources: .* is not in the folder of the data"):
        compile_text(mapping_with(f'[{{file: "{file}"}}]'), "m.yaml")


def test_unknown_keys_of_a_source_are_told() -> None:
    with pytest.raises(MappingError, match=r"m\.yaml:3:\d+: there is no key 'flie'"):
        compile_text(mapping_with('[{flie: "a"}]'), "m.yaml")
