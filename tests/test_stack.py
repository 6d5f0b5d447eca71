"""Stacks: tomography packed as NXtomo, darks, flats and projections behind each other, and split again exactly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters of packed files
import numpy as np
import pytest
import tifffile
from conftest import needs_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nxconvert import mapping
from nxconvert.array import Values
from nxconvert.conversion import Plan, convert, open_records
from nxconvert.engine.transfer import record_to_tree
from nxconvert.errors import UsageError
from nxconvert.format import Report
from nxconvert.formats.hdf5.write import H5Sink
from nxconvert.location import Location
from nxconvert.mapping.imports import Importer
from nxconvert.mapping.load import compile_text
from nxconvert.record import Field, Record

Run = Callable[..., subprocess.CompletedProcess[str]]

SHAPE = (4, 5)
ROLES = ("projection", "flat", "dark", "invalid")

VALIDATORS = os.environ.get("NXCONVERT_NXTOMO_PYTHON", "")
"""A Python that has pynxtools and nxtomo, which are large; or this one, when it has them."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in the test's folder, in this process."""
    from typer.testing import CliRunner

    from nxconvert.cli.main import app

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        return subprocess.CompletedProcess(list(map(str, arguments)), done.exit_code, done.stdout, done.stderr)

    return run


EDF = {"u2": "UnsignedShort", "f4": "FloatValue", "i4": "SignedInteger", "i8": "Signed64"}


