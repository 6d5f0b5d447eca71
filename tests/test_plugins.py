"""Formats of other distributions, and what the how-tos teach: a format in one file, a layout in one YAML."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
HOW_TO = ROOT / "docs" / "how-to"


def files_of(page: str) -> dict[str, str]:
    """Return the files that a page shows, by the names that it gives them."""
    text = (HOW_TO / page).read_text("utf-8")
    found = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    return dict(found)


def installed(folder: Path, name: str, modules: dict[str, str], entries: dict[str, str]) -> Path:
    """Lay out a distribution as an installer would."""
    for module, text in modules.items():
        (folder / module).write_text(text, "utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = ["[nxconvert.formats]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(folder: Path, *arguments: object, module: str = "nxconvert.cli.main") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300
    )


# Plugins that fail

BROKEN = {
    "raises": (
        "broken_raises.py",
        "raise RuntimeError('no library')\n",
        "broken_raises:FORMAT",
        "RuntimeError: no library",
    ),
    "exits": ("broken_exits.py", "import sys\nsys.exit(3)\n", "broken_exits:FORMAT", "SystemExit: 3"),
    "is-none": ("broken_none.py", "FORMAT = 'zip'\n", "broken_none:FORMAT", "is no Format"),
    "again": (
        "broken_again.py",
        "from nxconvert.format import Format\nFORMAT = Format('csv', 'another', ('.csv',))\n",
        "broken_again:FORMAT",
        "there is a format named 'csv' already",
    ),
    "gone": ("broken_other.py", "", "broken_gone:FORMAT", "ModuleNotFoundError"),
    "nothing": ("broken_nothing.py", "", "broken_nothing:FORMAT", "AttributeError"),
}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    modules = {name: text for name, text, _, _ in BROKEN.values()}
    return installed(tmp_path, "broken", modules, {key: entry for key, (_, _, entry, _) in BROKEN.items()})


def test_plugins_that_fail_are_warnings_with_their_names(broken: Path) -> None:
    done = run(broken, "formats")
    assert done.returncode == 0
    assert re.search(r"^csv\b", done.stdout, re.MULTILINE)
    for name, (_, _, _, reason) in BROKEN.items():
        assert re.search(f"^warning: .*'{name}'.*{re.escape(reason)}", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr


def test_plugins_that_fail_do_not_stop_a_conversion(broken: Path) -> None:
    (broken / "a.csv").write_text("x,y\n1.5,2\n")
    done = run(broken, "convert", "a.csv", "a.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(broken / "a.h5") as file:
        assert "entry" in file


def test_a_format_whose_plugin_failed_is_named_when_it_is_asked_for(broken: Path) -> None:
    (broken / "a.csv").write_text("x,y\n1.5,2\n")
    done = run(broken, "convert", "a.csv", "a.raises", "--to", "raises")
    assert done.returncode == 2
    assert "its plugin failed to load: RuntimeError: no library" in done.stderr


def test_help_loads_no_plugin(tmp_path: Path) -> None:
    touch = "from pathlib import Path\n(Path(__file__).parent / 'loaded').touch()\nFORMAT = None\n"
    installed(tmp_path, "eager", {"eager.py": touch}, {"eager": "eager:FORMAT"})
    assert run(tmp_path, "--help").returncode == 0
    assert not (tmp_path / "loaded").exists()
    run(tmp_path, "formats")
    assert (tmp_path / "loaded").exists()


ARRAY = """
import numpy as np
from nxconvert.format import Format, Holds, RecordSink
from nxconvert.record import Role


class Sink(RecordSink):
    def __init__(self, path, report):
        self.path, self.blocks = path, []

    def begin(self, record):
        self.name = record.role(Role.SIGNAL)[0].name

    def write(self, block):
        self.blocks.append(block.columns[self.name])

    def end(self):
        with self.path.open("wb") as file:
            np.save(file, np.concatenate(self.blocks))

    def close(self):
        pass

    abort = close


