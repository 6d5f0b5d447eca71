"""Names of outputs by template: what an empty field takes with it, and names that have no extension."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from nxconvert import registry
from nxconvert.location import Location
from nxconvert.naming import Naming

PLACE = Location("data/ID19_0000.edf")


def name_of(template: str, key: dict[str, str] | None = None, part: str = "") -> str:
    return Naming(Location("out/"), registry.by_name("tiff"), template).path(PLACE, key or {}, part).name


@pytest.mark.parametrize(
    ("template", "name"),
    {
        "{stem}_{entry}{ext}": "ID19_0000.tif",
        "{stem}-{entry}{ext}": "ID19_0000.tif",
        "{entry}_{stem}{ext}": "ID19_0000.tif",
        "{stem}_{entry}_{part}{ext}": "ID19_0000.tif",
        "{entry}-{part}_{stem}{ext}": "ID19_0000.tif",
        "{stem}_{entry}_dark{ext}": "ID19_0000_dark.tif",
        "dark{entry}_{stem}{ext}": "dark_ID19_0000.tif",
        "{stem}__{entry}{ext}": "ID19_0000_.tif",
        "{stem} {entry}{ext}": "ID19_0000 .tif",
        "{{{stem}}}_{entry}{ext}": "{ID19_0000}.tif",
    }.items(),
)
def test_an_empty_field_takes_one_separator_with_it(template: str, name: str) -> None:
    assert name_of(template) == name


def test_a_field_that_is_there_keeps_its_separators() -> None:
    assert name_of("{stem}_{entry}-{part}{ext}", {"scan": "1.1"}, "mca") == "ID19_0000_1.1-mca.tif"
    assert name_of("{stem}_{part}_{entry}{ext}", {"scan": "1.1"}) == "ID19_0000_1.1.tif"
    assert name_of("{stem!r:>12}-{scan:_<4}{ext}", {"scan": "1.1"}) == " 'ID19_0000'-1.1_.tif"


def test_a_separator_that_is_part_of_a_value_stays() -> None:
    place = Location("dark_.edf")
    assert Naming(Location("out/"), registry.by_name("tiff"), "{stem}{entry}{ext}").path(place, {}).name == "dark_.tif"


def test_a_file_without_scans_gets_no_lonely_separator(run: Callable[..., Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ID19_0000.tif", np.zeros((4, 5), np.uint16))
    done = run(
        "nxconvert",
        "convert",
        tmp_path / "ID19_0000.tif",
        f"{tmp_path}/out/",
        "--to",
        "edf",
        "--name",
        "{stem}_{entry}{ext}",
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["ID19_0000.edf"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["x"] = [1.5, 2.5]
    return tmp_path / "scan.h5"


WARNING = "warning: --name 'a' gives names without an extension; write --name 'a{ext}'\n"


def test_a_name_without_an_extension_is_a_warning(run: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    done = run("nxconvert", "convert", f"{scan}::/x", f"{tmp_path}/out/", "--to", "csv", "--name", "a")
    assert (done.returncode, done.stderr) == (0, WARNING)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]  # as it was asked for
    done = run("nxconvert", "convert", f"{scan}::/x", f"{tmp_path}/more/", "--to", "csv", "--name", "a", "--strict")
    assert done.returncode != 0


@pytest.mark.parametrize("template", ["a{ext}", "a.txt", "{ext}"])
def test_a_name_with_an_extension_is_none(run: Callable[..., Any], scan: Path, tmp_path: Path, template: str) -> None:
    done = run("nxconvert", "convert", f"{scan}::/x", f"{tmp_path}/out/", "--to", "csv", "--name", template)
    assert (done.returncode, done.stderr) == (0, "")


def test_outputs_that_have_no_extension_need_none(run: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    done = run("nxconvert", "convert", f"{scan}::/x", "-", "--to", "csv", "--name", "a")
    assert (done.returncode, done.stderr) == (0, "")
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((2, 4, 5), np.uint16))
    done = run(
        "nxconvert",
        "convert",
        tmp_path / "s.tif",
        f"{tmp_path}/t/",
        "--to",
        "tiff",
        "--profile",
        "sequence",
        "--name",
        "a",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "t" / "a").is_dir()