def edf(path: Path, frame: np.ndarray, **header: object) -> None:
    """Write a file as ESRF tomography had it."""
    keys = {
        "HeaderID": "EH:000001:000000:000000",
        "ByteOrder": "LowByteFirst",
        "DataType": EDF[frame.dtype.str[1:]],
        "Dim_1": frame.shape[1],
        "Dim_2": frame.shape[0],
        "Size": frame.nbytes,
        **header,
    }
    text = "{\n" + "".join(f"{k} = {v} ;\n" for k, v in keys.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((text.ljust(-(-(len(text) + 2) // 512) * 512 - 2) + "}\n").encode() + frame.tobytes())


def counts(number: int, dtype: str = "u2", shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 60000, shape).astype(dtype)


def motors(angle: float, when: float | None) -> dict[str, object]:
    time = {} if when is None else {"time_of_day": f"{when:.6f}"}
    return {"motor_mne": "srot samz", "motor_pos": f"{angle:.4f} -1.5", **time}


def scan(folder: Path, order: Sequence[str], *, times: bool = True) -> dict[str, list[np.ndarray]]:
    """Write a scan whose frames were taken in an order of roles; return the frames of each role."""
    taken: dict[str, list[np.ndarray]] = {role: [] for role in order}
    names = {"dark": "dark{:04d}.edf", "flat": "refHST{:04d}.edf", "projection": "scan{:04d}.edf"}
    for i, role in enumerate(order):
        frame = counts(i)
        number = len(taken[role])
        angle = number * 10.0 if role == "projection" else 0.0
        edf(folder / names[role].format(number), frame, **motors(angle, 1e9 + i if times else None))
        taken[role].append(frame)
    return taken


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stack(path: Path, entry: str = "entry") -> dict[str, Any]:
    """What an NXtomo file says, read by h5py."""
    with h5py.File(path) as file:
        e = file[entry]
        found = {
            "data": e["instrument/detector/data"][()],
            "image_key": e["instrument/detector/image_key"][()],
            "angle": e["sample/rotation_angle"][()],
        }
        assert e["definition"].asstr()[()] == "NXtomo"
        assert e["sample/rotation_angle"].attrs["units"] == "degree"
        assert len({len(v) for v in found.values()}) == 1
        for name, target in (("data", "instrument/detector/data"), ("rotation_angle", "sample/rotation_angle")):
            assert e["data"][name] == e[target]
        assert e["data"].attrs["signal"] == "data"
        assert (file.attrs["default"], e.attrs["default"]) == (entry, "data")
        return found


def split(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The records that the mapping makes of a file: the columns of each role."""
    report = Report()
    with open_records(Location(str(path)), Plan(mapping="nxtomo"), report) as records:
        found = {r.key["role"]: {f.name: f.values.read() for f in r.columns} for r in records}
    assert not report.failed
    return found


# Packing


def test_a_scan_is_a_stack_in_the_order_of_its_frames_and_is_split_exactly(run: Run, tmp_path: Path) -> None:
    order = ["flat", "flat", "dark", "projection", "projection", "projection", "dark", "flat"]
    taken = scan(tmp_path / "scan", order)
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode == 0, done.stderr
    assert "/entry/flat/data/data  3 x 4 x 5 uint16  refHST{index}.edf" in done.stdout
    found = stack(tmp_path / "scan.h5")
    assert np.array_equal(found["data"], [counts(i) for i in range(len(order))])
    assert found["image_key"].tolist() == [ROLES.index(role) for role in order]
    assert found["angle"].tolist() == [0, 0, 0, 0, 10, 20, 0, 0]
    with h5py.File(tmp_path / "scan.h5") as file:
        assert file["entry/instrument/detector/data"].is_virtual
        assert {s.dset_name for s in file["entry/instrument/detector/data"].virtual_sources()} == {
            f"/entry/{role}/data/data" for role in taken
        }
    records = split(tmp_path / "scan.h5")
    assert list(records) == ["dark", "flat", "projection"]
    for role, frames in taken.items():
        assert records[role]["data"].dtype == np.uint16
        assert np.array_equal(records[role]["data"], frames)
        assert records[role]["stack_row"].tolist() == [i for i, r in enumerate(order) if r == role]
    assert run("verify", "scan.h5", "--against", "scan").returncode == 0
    assert run("restore", "scan.h5", "-o", "back").returncode == 0
    assert contents(tmp_path / "back") == contents(tmp_path / "scan")


def test_what_was_split_into_files_becomes_the_same_stack(run: Run, tmp_path: Path) -> None:
    order = ["flat", "dark", "projection", "projection", "dark", "projection", "flat"]
    scan(tmp_path / "scan", order)
    (tmp_path / "scan" / "scan.info").write_text("Energy= 17.5\nScanRange= 360\n")
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    done = run("convert", "scan.h5", "split/", "--to", "tiff")
    assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in (tmp_path / "split").iterdir())
    assert names == [f"scan_entry_{role}.tif" for role in ("dark", "flat", "projection")]
    done = run("convert", *(f"split/{n}" for n in reversed(names)), "again.h5")
    assert done.returncode == 0, done.stderr
    before, after = stack(tmp_path / "scan.h5"), stack(tmp_path / "again.h5")
    assert all(np.array_equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before)
    done = run("mapping", "test", "nxtomo", "scan.h5")
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(tmp_path / "again.h5") as file:
        assert file["entry/info/ScanRange"][()] == 360
        assert file["entry/title"].asstr()[()] == "scan{index}.edf"
        assert file["entry/flat/title"].asstr()[()] == "refHST{index}.edf"


def test_the_order_of_roles_counts_where_no_time_is_known(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["projection", "flat", "dark", "flat", "projection"], times=False)
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    assert stack(tmp_path / "scan.h5")["image_key"].tolist() == [2, 1, 1, 0, 0]


def test_darks_without_a_time_come_first(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["flat", "projection", "projection", "flat"])
    edf(tmp_path / "scan" / "dark.edf", counts(77))
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    found = stack(tmp_path / "scan.h5")
    assert found["image_key"].tolist() == [2, 1, 0, 0, 1]
    assert np.array_equal(found["data"][0], counts(77))


def test_projections_without_a_time_are_not_put_before_the_flats(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["flat", "flat"])
    for i in range(3):
        edf(tmp_path / "scan" / f"scan{i:04d}.edf", counts(50 + i))
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    assert stack(tmp_path / "scan.h5")["image_key"].tolist() == [1, 1, 0, 0, 0]


def test_series_of_one_role_are_records_of_their_own(run: Run, tmp_path: Path) -> None:
    """Flats as ref0000_0000.edf, ref0001_0000.edf, ref0000_0003.edf: their last number is when they were taken."""
    when = 0
    for at in (0, 3):
        for i in range(2):
            edf(tmp_path / "scan" / f"ref{i:04d}_{at:04d}.edf", counts(when), **motors(0, when))
            when += 1
        for i in range(at, at + 3) if at == 0 else ():
            edf(tmp_path / "scan" / f"scan{i:04d}.edf", counts(when), **motors(i, when))
            when += 1
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode == 0, done.stderr
    found = stack(tmp_path / "scan.h5")
    assert found["image_key"].tolist() == [1, 1, 0, 0, 0, 1, 1]
    assert np.array_equal(found["data"], [counts(i) for i in range(7)])
    records = split(tmp_path / "scan.h5")
    assert sorted(records) == ["flat", "flat_2", "projection"]
    assert [records[r]["stack_row"].tolist() for r in ("flat", "flat_2")] == [[0, 5], [1, 6]]


def test_one_record_is_linked(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["projection"] * 3)
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    with h5py.File(tmp_path / "scan.h5") as file:
        made = file["entry/instrument/detector/data"]
        assert not made.is_virtual
        assert made == file["entry/projection/data/data"]


@pytest.mark.parametrize(
    ("fraction", "dtype"),
    [pytest.param(0.0, "u2", id="whole numbers"), pytest.param(0.5, "f4", id="fractions")],
)
def test_types_that_differ_become_a_view_and_nothing_is_promoted(
    run: Run, tmp_path: Path, fraction: float, dtype: str
) -> None:
    scan(tmp_path / "scan", ["projection", "projection"])
    dark = counts(9, "f4") + np.float32(fraction)
    edf(tmp_path / "scan" / "dark.edf", dark)
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    found = stack(tmp_path / "scan.h5")
    assert found["data"].dtype == np.dtype(dtype)
    assert np.array_equal(found["data"], [dark, counts(0), counts(1)])
    records = split(tmp_path / "scan.h5")
    assert records["dark"]["data"].dtype == np.float32
    assert records["projection"]["data"].dtype == np.uint16
    assert run("verify", "scan.h5", "--against", "scan").returncode == 0


def test_frames_that_no_type_holds_are_refused(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["projection"])
    edf(tmp_path / "scan" / "dark.edf", counts(9, "i8"))
    edf(tmp_path / "scan" / "flat.edf", counts(9, "f4") / np.float32(7))
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode != 0
    assert "frames of float32, int64, uint16 do not all fit float64" in done.stderr
    assert not (tmp_path / "scan.h5").exists()


def test_shapes_that_differ_are_one_error(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["flat", "flat", "projection", "projection"])
    edf(tmp_path / "scan" / "dark.edf", counts(9, shape=(3, 3)))
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "dark.edf and refHST{index}.edf cannot be one stack: frames of 3 x 3 and of 4 x 5" in done.stderr
    assert not (tmp_path / "scan.h5").exists()


def test_a_role_without_a_number_is_an_error(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["projection", "projection"])
    edf(tmp_path / "scan" / "beam.edf", counts(9))
    text = (Path(mapping.__file__).parent / "shipped" / "nxtomo.yaml").read_text("utf-8")
    (tmp_path / "roles.yaml").write_text(text.replace("series: {", "series: {open-beam: [beam*], "))
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "roles.yaml")
    assert done.returncode == 2
    assert "beam.edf: its role is open-beam, which has no number at roles.yaml:" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["roles.yaml", "scan"]


def test_two_scans_are_not_one_stack(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["flat", "projection", "projection"])
    for i in range(2):
        edf(tmp_path / "scan" / f"other{i:04d}.edf", counts(20 + i))
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode == 2
    assert "other{index}.edf and scan{index}.edf would both be the projections of one scan" in done.stderr


def test_a_mapping_that_gives_frames_no_place_is_refused(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["projection", "projection"])
    text = 'nxconvert: 1\nname: x\nrecord: [scan]\nseries: {a: ["*"]}\nunder: "/{scan=e:NXentry}"\nrules:\n'
    (tmp_path / "x.yaml").write_text(text + '  - {tree: "title", field: title, each: record}\n')
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "x.yaml")
    assert done.returncode == 2
    assert "gives the frames of scan{index}.edf no place" in done.stderr


def test_a_mapping_may_put_frames_elsewhere(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    scan(folder, ["projection", "projection"])
    text = 'nxconvert: 1\nname: x\nrecord: [scan]\nseries: {a: ["*"]}\nunder: "/{scan=e:NXentry}"\nrules:\n'
    (tmp_path / "elsewhere.yaml").write_text(
        text + '  - {tree: "detector:NXdetector/{y@signal}", field: "{y}", each: row}\n'
    )
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "elsewhere.yaml").returncode == 0
    with h5py.File(tmp_path / "scan.h5") as file:
        assert np.array_equal(file["entry/detector/data"], [counts(0), counts(1)])
    assert run("verify", "scan.h5", "--against", "scan").returncode == 0
    assert run("restore", "scan.h5", "-o", "back").returncode == 0
    assert contents(tmp_path / "back") == contents(folder)


def test_a_frame_that_is_damaged_is_marked(run: Run, tmp_path: Path) -> None:
    scan(tmp_path / "scan", ["flat", *["projection"] * 4])
    path = tmp_path / "scan" / "scan0002.edf"
    path.write_bytes(path.read_bytes()[:-7])
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo", "--on-problem", "fill")
    assert done.returncode == 0, done.stderr
    found = stack(tmp_path / "scan.h5")
    assert found["image_key"].tolist().count(3) == 1
    invalid = found["image_key"].tolist().index(3)
    assert not found["data"][invalid].any()
    assert "they are marked as invalid" in done.stderr
    assert run("restore", "scan.h5", "-o", "back").returncode == 0
    assert contents(tmp_path / "back") == contents(tmp_path / "scan")


# Angles


def without_angles(folder: Path, numbers: Sequence[int], **info: object) -> None:
    for i in numbers:
        edf(folder / f"scan{i:04d}.edf", counts(i))
    edf(folder / "dark.edf", counts(99))
    if info:
        (folder / "scan.info").write_text("".join(f"{k}= {v}\n" for k, v in info.items()))


@pytest.mark.parametrize(
    ("numbers", "info", "angles"),
    [
        pytest.param(range(4), {}, [0, 45, 90, 135], id="nothing is known"),
        pytest.param(range(4), {"ScanRange": 360}, [0, 90, 180, 270], id="the range"),
        pytest.param([0, 1, 3], {"TOMO_N": 4, "ScanRange": 180}, [0, 45, 135], id="one is missing"),
        pytest.param([0, 1, 2], {"TOMO_N": 4, "ScanRange": 180}, [0, 45, 90], id="the scan was stopped"),
    ],
)
def test_angles_that_no_header_has_are_spaced_evenly(
    run: Run, tmp_path: Path, numbers: Sequence[int], info: dict[str, object], angles: list[float]
) -> None:
    without_angles(tmp_path / "scan", numbers, **info)
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode == 0, done.stderr
    assert stack(tmp_path / "scan.h5")["angle"].tolist() == [0, *angles]
    assert "has no rotation_angle: it is spaced evenly" in done.stderr
    assert "rotation_angle" not in split(tmp_path / "scan.h5")["projection"]  # nobody measured it


def test_frames_behind_the_last_step_are_invalid(run: Run, tmp_path: Path) -> None:
    """ESRF scans end with images at angles that were scanned already; nothing says which."""
    without_angles(tmp_path / "scan", range(6), TOMO_N=4, ScanRange=180)
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    found = stack(tmp_path / "scan.h5")
    assert found["angle"].tolist() == [0, 0, 45, 90, 135, 0, 0]
    assert found["image_key"].tolist() == [2, 0, 0, 0, 0, 3, 3]


def test_an_info_file_that_names_no_number_is_an_error(run: Run, tmp_path: Path) -> None:
    without_angles(tmp_path / "scan", range(3), ScanRange="half a turn")
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode != 0
    assert "info/ScanRange is no number" in done.stderr


# Files of other programs


def nxtomo(path: Path, keys: Sequence[int], dtype: str = "u2", key_dtype: str = "i8", angle: str = "f8") -> None:
    """Write an NXtomo file as other programs do, one dataset for all frames."""
    with h5py.File(path, "w") as file:
        for group, kind in (
            ("tomo", "NXentry"),
            ("tomo/instrument", "NXinstrument"),
            ("tomo/instrument/detector", "NXdetector"),
            ("tomo/sample", "NXsample"),
        ):
            file.require_group(group).attrs["NX_class"] = kind
        e = file["tomo"]
        e["definition"], e["title"], e["sample/name"] = "NXtomo", "a bone", "bone"
        e["instrument/detector/data"] = np.array([counts(i, dtype) for i in range(len(keys))]).reshape(-1, *SHAPE)
        e["instrument/detector/image_key"] = np.array(keys, key_dtype)
        e["sample/rotation_angle"] = np.linspace(0, 3, len(keys)).astype(angle)
        e["sample/rotation_angle"].attrs["units"] = "degree"


def test_a_file_of_another_program_is_split_by_its_image_key(run: Run, tmp_path: Path) -> None:
    keys = [2, 1, 0, 0, 3, 1, 0, 2]
    nxtomo(tmp_path / "t.nx", keys, key_dtype="f8")
    records = split(tmp_path / "t.nx")
    assert list(records) == ["dark", "flat", "projection", "invalid"]
    for role, found in records.items():
        rows = [i for i, k in enumerate(keys) if k == ROLES.index(role)]
        assert found["stack_row"].tolist() == rows
        assert np.array_equal(found["data"], [counts(i) for i in rows])
        assert np.array_equal(found["rotation_angle"], np.linspace(0, 3, 8)[rows])
    done = run("convert", "t.nx", "out/", "--to", "tiff")  # auto takes nxtomo
    assert done.returncode == 0, done.stderr
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "t_tomo_flat.tif"), [counts(1), counts(5)])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=12),
    dtype=st.sampled_from(["u2", "<i4", ">u2", "f4"]),
)
def test_out_and_back_is_exact(tmp_path: Path, keys: list[int], dtype: str) -> None:
    nxtomo(tmp_path / "t.nx", keys, dtype)
    report = Report()
    plan = Plan(mapping="nxtomo", overwrite=True)
    convert([str(tmp_path / "t.nx")], str(tmp_path / "back.h5"), plan, report)
    assert not report.failed
    with h5py.File(tmp_path / "t.nx") as a, h5py.File(tmp_path / "back.h5") as b:
        for path in ("instrument/detector/data", "instrument/detector/image_key", "sample/rotation_angle"):
            mine, other = a["tomo"][path], b["tomo"][path]
            assert mine.dtype == other.dtype
            assert np.array_equal(mine, other)
        assert a["tomo/sample/rotation_angle"].attrs["units"] == b["tomo/sample/rotation_angle"].attrs["units"]
        if 0 in keys:  # what the records share is of the projections
            assert b["tomo/sample/name"].asstr()[()] == "bone"
            assert b["tomo/title"].asstr()[()] == "a bone"


def test_a_number_without_a_name_is_an_error(run: Run, tmp_path: Path) -> None:
    nxtomo(tmp_path / "t.nx", [0, 1, 7])
    done = run("convert", "t.nx", "out/", "--to", "tiff", "--mapping", "nxtomo")
    assert done.returncode != 0
    assert "7 has no name in values:" in done.stderr


def test_a_column_of_another_length_is_an_error(run: Run, tmp_path: Path) -> None:
    nxtomo(tmp_path / "t.nx", [0, 1, 2])
    with h5py.File(tmp_path / "t.nx", "r+") as file:
        del file["tomo/sample/rotation_angle"]
        file["tomo/sample/rotation_angle"] = np.zeros(2)
    done = run("convert", "t.nx", "out/", "--to", "tiff", "--mapping", "nxtomo")
    assert done.returncode != 0
    assert "rotation_angle has the shape (2,), and the stack 3 rows" in done.stderr


def test_check_says_what_the_stack_finds(run: Run, tmp_path: Path) -> None:
    nxtomo(tmp_path / "t.nx", [0, 1, 2])
    done = run("mapping", "check", "nxtomo", "--on", "t.nx", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not told["left"]
    found = {r["tree"]: r for r in told["rules"]}["instrument:NXinstrument/detector:NXdetector/data"]
    assert (found["objects"], found["records"], found["each"]) == (1, 3, "stack")


# Converting files of images


def test_files_get_their_roles_by_their_names(run: Run, tmp_path: Path) -> None:
    frames = {name: np.array([counts(10 * n + i) for i in range(2)]) for n, name in enumerate(("bone", "dark", "ref"))}
    for name, values in frames.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="minisblack")
    done = run("convert", "bone.tif", "dark.tif", "ref.tif", "tomo.h5", "--mapping", "nxtomo")
    assert done.returncode == 0, done.stderr
    found = stack(tmp_path / "tomo.h5")
    assert np.array_equal(found["data"], np.concatenate([frames["dark"], frames["ref"], frames["bone"]]))
    assert found["image_key"].tolist() == [2, 2, 1, 1, 0, 0]
    assert found["angle"].tolist() == [0, 0, 0, 0, 0, 90]


def test_files_that_are_no_stack_are_refused(run: Run, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "dark.tif", counts(0, shape=(3, 4)))
    tifffile.imwrite(tmp_path / "bone.tif", counts(0))
    done = run("convert", "bone.tif", "dark.tif", "tomo.h5", "--mapping", "nxtomo")
    assert done.returncode == 2
    assert "cannot be one stack" in done.stderr
    assert not (tmp_path / "tomo.h5").exists()


def test_a_format_without_views_is_refused(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("nxconvert_zarr")
    for name in ("dark", "bone"):
        tifffile.imwrite(tmp_path / f"{name}.tif", counts(0))
    done = run("convert", "bone.tif", "dark.tif", "tomo.zarr", "--mapping", "nxtomo")
    assert done.returncode == 2
    assert "would be a view of the frames of several records" in done.stderr
    assert not (tmp_path / "tomo.zarr").exists()
    assert run("convert", "bone.tif", "dark.tif", "tomo.h5", "--mapping", "nxtomo").returncode == 0
    assert run("convert", "tomo.h5", "tomo.zarr").returncode == 0
    assert run("convert", "tomo.zarr", "again.h5").returncode == 0
    assert np.array_equal(stack(tmp_path / "again.h5")["data"], [counts(0), counts(0)])


COLUMNS = """\
nxconvert: 1
name: runs
record: [scan, part]
stack: {{over: part, by: [time], order: [before, after]}}
under: "/{{scan=entry:NXentry}}"
rules:
  - {{tree: "part", key: part, each: stack}}
  - {{tree: "current", field: current, each: stack, units: mA{more}}}
  - {{tree: "comment", field: comment, each: record, absent: none was made}}
  - {{tree: "{{part:NXcollection}}/{{column}}", field: "{{column}}", each: row}}
"""


def records_of(tmp_path: Path, *parts: tuple[str, dict[str, Any]], more: str = "") -> Path:
    """Import records by the mapping of columns."""
    importer = Importer(compile_text(COLUMNS.format(more=more), "runs.yaml"), Report())
    sink = H5Sink(tmp_path / "out.h5", Report())
    for part, columns in parts:
        fields = [Field(name, Values(np.array(v)), per_row=True, source=part) for name, v in columns.items()]
        record = Record({"scan": "s1", "part": part}, {f.name: f for f in fields}, source=part)
        made = importer.tree(importer.translated(record))
        record_to_tree(record, made, sink, 1 << 20)
        importer.stack(record, importer.translated(record), made)
    for root in importer.stacked():
        sink.begin(root)
    sink.close()
    return tmp_path / "out.h5"


def test_columns_are_stacked_and_merged_by_time(tmp_path: Path) -> None:
    parts = ("after", {"current": [1.5, 2.5], "time": [1, 4]}), ("before", {"current": [7, 8, 9], "time": [0, 2, 3]})
    with h5py.File(records_of(tmp_path, *parts)) as file:
        assert file["s1/current"][()].tolist() == [7, 1.5, 8, 9, 2.5]
        assert file["s1/current"].attrs["units"] == "mA"
        assert file["s1/part"].asstr()[()].tolist() == ["before", "after", "before", "before", "after"]
        assert file["s1/before/current"].dtype == np.int64  # nothing is promoted where it is its own
        assert file["s1/comment"].asstr()[()] == "none was made"


def test_a_record_that_lacks_a_field_of_the_stack_is_an_error(tmp_path: Path) -> None:
    parts = ("before", {"current": [1.0]}), ("after", {"voltage": [1.0]})
    with pytest.raises(UsageError, match="after has no current") as refused:
        records_of(tmp_path, *parts)
    assert "absent: {after: 0}" in refused.value.tip


@pytest.mark.parametrize(
    ("absent", "values"),
    [
        pytest.param("0", [1.0, 0.0, 0.0, 0.0], id="number"),
        pytest.param("{after: 2.5}", [1.0, 2.5, 2.5, 2.5], id="of a role"),
        pytest.param("{after: {from: 0, to: 10}}", [1.0, 0.0, 5.0, 10.0], id="range of a role"),
        pytest.param("{from: 0, to: 3, endpoint: false}", [1.0, 0.0, 1.0, 2.0], id="range"),
    ],
)
def test_what_stands_for_an_absent_field(tmp_path: Path, absent: str, values: list[float]) -> None:
    parts = ("before", {"current": [1.0]}), ("after", {"voltage": [1.0, 2.0, 3.0]})
    with h5py.File(records_of(tmp_path, *parts, more=f", absent: {absent}")) as file:
        assert file["s1/current"][()].tolist() == values


# Other programs read it


def validators() -> str:
    from importlib.util import find_spec

    if VALIDATORS:
        return VALIDATORS
    if find_spec("nxtomo") is None or find_spec("pynxtools") is None:
        pytest.skip("nxtomo and pynxtools are not installed")
    return sys.executable


ASKED = """
import json, logging, sys
from nxtomo.application.nxtomo import NXtomo
scan = NXtomo().load(sys.argv[1], "entry", detector_data_as="as_numpy_array")
from pynxtools.dataconverter.validate_file import validate
told = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger("pynxtools").handlers = [handler]
validate(sys.argv[1], ignore_undocumented=True)
keys = [k.value for k in scan.instrument.detector.image_key_control]
angles = [float(a.magnitude if hasattr(a, "magnitude") else a) for a in scan.sample.rotation_angle]
data = scan.instrument.detector.data
print(json.dumps({"told": told, "keys": keys, "angles": angles, "sum": int(data.sum()), "shape": list(data.shape)}))
"""


def ask(path: Path) -> dict[str, Any]:
    done = subprocess.run([validators(), "-c", ASKED, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_pynxtools_finds_it_valid_and_nxtomo_opens_it(run: Run, tmp_path: Path) -> None:
    validators()
    order = ["flat", "dark", "projection", "dark", "flat"]
    scan(tmp_path / "scan", order)
    assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 0
    told = ask(tmp_path / "scan.h5")
    assert not told["told"]
    assert told["keys"] == [1, 2, 0, 2, 1]
    assert told["angles"] == stack(tmp_path / "scan.h5")["angle"].tolist()
    assert told["sum"] == sum(int(counts(i).sum()) for i in range(5))


@needs_corpus
def test_a_real_series_with_flats_and_darks_of_another_type(run: Run, tmp_path: Path, corpus: Path) -> None:
    folder = tmp_path / "savu"
    shutil.copytree(corpus / "series" / "tiff_savu_tomo", folder)
    assert run("pack", "savu", "-o", "savu.h5", "--mapping", "nxtomo").returncode == 0
    found = stack(tmp_path / "savu.h5")
    n = len(list((folder / "tiffs").iterdir()))
    assert found["image_key"].tolist() == [2, 1, *[0] * n]
    assert np.allclose(found["angle"][2:], np.arange(n) * 180 / n, rtol=1e-15, atol=0)
    assert found["data"].dtype == np.uint16
    images = [tifffile.imread(p) for p in (folder / "dark_00001.tiff", folder / "flat_00001.tiff")]
    images += [tifffile.imread(p) for p in sorted((folder / "tiffs").iterdir())]
    assert np.array_equal(found["data"], images)
    assert split(tmp_path / "savu.h5")["dark"]["data"].dtype == np.float32
    assert run("verify", "savu.h5", "--against", "savu").returncode == 0
    assert run("restore", "savu.h5", "-o", "back").returncode == 0
    assert contents(tmp_path / "back") == contents(folder)


@needs_corpus
def test_the_real_series_is_valid(run: Run, tmp_path: Path, corpus: Path) -> None:
    validators()
    shutil.copytree(corpus / "series" / "tiff_savu_tomo", tmp_path / "savu")
    assert run("pack", "savu", "-o", "savu.h5", "--mapping", "nxtomo").returncode == 0
    assert not ask(tmp_path / "savu.h5")["told"]


# Gone on with


@pytest.mark.parametrize("moment", ["2 marks", "5 marks", "_complete", "describe", "close"])
def test_a_run_that_was_stopped_is_gone_on_with_and_makes_the_same_stack(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    from nxconvert.packed import pack, seal, writing

    order = ["dark", "flat", *["projection"] * 12, "flat", "dark"]
    scan(tmp_path / "scan", order)
    monkeypatch.setattr(writing, "SEGMENT", 60)
    assert run("pack", "scan", "-o", "whole.h5", "--mapping", "nxtomo").returncode == 0
    (made, marked), last = (
        {"marks": (writing.Writing, "_mark"), "_complete": (pack._Run, "_complete")}.get(
            moment.rsplit(maxsplit=1)[-1], (seal if moment == "close" else pack, moment)
        ),
        int(moment.split(maxsplit=1)[0]) if moment[0].isdigit() else 0,
    )
    real, seen = getattr(made, marked), []

    def stop(*arguments: Any) -> Any:
        seen.append(arguments)
        if len(seen) > last:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as stopped:
        stopped.setattr(made, marked, stop)
        assert run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo").returncode == 130
    assert not (tmp_path / "scan.h5").exists()
    done = run("pack", "scan", "-o", "scan.h5", "--mapping", "nxtomo")
    assert done.returncode == 0, done.stderr
    assert "going on with" in done.stderr
    before, after = stack(tmp_path / "whole.h5"), stack(tmp_path / "scan.h5")
    assert all(np.array_equal(before[k], after[k]) for k in before)
    assert run("verify", "scan.h5", "--against", "scan").returncode == 0
    assert run("restore", "scan.h5", "-o", "back").returncode == 0
    assert contents(tmp_path / "back") == contents(tmp_path / "scan")