FORMAT = Format("array", "one array", (".npy",), create=Sink, holds=Holds(item_rank=30, records=1, header=False))
"""


def test_a_format_of_arrays_of_any_rank_gets_them_as_they_are(tmp_path: Path) -> None:
    installed(tmp_path, "array", {"array_format.py": ARRAY}, {"array": "array_format:FORMAT"})
    scan, plot = ROOT / "testdata" / "scan.h5", ROOT / "testdata" / "map.nxs"
    places = {"2.1/measurement/pilatus": (6, 24, 32), "2.1/measurement/mca": (6, 16), "1.1/measurement/mu": (41,)}
    for number, (place, shape) in enumerate(places.items()):
        done = run(tmp_path, "convert", f"{scan}::/{place}", f"{number}.npy")
        assert done.returncode == 0, done.stderr
        with h5py.File(scan) as file:
            assert np.array_equal(np.load(tmp_path / f"{number}.npy"), file[place][()])
        assert np.load(tmp_path / f"{number}.npy").shape == shape
    done = run(tmp_path, "convert", f"{plot}::/entry/map", "map.npy")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "map.npy").shape == (5, 7)


# Write a format


@pytest.fixture
def tth(tmp_path: Path) -> Path:
    files = files_of("write-a-format.md")
    entry = re.search(r'^tth = "(.*)"', files["pyproject.toml"], re.MULTILINE)
    assert entry is not None
    return installed(
        tmp_path, "nxconvert-tth", {k: v for k, v in files.items() if k.endswith(".py")}, {"tth": entry[1]}
    )


def kit(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(folder, "-q", "-p", "no:cacheprovider", "--rootdir", folder, *arguments, module="pytest")


@pytest.mark.parametrize("name", ["tth", "fxye", "rows"])
def test_the_formats_of_the_how_to_pass_the_kit_as_two_files_in_a_folder(tmp_path: Path, name: str) -> None:
    files = files_of("write-a-format.md")
    for file in (f"nxconvert_{name}.py", f"test_{name}.py"):
        (tmp_path / file).write_text(files[file], "utf-8")
    done = kit(tmp_path, f"test_{name}.py")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout)


def test_the_format_of_the_how_to_passes_the_kit_installed(tth: Path) -> None:
    done = kit(tth, "test_tth.py", "-k", "recognised or claimed or library")
    assert done.returncode == 0, done.stdout
    assert "3 passed, 1 skipped" in done.stdout


def test_a_kit_that_finds_nothing_would_be_noticed(tth: Path) -> None:
    """The same format, writing one digit too few."""
    good = (tth / "nxconvert_tth.py").read_text("utf-8")
    bad = good.replace('separator=b" "', 'separator=b" ", float_format="%.15g"')
    assert bad != good
    (tth / "nxconvert_tth.py").write_text(bad, "utf-8")
    done = kit(tth, "-k", "plain_content", "test_tth.py")
    assert done.returncode == 1
    assert "no loss says so" in done.stdout


def test_the_format_of_the_how_to_converts(tth: Path) -> None:
    (tth / "a.csv").write_text("angle,intensity\n0.1,12.5\n0.30000000000000004,7\n")
    done = run(tth, "convert", "a.csv", "a.tth")
    assert (done.returncode, done.stderr) == (0, "")
    assert np.loadtxt(tth / "a.tth").tolist() == [[0.1, 12.5], [0.30000000000000004, 7]]
    done = run(tth, "convert", "a.tth", "a.h5")
    assert done.returncode == 0, done.stderr
    (tth / "foreign.tth").write_text("# from elsewhere\n1 2 0.5\n3 4 0.5\n")
    done = run(tth, "convert", "foreign.tth", "b.csv")
    assert done.returncode == 0, done.stderr
    assert (tth / "b.csv").read_text().splitlines()[1:] == ["angle,intensity,error", "1.0,2.0,0.5", "3.0,4.0,0.5"]


PATTERN = """NAC /nov12/11bmb_1804
# Calibrated wavelength = 0.413909
BANK  1    3    3 CONS      50.00      0.10 0 0 FXYE
             50        239.933       16.08
           50.1        244.123       16.18
              7        223.722       15.48
