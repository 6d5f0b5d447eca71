"""The Python API: what ``import nxconvert`` offers. The examples of its page run in ``test_docs.py``."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import nxconvert
from nxconvert.conversion import Plan

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "python.md"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_import_loads_nothing_else() -> None:
    heavy = ("numpy", "h5py", "pandas", "polars", "typer", "nxconvert.api", "nxconvert.conversion")
    assert run_python(f"import nxconvert, sys; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


def test_names_stay_functions_whatever_is_imported() -> None:
    """A submodule of the same name would take their place."""
    code = (
        "import pkgutil, importlib, nxconvert\n"
        "for m in pkgutil.walk_packages(nxconvert.__path__, 'nxconvert.'):\n"
        "    if 'nxtoascii' not in m.name and 'testing' not in m.name: importlib.import_module(m.name)\n"
        "print([n for n in ('open', 'convert', 'compare', 'formats') if not callable(getattr(nxconvert, n))])\n"
        "print('csv' in nxconvert.formats())"
    )
    assert run_python(code).split() == ["[]", "True"]


def test_every_name_is_there_and_documented() -> None:
    text = PAGE.read_text("utf-8")
    for name in nxconvert.__all__:
        assert getattr(nxconvert, name) is not None
        assert name in dir(nxconvert)
        assert name.startswith("__") or f"`{name}`" in text or f"`nxconvert.{name}`" in text, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nxconvert.nothing  # noqa: B018


def test_keyword_arguments_are_those_of_the_command() -> None:
    """Every option of ``nxconvert convert`` that is not about printing is an argument here, or one of a format."""
    from nxconvert.cli.convert import run
    from nxconvert.registry import formats

    names = {"to": "to_format", "from_": "from_format"}
    command = {names.get(n, n) for n in inspect.signature(run).parameters} - {"places", "json", "quiet", "debug"}
    command.remove("set")  # its NAME=VALUE are arguments of their own
    options = {o.name for f in formats().values() for o in (*f.write_options, *f.read_options)}
    assert command - options <= set(inspect.signature(nxconvert.convert).parameters)
    assert set(Plan.__dataclass_fields__) - {"policy", "matrix", "options"} <= set(
        inspect.signature(nxconvert.convert).parameters
    )


@pytest.mark.parametrize("name", ["open", "convert", "compare", "validate"])
def test_docstrings_name_every_parameter_and_the_errors(name: str) -> None:
    function = getattr(nxconvert, name)
    text = inspect.getdoc(function) or ""
    head, _, errors = text.partition("Raises\n------")
    assert "Returns\n-------" in head
    assert "Error" in errors
    for parameter in inspect.signature(function).parameters:
        assert parameter in head, f"{name}: {parameter}"


def test_a_tree(testdata: Path) -> None:
    with h5py.File(testdata / "scan.h5") as truth, nxconvert.open(testdata / "scan.h5") as file:
        assert isinstance(file, nxconvert.TreeFile)
        assert list(file) == list(truth)
        assert len(file) == 4
        assert dict(file.attrs) == dict(truth.attrs)
        assert "1.1/title" in file
        assert "/1.1/nothing" not in file
        data, wanted = file["2.1/measurement/pilatus"], truth["2.1/measurement/pilatus"]
        assert data.dtype == wanted.dtype
        for key in [(), 2, -1, slice(1, 3), (slice(None), 3), (1, slice(2, 20, 3), -2), ..., (np.int64(1), 2, 3)]:
            assert np.array_equal(data[key], wanted[key]), key
        assert np.array_equal(np.asarray(data), wanted[()])
        with pytest.raises(IndexError):
            data[6]
        with pytest.raises(IndexError):
            data[0, 0, 0, 0]
        with pytest.raises(KeyError):
            file["nothing/here"]


def test_two_readers_of_one_file(testdata: Path) -> None:
    with nxconvert.open(testdata / "scan.h5") as one:
        with nxconvert.open(testdata / "scan.h5") as other:
            assert list(one) == list(other)
        assert one["1.1/measurement/I0"].shape == (41,)


@pytest.mark.parametrize("options", [{}, {"locking": False}, {"libver": "latest"}])
def test_a_file_that_h5py_has_open(testdata: Path, options: dict[str, object]) -> None:
    """HDF5 refuses a second open with other flags in one process."""
    with h5py.File(testdata / "scan.h5", **options) as truth, nxconvert.open(testdata / "scan.h5") as file:
        assert list(file) == list(truth)


def test_text_is_str(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["any"], f["fixed"], f["bad"] = "é", np.array([b"ab", b"c"]), np.bytes_(b"\xe9")
        f["list"] = np.array(["x", "y"], dtype=h5py.string_dtype())
    with nxconvert.open(tmp_path / "a.h5") as file:
        assert file["any"][()] == "é"
        assert file["fixed"][:].tolist() == ["ab", "c"]
        assert file["fixed"][1] == "c"
        assert file["list"][1:].tolist() == ["y"]
        assert file["bad"][()].encode("utf-8", "surrogateescape") == b"\xe9"
        assert np.asarray(file["list"]).tolist() == ["x", "y"]


def test_a_part(testdata: Path) -> None:
    with h5py.File(testdata / "scan.h5") as truth:
        wanted = truth["2.1/measurement/pilatus"][1:3, :5]
    with nxconvert.open(f"{testdata}/scan.h5::/2.1/measurement/pilatus[1:3, 0:5]") as part:
        assert isinstance(part, nxconvert.DatasetFile)
        assert part.shape == (2, 5, 32)
        assert part.attrs["interpretation"] == "image"
        assert np.array_equal(part[...], wanted)
    with pytest.raises(nxconvert.UsageError, match="is no dataset"):
        nxconvert.open(f"{testdata}/scan.h5::/1.1[0:2]")
    with pytest.raises(nxconvert.InputError, match="has nothing at /9"):
        nxconvert.open(f"{testdata}/scan.h5::/9")


def test_links_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f["x"] = 1
    with h5py.File(tmp_path / "sub" / "a.h5", "w") as f:
        f["out"], f["gone"] = h5py.ExternalLink("../x.h5", "/x"), h5py.SoftLink("/nowhere")
    with nxconvert.open(tmp_path / "sub" / "a.h5") as file:
        with pytest.raises(nxconvert.PolicyError):
            file["out"]
        with pytest.raises(nxconvert.InputError):
            file["gone"]
        assert "gone" not in file
        assert file.link("out").filename == "../x.h5"
    with nxconvert.open(tmp_path / "sub" / "a.h5", allow_root=[tmp_path]) as file:
        assert file["out"][()] == 1


def test_records(testdata: Path) -> None:
    with nxconvert.open(testdata / "scan.h5") as file:
        scans = file.records()
        assert [s.name for s in scans] == [s["scan"] for s in scans.keys()] == ["1.1", "1.2", "2.1", "3.1"]  # noqa: SIM118
        assert len(scans) == 4
        assert scans["2.1"].rows == scans[2].rows == scans[-2].rows == 6
        with pytest.raises(KeyError, match="there are"):
            scans["9.9"]
        with pytest.raises(IndexError):
            scans[4]
        scans.close()
        assert file["1.1/title"][()].startswith("ascan")
        assert [r.name for r in file.records("nxdata")]
    with nxconvert.open(f"{testdata}/scan.h5::/1.2") as scan:
        assert [r.name for r in scan.records()] == ["1.2"]


def test_a_record_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(
        '# {"nxconvert":1,"key":{},"columns":{"x":{"dtype":"int64"}},"header":{}}\nx\nno\n'
    )
    with pytest.raises(nxconvert.InputError), nxconvert.open(tmp_path / "bad.csv") as records:
        [r.to_pandas() for r in records]


def test_convert_raises(testdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(testdata)
    with pytest.raises(nxconvert.InputError, match=r"there is no file gone\.h5"):
        nxconvert.convert("gone.h5", "out/", to_format="csv")
    report = nxconvert.Report()
    with pytest.raises(nxconvert.InputError, match="2 inputs failed; the first: there is no file"):
        nxconvert.convert(["gone.h5", "map.nxs", "lost.h5"], "out/", to_format="csv", report=report)
    assert report.outputs
    assert all(Path(o).is_file() for o in report.outputs)
    with pytest.raises(nxconvert.UsageError, match="exists already"):
        nxconvert.convert("map.nxs", "out/", to_format="csv")
    with pytest.raises(nxconvert.InputError, match="columns shorter"):
        nxconvert.convert("scan.h5", "strict/", to_format="csv", scans=["1.2"], strict=True)
    with pytest.raises(nxconvert.UsageError, match="scans is one text"):
        nxconvert.convert("scan.h5", "out2/", to_format="csv", scans="1.1")
    with pytest.raises(nxconvert.UsageError, match="table 'wide'"):
        nxconvert.convert("scan.h5", "out2/", to_format="csv", table="wide")  # type: ignore[arg-type]
    with pytest.raises(nxconvert.UsageError, match="there is no input"):
        nxconvert.convert([], "out2/", to_format="csv")
    with pytest.raises(nxconvert.UsageError, match="--dialekt means nothing"):
        nxconvert.convert("scan.h5", "out2/", to_format="csv", dialekt="excel")
    assert nxconvert.convert("map.nxs", "dry/", to_format="csv", dry_run=True).outputs
    assert not Path("dry").exists()


def test_it_does_what_the_command_does(testdata: Path, run: Callable[..., object], tmp_path: Path) -> None:
    run("nxconvert", "convert", testdata / "scan.h5", "a/", "--to", "csv", "--include", "mca", "--unfinished")
    report = nxconvert.convert(
        testdata / "scan.h5", f"{tmp_path}/b/", to_format="csv", include=["mca"], unfinished=True
    )
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {Path(o).name for o in report.outputs}
    assert len(names) == 5
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_records_in_memory_are_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "n": pd.array([1, None], dtype="Int16"), "who": ["a", "b"]})
    frame.attrs = {"key": {"scan": "7.1"}, "units": {"x": "mm"}, "header": {"title": "mine"}}
    one = nxconvert.Record.from_pandas(frame)
    frame.attrs["key"] = {"scan": "7.2"}
    other = nxconvert.Record.from_pandas(frame)
    nxconvert.convert([one, other], tmp_path / "both.h5")
    with nxconvert.open(tmp_path / "both.h5") as file:
        first, second = list(file.records("records"))
        assert (first.key, second.key) == ({"scan": "7.1"}, {"scan": "7.2"})
        back = first.to_pandas()
        pd.testing.assert_frame_equal(back, frame.astype({"who": object}), check_like=True)
        assert back.attrs["units"] == {"x": "mm"}
        assert back.attrs["header"]["title"] == "mine"
    outputs = nxconvert.convert([one, other], f"{tmp_path}/text/", to_format="csv").outputs
    assert [Path(o).name for o in outputs] == ["records_7.1.csv", "records_7.2.csv"]
    with nxconvert.open(outputs[1]) as records:
        assert nxconvert.compare(records[0], other).equal
    assert nxconvert.convert(one, tmp_path / "one.csv").outputs == [str(tmp_path / "one.csv")]


def test_compare(testdata: Path) -> None:
    with nxconvert.open(testdata / "scan.h5") as file:
        assert nxconvert.compare(file["1.1"], file["1.1"]).equal
        assert nxconvert.compare(file, file).equal
        found = nxconvert.compare(file["1.1"], file["3.1"])
        assert not found.equal
        assert {d.kind for d in found.differences} >= {"missing", "shape", "value"}
        scan = file.records()["1.1"]
        assert nxconvert.compare(scan, nxconvert.Record.from_pandas(scan.to_pandas())).equal
        with pytest.raises(nxconvert.UsageError, match="is not compared with"):
            nxconvert.compare(scan, file["1.1"])  # type: ignore[arg-type]
        with pytest.raises(nxconvert.UsageError, match="tolerance"):
            nxconvert.compare(scan, scan, rtol=-1)
    assert nxconvert.compare(testdata / "map.nxs", testdata / "map.nxs").equal


def test_the_names_are_typed(tmp_path: Path) -> None:
    mypy = pytest.importorskip("mypy.api")
    code = tmp_path / "use.py"
    code.write_text(
        "import nxconvert\n"
        "report: nxconvert.Report = nxconvert.convert(['a.h5'], 'b.csv', scans=['1.1'])\n"
        "with nxconvert.open('a.h5') as file:\n"
        "    if isinstance(file, nxconvert.TreeFile):\n"
        "        for record in file.records():\n"
        "            rows: int | None = record.rows\n"
        "for name, format in nxconvert.formats().items():\n"
        "    title: str = format.title\n"
        "same: bool = nxconvert.compare('a.h5', 'b.csv', rtol=1e-6).equal\n"
        "nxconvert.convert(1, 'b.csv')\n"
    )
    out, _, _ = mypy.run(["--strict", "--no-error-summary", "--follow-imports=silent", str(code)])
    assert [line.partition(" error: ")[0].rpartition("use.py:")[2] for line in out.splitlines()] == ["10:"], out
