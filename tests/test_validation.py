"""Validation: what is wrong with a NeXus tree is told, what is right is not; pynxtools is asked in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

import nxconvert
from nxconvert.conversion import Plan, convert
from nxconvert.errors import InputError, UsageError
from nxconvert.validation import requirements, validate

ROOT = Path(__file__).parent.parent


def group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    return made


def plot(path: Path) -> Path:
    """Make a file in which nothing is wrong."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        data = group(entry, "data", "NXdata")
        data.attrs["signal"], data.attrs["axes"] = "I", ["Q"]
        for name in ("Q", "I", "I_errors", "more"):
            data[name] = np.arange(4.0)
            data[name].attrs["units"] = "1/nm"
        data.attrs["auxiliary_signals"] = ["more"]
    return path


def tomo(path: Path) -> Path:
    """Make a file that is an NXtomo."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = group(file, "entry", "NXentry")
        entry.attrs["default"] = "data"
        entry["definition"] = "NXtomo"
        detector = group(group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        detector["data"], detector["image_key"] = np.zeros((3, 4, 5), "u2"), np.array([2, 1, 0])
        sample = group(entry, "sample", "NXsample")
        sample["name"], sample["rotation_angle"] = "a stone", np.arange(3.0)
        sample["rotation_angle"].attrs["units"] = "degree"
        data = group(entry, "data", "NXdata")
        data.attrs["signal"], data.attrs["axes"] = "data", ["rotation_angle", ".", "."]
        data["data"], data["image_key"] = detector["data"], detector["image_key"]
        data["rotation_angle"] = sample["rotation_angle"]
    return path


def told(path: Path) -> list[str]:
    return [str(p) for p in validate(path).problems]


def test_nothing_is_told_where_nothing_is_wrong(tmp_path: Path) -> None:
    found = validate(plot(tmp_path / "a.h5"))
    assert (found.good, found.entries, found.plots, found.problems) == (True, 1, 1, [])
    found = validate(tomo(tmp_path / "t.h5"))
    assert found.definitions == ["NXtomo"]
    assert all(not p.grave and "units" in p.what for p in found.problems)  # frames of counts have none


def replaced(file: h5py.File, path: str, value: object) -> None:
    del file[path]
    file[path] = value


WRONG = {
    "a default that is not there": (lambda f: f.attrs.update(default="x"), "/: its attribute default names 'x'"),
    "a default below that is not there": (lambda f: f["entry"].attrs.update(default="x"), "/entry: its attribute"),
    "no signal": (lambda f: f["entry/data"].__delitem__("I"), "/entry/data: its signal 'I' is not there"),
    "no axis": (lambda f: f["entry/data"].__delitem__("Q"), "/entry/data: its axis 'Q' is not there"),
    "a short axis": (
        lambda f: replaced(f, "entry/data/Q", [1.0, 2.0]),
        "the axis 'Q' of 2 does not fit the signal of 4",
    ),
    "short errors": (lambda f: replaced(f, "entry/data/I_errors", [1.0]), "'I_errors' (errors) of 1 has not the shape"),
    "no auxiliary signal": (lambda f: f["entry/data"].__delitem__("more"), "its auxiliary signal 'more' is not there"),
    "a short auxiliary signal": (lambda f: replaced(f, "entry/data/more", [1.0]), "'more' (auxiliary signal) of 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    with h5py.File(plot(tmp_path / "a.h5"), "a") as file:
        change(file)
    found = validate(tmp_path / "a.h5")
    assert not found.good
    assert message in "\n".join(str(p) for p in found.problems if p.grave)


def test_bin_edges_fit(tmp_path: Path) -> None:
    with h5py.File(plot(tmp_path / "a.h5"), "a") as file:
        replaced(file, "entry/data/Q", np.arange(5.0))
        file["entry/data/Q"].attrs["units"] = "1/nm"
    assert told(tmp_path / "a.h5") == []


def test_what_is_only_worth_knowing_does_not_make_a_file_bad(tmp_path: Path) -> None:
    with h5py.File(plot(tmp_path / "a.h5"), "a") as file:
        del file["entry/data/I"].attrs["units"], file.attrs["default"]
    found = validate(tmp_path / "a.h5")
    assert found.good
    assert [str(p) for p in found.problems] == [
        "/: no attribute default leads on from it to a plot",
        "/entry/data: no units are said of I",
    ]


def test_a_file_without_an_entry_is_no_nexus_file(tmp_path: Path) -> None:
    h5py.File(tmp_path / "a.h5", "w").close()
    assert "/: has no NXentry" in told(tmp_path / "a.h5")


@pytest.mark.parametrize("place", ["a.h5::/entry", "-"])
def test_a_part_of_a_file_is_refused(tmp_path: Path, place: str) -> None:
    plot(tmp_path / "a.h5")
    with pytest.raises(UsageError, match="is no file"):
        validate(str(tmp_path / place) if place != "-" else place)


def test_links_that_lead_nowhere_and_groups_that_hold_themselves(tmp_path: Path) -> None:
    with h5py.File(plot(tmp_path / "a.h5"), "a") as file:
        file["entry/lost"] = h5py.SoftLink("/nowhere")
        file["entry/data/lost"] = h5py.SoftLink("/nowhere")
        group(file["entry"], "process", "NXprocess")["process"] = file["entry"]
    assert validate(tmp_path / "a.h5").good


REQUIRED = {
    "NXtomo": ["instrument/detector/data", "instrument/detector/image_key", "sample/rotation_angle", "sample/name"],
}


@pytest.mark.parametrize("path", REQUIRED["NXtomo"])
def test_what_a_definition_requires_is_missed(tmp_path: Path, path: str) -> None:
    with h5py.File(tomo(tmp_path / "t.h5"), "a") as file:
        del file["entry"][path]
    where, _, name = f"/entry/{path}".rpartition("/")
    assert f"{where}: NXtomo requires {name} in it" in told(tmp_path / "t.h5")


def test_units_that_a_definition_requires_are_missed(tmp_path: Path) -> None:
    with h5py.File(tomo(tmp_path / "t.h5"), "a") as file:
        del file["entry/sample/rotation_angle"].attrs["units"]
    found = validate(tmp_path / "t.h5")
    assert not found.good
    assert "/entry/sample/rotation_angle: NXtomo requires its units" in [str(p) for p in found.problems]


def test_a_group_that_a_definition_requires_may_have_any_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        entry = group(file, "entry", "NXentry")
        entry["definition"] = "NXmx"
        group(entry, "BL01", "NXinstrument")["name"] = "01"
        group(entry, "ring", "NXsource")
    found = told(tmp_path / "m.h5")
    assert "/entry: NXmx requires a group of NXdata in it" in found
    assert "/entry/ring: NXmx requires name in it" in found
    assert found.count("/entry/BL01: NXmx requires a group of NXdetector in it") == 1
    assert not any("requires name in it" in t and "BL01" in t for t in found)


def test_either_of_two_ways_is_enough(tmp_path: Path) -> None:
    def cansas(name: str, *axes: str) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            entry = group(file, "entry", "NXentry")
            entry["definition"], entry["title"], entry["run"] = "NXcanSAS", "t", "1"
            data = group(entry, "data", "NXdata")
            for axis in (*axes, "I"):
                data[axis] = np.ones((2, 2))
                data[axis].attrs["units"] = "1/nm"
        return tmp_path / name

    assert not any("requires" in t for t in told(cansas("1.h5", "Q")) + told(cansas("2.h5", "Qx", "Qy")))
    assert "/entry/data: NXcanSAS requires Q in it" in told(cansas("3.h5", "R"))


def test_the_table_of_definitions_is_well_formed() -> None:
    from nxconvert.mapping.steps import parse

    assert set(requirements()) == {"NXtomo", "NXxas", "NXcanSAS", "NXazint1d", "NXmx"}
    for known in requirements().values():
        flat = [p for wanted in known["required"] for p in ([wanted] if isinstance(wanted, str) else wanted)]
        assert all(parse(p) for p in flat)
        assert set(known["units"]) <= set(flat)


@pytest.mark.skipif(find_spec("pynxtools") is None, reason="pynxtools is not installed")
def test_the_table_of_definitions_is_that_of_nexus(tmp_path: Path) -> None:
    """Remove what the table requires: pynxtools misses it too."""
    assert not any(p.grave for p in validate(tomo(tmp_path / "t.h5"), nxdl=True).problems)
    with h5py.File(tmp_path / "t.h5", "a") as file:
        del file["entry/sample/name"]
    found = validate(tmp_path / "t.h5", nxdl=True)
    assert sum("name" in str(p) for p in found.problems) >= 2


# After an import

TABLE = "Q,I\n1,10\n2,20\n3,30\n"


def test_an_import_of_a_plain_table_has_nothing_to_tell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    assert convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5")).notices == []


MAPPING = """nxconvert: 1
name: half
record: [scan]
under: "/{scan=entry:NXentry}"
rules:
  - {tree: "definition", constant: NXtomo}
  - {tree: "sample:NXsample/rotation_angle", field: Q, each: row}
  - {tree: "data:NXdata/{y@signal}", field: "{y}", each: row}