"""


@pytest.fixture
def fxye(tmp_path: Path) -> Path:
    modules = {k: v for k, v in files_of("write-a-format.md").items() if k.endswith("fxye.py")}
    (installed(tmp_path, "nxconvert-fxye", modules, {"fxye": "nxconvert_fxye:FORMAT"}) / "nac.fxye").write_text(PATTERN)
    return tmp_path


def test_the_format_with_prescribed_units_passes_the_kit_installed(fxye: Path) -> None:
    done = kit(fxye, "test_fxye.py", "-k", "recognised or claimed or library")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("installation", ["alone", "installed"])
def test_a_kit_that_meets_foreign_files_it_does_not_recognise_says_so(fxye: Path, installation: str) -> None:
    good = (fxye / "nxconvert_fxye.py").read_text("utf-8")
    bad = good.replace(r"\bFXYE?\s*$", r"\bFXYE\s*$")
    assert bad != good
    (fxye / "nxconvert_fxye.py").write_text(bad, "utf-8")
    if installation == "alone":
        shutil.rmtree(fxye / "nxconvert-fxye-1.0.dist-info")
    done = kit(fxye, "test_fxye.py", "-k", "another_library_wrote")
    assert done.returncode == 1
    assert "it does not recognise what another library wrote" in done.stdout


def test_a_count_of_rows_in_a_header_is_right(fxye: Path) -> None:
    (fxye / "a.csv").write_text("angle [deg],counts\n" + "".join(f"{n},{n * n}\n" for n in range(1, 400)))
    done = run(fxye, "convert", "a.csv", "a.fxye", "--roles", "x=angle,signal=counts")
    assert done.returncode == 0, done.stderr
    assert (fxye / "a.fxye").read_text("utf-8").splitlines()[2] == "BANK 1 399 399 CONS 0 0 0 0 FXY"


def test_a_format_of_any_rank_passes_the_kit(tmp_path: Path) -> None:
    files = files_of("write-a-format.md")
    any_rank = files["nxconvert_rows.py"].replace("item_rank=2", "item_rank=30")
    assert any_rank != files["nxconvert_rows.py"]
    (tmp_path / "nxconvert_rows.py").write_text(any_rank, "utf-8")
    (tmp_path / "test_rows.py").write_text(files["test_rows.py"], "utf-8")
    done = kit(tmp_path, "test_rows.py", "-k", "what_was_written or grid")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_binary_format_of_the_how_to_keeps_images_beside_numbers(tmp_path: Path) -> None:
    modules = {"nxconvert_rows.py": files_of("write-a-format.md")["nxconvert_rows.py"]}
    installed(tmp_path, "nxconvert-rows", modules, {"rows": "nxconvert_rows:FORMAT"})
    for step in ((f"{ROOT / 'testdata' / 'scan.h5'}::/2.1", "a.rows"), ("a.rows", "b.h5")):
        done = run(tmp_path, "convert", *step)
        assert done.returncode == 0, done.stderr
    with h5py.File(ROOT / "testdata" / "scan.h5") as first, h5py.File(tmp_path / "b.h5") as second:
        for name in ("pilatus", "mca"):
            a, b = first[f"2.1/measurement/{name}"], second[f"2.1/measurement/{name}"]
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert np.array_equal(a[()], b[()])


def test_the_format_with_prescribed_units_gives_degrees_and_takes_them_back(fxye: Path) -> None:
    for step in (("nac.fxye", "nac.csv"), ("nac.csv", "nac.h5"), ("nac.h5", "back.fxye")):
        done = run(fxye, "convert", *step)
        assert (done.returncode, done.stderr) == (0, "")
    lines = (fxye / "nac.csv").read_text("utf-8").splitlines()
    assert '"units":"deg"' in lines[0]
    assert "wavelength" in lines[0]
    assert lines[1:3] == ["two_theta,intensity,intensity_errors", "0.5,239.933,16.08"]
    assert lines[4].startswith("0.07,")
    assert (fxye / "back.fxye").read_text("utf-8").splitlines()[3:] == [
        "50 239.933 16.08",
        "50.1 244.123 16.18",
        "7 223.722 15.48",
    ]


def test_an_angle_in_other_units_is_refused_by_the_format_that_prescribes_them(fxye: Path) -> None:
    (fxye / "a.csv").write_text("q [1/nm],counts\n1,2\n2,3\n")
    done = run(fxye, "convert", "a.csv", "a.fxye")
    assert done.returncode == 1
    assert "a.csv has no signal against degrees" in done.stderr
    (fxye / "b.csv").write_text("angle,counts\n1,2\n2,3\n")
    done = run(fxye, "convert", "b.csv", "b.fxye")
    assert "angle has no units, and was taken for degrees" in done.stderr
    assert (fxye / "b.fxye").read_text("utf-8").splitlines()[3:] == ["100 2", "200 3"]


def test_the_format_of_the_how_to_works_as_a_file_among_the_others(tmp_path: Path) -> None:
    """As in a checkout, where the file lies in nxconvert/formats."""
    formats = tmp_path / "formats"
    formats.mkdir()
    (formats / "tth.py").write_text(files_of("write-a-format.md")["nxconvert_tth.py"], "utf-8")
    script = "import sys, nxconvert.formats as f; f.__path__.append(sys.argv[1])\nfrom nxconvert import registry\n"
    script += "print(registry.formats()['tth'].title)"
    done = subprocess.run([sys.executable, "-c", script, str(formats)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "TTH diffraction pattern", done.stderr


# Write a mapping


@pytest.fixture
def id33(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (example,) = re.findall(r"```python\n(.*?)```", (HOW_TO / "write-a-mapping.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    return tmp_path


def edited() -> str:
    return files_of("write-a-mapping.md")["id33.yaml"]


def commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)
    return [line.split()[1:] for block in blocks for line in block.splitlines() if line.startswith("nxconvert ")]


def test_the_way_of_the_how_to_to_a_mapping(id33: Path) -> None:
    explain, new, check, test, export, back, compare = commands("write-a-mapping.md")
    assert "the mapping nxdata" in run(id33, *explain).stdout.splitlines()[0]
    assert run(id33, *new).returncode == 0
    text = (HOW_TO / "write-a-mapping.md").read_text("utf-8")
    shown = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    drafted = (id33 / "id33.yaml").read_text("utf-8").splitlines()
    assert [x.partition("  # ")[0] for x in drafted if not x.startswith("#")] == shown.splitlines()
    for mapping in ("", edited()):
        if mapping:
            (id33 / "id33.yaml").write_text(mapping, "utf-8")
        assert "invertible: all that it exports comes back" in run(id33, *check).stdout
        assert run(id33, *test).stdout == "the same: 1 record, 6 fields out and back\n"
    assert run(id33, *export).returncode == 0
    lines = (id33 / "scan.csv").read_text("utf-8").splitlines()
    assert lines[1:] == ["eta,I0", "10.0,12", "10.1,25", "10.2,7"]
    assert '"metadata/DCM_energy":' in lines[0]
    done = run(id33, *back)
    assert done.returncode == 0, done.stderr
    with h5py.File(id33 / "scan.h5") as first, h5py.File(id33 / "back.h5") as second:
        assert same_below(first["S22"], second["S22"]) == 6
    assert run(id33, *compare).stdout.startswith("equal: ")


def test_a_table_of_a_mapping_that_is_not_named_is_told(id33: Path) -> None:
    (id33 / "id33.yaml").write_text(edited(), "utf-8")
    *_, export, back, _ = commands("write-a-mapping.md")
    assert run(id33, *export).returncode == 0
    done = run(id33, *back[: back.index("--mapping")])
    assert done.returncode == 0
    assert "scan.csv was made with the mapping 'id33', which is not known here" in done.stderr
    with h5py.File(id33 / "back.h5") as file:
        assert "S22/data/I0" in file


def same_below(first: h5py.Group, second: h5py.Group) -> int:
    count = 0
    for name, node in first.items():
        if isinstance(node, h5py.Group):
            assert node.attrs["NX_class"] == second[name].attrs["NX_class"]
            count += same_below(node, second[name])
            continue
        assert node.dtype == second[name].dtype
        assert np.array_equal(node[()], second[name][()])
        assert node.attrs.get("units") == second[name].attrs.get("units")
        count += 1
    return count


def test_the_mistake_of_the_how_to_is_told_as_it_shows(id33: Path) -> None:
    (id33 / "id33.yaml").write_text(edited().replace("field: title", "feild: title"), "utf-8")
    done = run(id33, *commands("write-a-mapping.md")[2])
    assert done.returncode == 1
    (shown,) = re.findall(r"```text\n(error:.*?)```", (HOW_TO / "write-a-mapping.md").read_text("utf-8"), re.DOTALL)
    assert done.stderr.strip() == shown.strip()


def test_the_mapping_of_the_how_to_takes_a_real_scan_out_and_back(id33: Path, corpus: Path) -> None:
    (id33 / "id33.yaml").write_text(edited(), "utf-8")
    done = run(id33, "mapping", "test", "id33.yaml", corpus / "nexus" / "aps" / "33id_spec_22_2D.hdf5")
    assert done.returncode == 0, done.stdout


# Options of a plugin

WITH_OPTIONS = """
from nxconvert.format import FileSink, Format, Holds, Option