"""


def test_an_import_that_lacks_what_its_definition_requires_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    (tmp_path / "half.yaml").write_text(MAPPING)
    out = str(tmp_path / "a.h5")
    report = convert(
        [str(tmp_path / "a.csv")], out, Plan(mapping=str(tmp_path / "half.yaml"), options={"roles": "signal=I"})
    )
    notices = [str(n) for n in report.notices]
    assert f"{out}::/entry/sample/rotation_angle: NXtomo requires its units" in notices
    assert f"{out}::/entry/sample: NXtomo requires name in it" in notices
    assert not report.failed
    command = [sys.executable, "-m", "nxconvert.cli.main", "convert", "a.csv", "b.h5", "--mapping", "half.yaml"]
    command += ["--roles", "signal=I"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    strict = subprocess.run([*command, "--strict", "--overwrite"], cwd=tmp_path, capture_output=True, check=False)
    assert strict.returncode == 1


def test_a_copy_of_a_tree_is_not_judged(tmp_path: Path) -> None:
    with h5py.File(plot(tmp_path / "a.h5"), "a") as file:
        del file["entry/data/I"]
    assert convert([str(tmp_path / "a.h5")], str(tmp_path / "b.h5")).notices == []


def test_a_packed_file_is_good(tmp_path: Path) -> None:
    nxconvert.pack(ROOT / "testdata" / "tomo", tmp_path / "t.h5", strict=True)
    found = nxconvert.validate(tmp_path / "t.h5")
    assert found.good
    assert found.plots == found.entries == 3


def test_checks_read_no_values(tmp_path: Path) -> None:
    """A signal of a tebibyte is checked as fast as any other: only its shape is asked for."""
    with h5py.File(plot(tmp_path / "a.h5"), "a") as file:
        del file["entry/data/I"], file["entry/data"].attrs["axes"]
        file["entry/data"].create_dataset("I", (1 << 20, 1 << 10, 1 << 7), "f8", chunks=(1, 1 << 10, 1 << 7))
        del file["entry/data/I_errors"], file["entry/data"].attrs["auxiliary_signals"]
    assert validate(tmp_path / "a.h5").good


# pynxtools

STAND_IN = """
import logging, os, sys
logger = logging.getLogger("pynxtools")
logger.propagate = False
logger.addHandler(logging.StreamHandler())