class Sink(FileSink):
    def __init__(self, path, report, **options):
        super().__init__(path)
        self.options = options

    def begin(self, record):
        self.put(repr(sorted(self.options.items())).encode())

    def write(self, block):
        pass


FORMAT = Format(
    "opt", "optional", (".opt",), create=Sink, holds=Holds(records=1),
    write_options=(
        Option("title", "", "What to call it."),
        Option("style", "plain", "How it looks.", ("plain", "fancy")),
        Option("deep_zoom", False, "Whether to go deep."),
        Option("level", 3, "How far."),
        Option("scale", 1.0, "By what."),
        Option("tiles", (64, 64), "Shape of tiles."),
        Option("chunks", None, "Shape of chunks."),
    ),
)
"""


@pytest.fixture
def optional(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    return installed(tmp_path, "optional", {"optional.py": WITH_OPTIONS}, {"opt": "optional:FORMAT"})


def test_options_of_a_plugin_are_set_on_the_command_line(optional: Path) -> None:
    stated = ["title=a=b", "style=fancy", "deep-zoom=true", "level=7", "scale=0.5", "tiles=32,16"]
    done = run(optional, "convert", "in.csv", "out.opt", *(w for s in stated for w in ("--set", s)), "--chunks", "2,2")
    assert done.returncode == 0, done.stderr
    assert (optional / "out.opt").read_text() == repr(
        [
            ("chunks", (2, 2)),
            ("deep_zoom", True),
            ("level", 7),
            ("scale", 0.5),
            ("style", "fancy"),
            ("tiles", (32, 16)),
            ("title", "a=b"),
        ]
    )


def test_formats_shows_how_the_options_of_one_are_typed(optional: Path) -> None:
    done = run(optional, "formats", "opt")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "opt: optional, written"
    typed = ["title=VALUE", "style=plain|fancy", "deep_zoom=true|false", "level=VALUE"]
    assert {f"--set {t}" for t in typed} | {"--chunks VALUE"} <= set(lines)
    assert "How it looks. [default: plain]" in lines
    assert "--set" not in run(optional, "formats", "csv").stdout


@pytest.mark.parametrize(
    ("stated", "said", "tip"),
    [
        ("styel=fancy", "optional has no option 'styel'", "did you mean 'style'? 'nxconvert formats opt'"),
        ("zz=1", "optional has no option 'zz'", "'nxconvert formats opt' lists its options"),
        ("style=fanzy", "'fanzy' is not one of plain, fancy", "did you mean 'fancy'?"),
        ("level=low", "level=low is no integer", "How far."),
        ("deep_zoom=maybe", "deep_zoom=maybe is no true or false", "Whether to go deep."),
        ("tiles=1x2", "tiles=1x2 is no list of integers", "Shape of tiles."),
        ("chunks=2,2", "chunks has a switch of its own", "write --chunks 2,2"),
        ("level", "'level' is no NAME=VALUE", "'nxconvert formats opt'"),
    ],
)
def test_wrong_settings_are_refused_with_a_tip(optional: Path, stated: str, said: str, tip: str) -> None:
    done = run(optional, "convert", "in.csv", "out.opt", "--set", stated)
    assert done.returncode == 2
    assert said in done.stderr
    assert f"tip: {tip}" in done.stderr
    assert not (optional / "out.opt").exists()


def test_every_option_of_the_formats_that_come_with_us_has_a_switch() -> None:
    from dataclasses import fields

    from nxconvert import registry
    from nxconvert.cli.options import Switches

    ours = [
        f for f in registry.formats().values() if (f.create or f.open or f.sniff).__module__.startswith("nxconvert.")
    ]
    options = {o.name for f in ours for o in (*f.write_options, *f.read_options)}
    assert options
    assert options == {f.name for f in fields(Switches)}