def validate(file, ignore_undocumented=False):
    print("printed on the way")
    logging.getLogger("pint.util").warning("of no interest")
    what = os.environ["STAND_IN"]
    if what == "fails":
        raise RuntimeError("Invalid predicate")
    if what == "dies":
        os._exit(3)
    logger.info("The unit has no documentation.")
    if not ignore_undocumented:
        logger.warning("Field x has no documentation.")
    if what == "invalid":
        logger.warning("The required field /entry/y hasn't been supplied.")
        logger.warning("The required field /entry/y hasn't been supplied.")
        logger.error("The type of z conflicts.")
        logging.getLogger("pynxtools.dataconverter.validate_file").warning("Invalid: The entry `entry` in file ...")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put a module in the place of pynxtools that logs as it does."""
    folder = tmp_path / "site" / "pynxtools" / "dataconverter"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "validate_file.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("STAND_IN", "valid")
    return monkeypatch


def test_a_valid_file(tmp_path: Path, stand_in: pytest.MonkeyPatch) -> None:
    assert validate(tomo(tmp_path / "t.h5"), nxdl=True).good


def test_an_invalid_file(tmp_path: Path, stand_in: pytest.MonkeyPatch) -> None:
    stand_in.setenv("STAND_IN", "invalid")
    found = validate(tomo(tmp_path / "t.h5"), nxdl=True)
    assert [str(p) for p in found.problems if p.grave] == [
        "The required field /entry/y hasn't been supplied.",
        "The type of z conflicts.",
    ]


def test_a_file_without_a_definition_is_not_called_valid(tmp_path: Path, stand_in: pytest.MonkeyPatch) -> None:
    found = validate(plot(tmp_path / "a.h5"), nxdl=True)
    assert not found.good
    assert "there is nothing to validate against" in str(found.problems[-1])


@pytest.mark.parametrize(
    ("what", "message"), [("fails", "Invalid predicate"), ("dies", "printed on the way|exit code")]
)
def test_a_failure_of_pynxtools_is_an_error(
    tmp_path: Path, stand_in: pytest.MonkeyPatch, what: str, message: str
) -> None:
    stand_in.setenv("STAND_IN", what)
    with pytest.raises(InputError, match=f"pynxtools failed on .*({message})"):
        validate(tomo(tmp_path / "t.h5"), nxdl=True)


def test_convert_says_whether_its_output_is_valid(tmp_path: Path, stand_in: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    (tmp_path / "named.yaml").write_text(MAPPING.replace("NXtomo", "NXmine"))
    plan = Plan(mapping=str(tmp_path / "named.yaml"), options={"roles": "signal=I"}, validate="nxdl")
    assert not convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"), plan).failed
    stand_in.setenv("STAND_IN", "invalid")
    report = convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), plan)
    ((_, error),) = report.failed
    assert "b.h5 was written, but is not valid: 2 problems" in str(error)
    assert any("The type of z conflicts." in str(n) for n in report.notices)
    assert report.outputs == [str(tmp_path / "b.h5")]
    assert (tmp_path / "b.h5").exists()
    stand_in.setenv("STAND_IN", "fails")
    report = convert([str(tmp_path / "a.csv")], str(tmp_path / "c.h5"), plan)
    assert "pynxtools failed" in str(report.failed[0][1])


def test_what_cannot_be_validated_is_refused_before_any_work(tmp_path: Path, stand_in: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(UsageError, match="--validate nxdl is for NeXus/HDF5"):
        convert([str(tmp_path / "a.csv")], str(tmp_path / "a.txt"), Plan(validate="nxdl", to_format="plain"))
    with pytest.raises(UsageError, match="is no validation"):
        convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"), Plan(validate="dtd"))
    assert not (tmp_path / "a.h5").exists()


def test_pynxtools_that_is_not_there_is_named_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nxconvert.nxdl.find_spec", lambda name: None)
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(UsageError) as caught:
        convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"), Plan(validate="nxdl"))
    assert caught.value.tip == "pip install 'nxconvert[nxdl]'"
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(UsageError, match="not installed"):
        validate(plot(tmp_path / "b.h5"), nxdl=True)


@pytest.mark.skipif(find_spec("pynxtools") is None, reason="pynxtools is not installed")
def test_pynxtools_itself(tmp_path: Path) -> None:
    assert validate(tomo(tmp_path / "t.h5"), nxdl=True).good
    with h5py.File(tmp_path / "t.h5", "a") as file:
        del file["entry/instrument/detector/image_key"]
    assert any("image_key" in p.what for p in validate(tmp_path / "t.h5", nxdl=True).problems if not p.where)


# The command


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nxconvert.cli.main", "validate", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_command(tmp_path: Path) -> None:
    plot(tmp_path / "good.h5")
    with h5py.File(plot(tmp_path / "bad.h5"), "a") as file:
        del file["entry/data/Q"]
    done = run("good.h5", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good.h5: good: 1 entry, 1 NXdata\n", "")
    done = run("bad.h5", "good.h5", "none.h5", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: bad.h5::/entry/data: its axis 'Q' is not there" in done.stderr
    assert "none.h5" in done.stderr
    assert "good.h5: good" in done.stdout
    done = run("bad.h5", "none.h5", "--json", cwd=tmp_path)
    bad, none = json.loads(done.stdout)
    assert (done.returncode, bad["good"], none["good"]) == (1, False, False)
    assert bad["problems"][0]["where"] == "/entry/data"
    assert json.loads(run("good.h5", "--json", cwd=tmp_path).stdout)["entries"] == 1
