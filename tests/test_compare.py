"""``nxconvert compare``: equal or not, and where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import needs_corpus
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from nxconvert.array import Lazy, Values
from nxconvert.comparison import Tolerance, compare, record_differences, tree_differences
from nxconvert.comparison.values import unequal
from nxconvert.errors import InputError
from nxconvert.record import Field, Record, by_name
from nxconvert.testing import plain_tree
from nxconvert.tree import Group, NewDataset, NewGroup

Run = Callable[..., Any]


def found(a: object, b: object, **tolerance: float) -> list[str]:
    return [str(d) for d in compare(str(a), str(b), None, Tolerance(**tolerance)).differences]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., list[str]]:
    """Write two files, the second changed, and compare them."""

    def compared(make: Callable[[h5py.File], None], change: Callable[[h5py.File], None], **tol: float) -> list[str]:
        for name, steps in (("a.h5", [make]), ("b.h5", [make, change])):
            with h5py.File(tmp_path / name, "w") as f:
                for step in steps:
                    step(f)
        return found(tmp_path / "a.h5", tmp_path / "b.h5", **tol)

    return compared


def content(f: h5py.File) -> None:
    f["g/x"] = np.arange(12.0).reshape(3, 4)
    f["g/n"] = np.arange(5, dtype=np.int32)
    f["g/text"] = "café"
    f["g/fixed"] = np.array([b"ab", b"c"])
    f["g/bits"] = np.array([0.0, np.nan])
    f["g/x"].attrs["units"] = "mm"
    f["g/soft"] = h5py.SoftLink("/g/x")
    f["g/hard"] = f["g/n"]
    f["g/dangling"] = h5py.SoftLink("/nothing")
    f["g/loop"] = h5py.SoftLink("/g")
    f["g/ref"] = f["g/x"].ref


def put(path: str, value: Any) -> Callable[[h5py.File], None]:
    def change(f: h5py.File) -> None:
        parent, _, name = path.rpartition("/")
        if name in set(f[parent or "/"]):
            del f[path]
        f[path] = value

    return change


def test_the_same_is_equal(pair: Run) -> None:
    assert pair(content, lambda f: None) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda f: f["g/x"].__setitem__((1, 2), 6.5),
            "/g/x[1, 2]: 6.0 in A, 6.5 in B (1 of 12 values differ, by up to 0.5)",
        ),
        (lambda f: f["g/bits"].__setitem__(0, -0.0), "/g/bits[0]: 0.0 in A, -0.0 in B (1 of 2 values differ)"),
        (put("g/text", "cafe"), "/g/text: 'café' in A, 'cafe' in B"),
        (put("g/x2", 1), "/g/x2: only in B: a dataset"),
        (lambda f: f.__delitem__("g/fixed"), "/g/fixed: only in A: a dataset"),
        (put("g/fixed", np.array([b"abc", b"c"])), "/g/fixed: type S2 in A, S3 in B"),
        (put("g/bits", np.zeros((1, 2))), "/g/bits: shape 2 in A, 1 x 2 in B"),
        (lambda f: f["g/x"].attrs.__setitem__("units", "um"), "/g/x@units: 'mm' in A, 'um' in B"),
        (lambda f: f["g/x"].attrs.__delitem__("units"), "/g/x@units: only in A: 'mm'"),
        (lambda f: f["g"].attrs.__setitem__("n", np.int16(1)), "/g@n: only in B: 1"),
        (put("g/soft", h5py.SoftLink("/g/n")), "/g/soft: a link to /g/x in A, a link to /g/n in B"),
        (put("g/dangling", 1), "/g/dangling: a link to /nothing in A, an object in B"),
        (put("nothing", 1), "/g/dangling: leads to nothing in A, leads to a dataset in B"),
        (put("g/hard", np.arange(5, dtype=np.int32)), "the same object as /g/hard in A, an object of its own in B"),
        (lambda f: f["g/ref"].__setitem__((), f["g/n"].ref), "/g/ref: "),
        (lambda f: (f.__delitem__("g/text"), f.create_group("g/text")), "/g/text: type a dataset in A, a group in B"),
    ],
)
def test_a_difference_is_found_and_named(pair: Run, change: Callable[[h5py.File], None], said: str) -> None:
    assert any(said in line for line in pair(content, change)), pair(content, change)


def test_a_type_is_a_difference_of_its_own(pair: Run) -> None:
    change = put("g/n", np.arange(5, dtype=np.int64))
    lines = pair(content, change)
    assert "/g/n: type int32 in A, int64 in B" in lines
    assert not any(line.startswith("/g/n[") for line in lines)
    values = put("g/n", np.array([0, 1, 2, 3, 5], dtype=np.int64))
    assert any(line.startswith("/g/n[4]: 4 in A, 5 in B") for line in pair(content, values))


def test_text_of_any_kind_compares_as_text(pair: Run) -> None:
    lines = pair(content, put("g/fixed", np.array(["ab", "c"], dtype=h5py.string_dtype())))
    assert lines == ["/g/fixed: type S2 in A, str in B"]


def test_a_tolerance_lets_numbers_differ(pair: Run) -> None:
    def change(f: h5py.File) -> None:
        put("g/x", np.arange(12.0).reshape(3, 4).astype(np.float32) * np.float32(1 + 1e-6))(f)
        f["g/x"].attrs["units"] = "mm"
        f["g/bits"][0] = -0.0
        put("g/ref", f["g/x"].ref)(f)

    assert pair(content, change, rtol=1e-5) == []
    assert any("/g/x" in line for line in pair(content, change, rtol=1e-8))


@given(
    hnp.arrays(np.float64, 4, elements={"allow_nan": True}),
    hnp.arrays(np.float64, 4, elements={"allow_nan": True}),
)
@settings(max_examples=100, deadline=None)
def test_tolerances_are_those_of_the_definition(a: np.ndarray, b: np.ndarray) -> None:
    got = unequal(a, b, Tolerance(1e-3, 1e-6))
    for x, y, differs in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        same = x == y or (np.isnan(x) and np.isnan(y))
        near = np.isfinite([x, y]).all() and abs(x - y) <= 1e-6 + 1e-3 * max(abs(x), abs(y))
        assert differs == (not (same or near))


def test_nan_payloads_are_no_difference() -> None:
    a = np.array([0x7FF8000000000000, 0x7FF8000000000001], np.uint64).view(np.float64)
    assert not unequal(a, a[::-1].copy()).any()


def test_large_integers_are_compared_exactly() -> None:
    a = np.array([2**63 + 1, 2**53 + 1], np.uint64)
    assert unequal(a, a - np.uint64(1)).all()
    assert unequal(a.astype(np.int64), a.astype(np.int64) - 1).all()


@pytest.mark.parametrize("dtype", [np.dtype("V3"), np.dtype([("a", "f4"), ("b", "S2"), ("c", "i4", (2,))])])
def test_opaque_values_and_compounds(dtype: np.dtype[Any]) -> None:
    a, b = np.zeros(3, dtype), np.zeros(3, dtype)
    b.view(np.uint8).reshape(3, -1)[1, -1] = 1
    assert unequal(a, a.copy()).tolist() == [False] * 3
    assert unequal(a, b).tolist() == [False, True, False]


def test_values_are_read_within_the_budget(pair: Run) -> None:
    """A tebibyte is compared in pieces: the reader sees no box that is larger than the budget."""
    sizes: list[int] = []

    def tree(value: float) -> Group:
        def read(box: tuple[slice, ...]) -> np.ndarray:
            shape = tuple(s.stop - s.start for s in box)
            sizes.append(8 * int(np.prod(shape)))
            return np.full(shape, value)

        root = NewGroup("NXroot")
        root.add("x", NewDataset(Lazy((400, 1000), np.dtype(np.float64), read)))
        return root

    lines = [str(d) for d in tree_differences(tree(1.0), tree(2.0), budget=1 << 20)]
    assert lines == ["/x[0, 0]: 1.0 in A, 2.0 in B (400,000 of 400,000 values differ, by up to 1)"]
    assert max(sizes) <= 1 << 18
    assert len(sizes) > 20


def test_a_tree_in_memory_equals_itself() -> None:
    assert list(tree_differences(plain_tree(), plain_tree())) == []
    assert len(list(tree_differences(plain_tree(12), plain_tree(11)))) > 0


def test_hostile_trees_end(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as f:
            group = f
            for _ in range(3000):
                group = group.create_group("g")
            group["deep"] = 1 if name == "a.h5" else 2
            f["root"] = f["/"]
            f["one"], f["two"] = h5py.SoftLink("/two"), h5py.SoftLink("/one")
    (line,) = found(tmp_path / "a.h5", tmp_path / "b.h5")
    assert line.endswith("/g/deep: 1 in A, 2 in B")


def table(**columns: Any) -> Record:
    return Record({"scan": "1"}, by_name([Field(n, Values(v), per_row=True) for n, v in columns.items()]))


def test_a_column_that_ends_early_has_missing_rows() -> None:
    short = table(x=np.arange(5.0), y=np.arange(3.0))
    masked = Field("y", Values(np.array([0.0, 1, 2, 9, 9])), True, mask=Values(np.array([0, 0, 0, 1, 1], bool)))
    whole = short.with_fields([short.fields["x"], masked])
    assert list(record_differences(short, whole)) == []
    longer = table(x=np.arange(5.0), y=np.arange(4.0))
    assert [str(d) for d in record_differences(short, longer)] == ["y[3]: missing in A, a value in B (1 rows)"]


def test_rows_fields_roles_and_blocks() -> None:
    a = table(x=np.arange(5000.0), text=np.array([f"row {i}" for i in range(5000)], dtype=object))
    cells = a.fields["text"].values.read().copy()
    cells[4321] = "other"
    b = a.with_fields([a.fields["x"], Field("text", Values(cells), per_row=True), Field("more", Values(1))])
    lines = [str(d) for d in record_differences(a, b, budget=1 << 12)]
    assert lines == [
        "more: only in B: a header value, int64",
        "text[4321]: 'row 4321' in A, 'other' in B (1 of 5,000 values differ)",
    ]
    assert [str(d) for d in record_differences(table(x=np.arange(3.0)), table(x=np.arange(4.0)))] == [
        "rows: 3 in A, 4 in B"
    ]


def test_the_command(testdata: Path, run: Run) -> None:
    a, b = testdata / "scan.h5", testdata / "copy.h5"
    shutil.copy(a, b)
    done = run("nxconvert", "compare", a, b)
    assert (done.returncode, done.stdout) == (0, "equal: 41 compared\n")
    with h5py.File(b, "r+") as f:
        f["1.1/instrument/I0/data"][7] += 1
        f["1.1/title"][()] = "\x1b[31mred"
    done = run("nxconvert", "compare", a, b)
    assert done.returncode == 1
    assert "/1.1/instrument/I0/data[7]: 100656.9865987187" in done.stdout
    assert "\x1b" not in done.stdout
    assert run("nxconvert", "compare", a, b, "--quiet").stdout == ""
    said = json.loads(run("nxconvert", "compare", a, b, "--json").stdout)
    assert not said["equal"]
    assert [d["where"] for d in said["differences"]] == ["/1.1/title", "/1.1/instrument/I0/data[7]"]
    assert run("nxconvert", "compare", f"{a}::/1.2", f"{b}::/1.2").returncode == 0
    assert run("nxconvert", "compare", a, b, "--rtol", "-1").returncode == 2
    assert run("nxconvert", "compare", a, testdata / "nothing.h5").returncode == 1


def test_a_conversion_equals_its_input(testdata: Path, run: Run) -> None:
    assert run("nxconvert", "convert", testdata / "map.nxs", "copy.h5").returncode == 0
    done = run("nxconvert", "compare", testdata / "map.nxs", "copy.h5")
    assert done.returncode == 0
    assert done.stderr.startswith("note: not compared, as it tells who wrote the file and when: nxconvert")
    assert "NX_class" not in done.stderr
    done = run("nxconvert", "compare", f"{testdata}/map.nxs::/entry/map", "copy.h5")
    assert "note: B is a whole file; did you mean copy.h5::/entry/map?" in done.stderr
    done = run("nxconvert", "compare", "copy.h5", f"{testdata}/scan.h5::/1.1")
    assert "whole file" not in done.stderr  # it has no such group


def test_where_an_external_link_leads_is_compared(tmp_path: Path) -> None:
    def write(name: str, link: h5py.ExternalLink | None, value: int = 1) -> Path:
        with h5py.File(tmp_path / name, "w") as f:
            if link is None:
                f["x"] = value
            else:
                f["x"] = link
        return tmp_path / name

    one = write("one.h5", None)
    two = write("two.h5", None, 2)
    link, other = write("link.h5", h5py.ExternalLink("one.h5", "/x")), write("b.h5", h5py.ExternalLink("./one.h5", "x"))
    gone, lost = write("gone.h5", h5py.ExternalLink("no.h5", "/x")), write("lost.h5", h5py.ExternalLink("nix.h5", "/x"))
    assert found(link, one) == found(link, other) == found(gone, gone) == []
    assert found(link, two) == ["/x: 1 in A, 2 in B"]
    assert found(link, gone) == [
        "/x: a link to one.h5::/x in A, a link to no.h5::/x in B",
        "/x: leads to a dataset in A, leads to nothing in B",
    ]
    assert found(gone, lost) == ["/x: a link to no.h5::/x in A, a link to nix.h5::/x in B"]


def test_who_wrote_a_file_is_no_difference_of_its_data(pair: Run) -> None:
    assert pair(content, lambda f: f.attrs.update({"creator": "me", "file_name": "b.h5"})) == []
    assert pair(content, lambda f: f.attrs.update({"other": 1})) == ["/@other: only in B: 1"]
    assert pair(content, lambda f: f["g"].attrs.update({"creator": "me"})) == ["/g@creator: only in B: 'me'"]


def test_a_table_equals_the_tree_that_it_came_from(testdata: Path, run: Run) -> None:
    assert run("nxtoascii", testdata / "scan.h5", "--outdir", "text").returncode == 0
    assert run("nxconvert", "compare", f"{testdata}/scan.h5::/1.1", "text/scan_1.1.csv").returncode == 0
    table = testdata.parent / "text" / "scan_1.1.csv"
    table.write_text(table.read_text().replace("\n7.005,", "\n7.006,"))
    done = run("nxconvert", "compare", f"{testdata}/scan.h5::/1.1", "text/scan_1.1.csv")
    assert done.returncode == 1
    assert done.stdout.startswith("energy[1]: 7.005 in A, 7.006 in B")
    assert (
        run("nxconvert", "compare", f"{testdata}/scan.h5::/1.1", "text/scan_1.1.csv", "--rtol", "1e-3").returncode == 0
    )
    done = run("nxconvert", "compare", f"{testdata}/scan.h5", f"{testdata}/scan.h5", "--mapping", "bliss")
    assert done.returncode == 0


def test_a_map_in_a_table_is_compared_as_a_map(testdata: Path, run: Run) -> None:
    assert run("nxtoascii", testdata / "map.nxs", "--outdir", "text").returncode == 0
    (table,) = (testdata.parent / "text").glob("*map*map*.csv")
    done = run("nxconvert", "compare", f"{testdata}/map.nxs::/entry/map", table)
    assert (done.returncode, done.stdout) == (0, "equal: 5 compared\n"), done.stdout + done.stderr


def test_scans_are_paired_by_key(tmp_path: Path) -> None:
    def write(name: str, order: list[str]) -> str:
        with h5py.File(tmp_path / name, "w", track_order=True) as f:
            for scan in order:
                entry = f.create_group(scan)
                entry.attrs["NX_class"] = "NXentry"
                data = entry.create_group("data")
                data.attrs.update({"NX_class": "NXdata", "signal": "y"})
                data["y"] = np.arange(3.0) + len(scan)
        return str(tmp_path / name)

    from nxconvert.conversion import Plan

    a, b = write("a.h5", ["one", "three", "five5"]), write("b.h5", ["five5", "one", "seven"])
    lines = [str(d) for d in compare(a, b, Plan(mapping="nxdata")).differences]
    assert lines == ["three_data: only in A: a record", "seven_data: only in B: a record"]


def test_what_cannot_be_read_is_not_equal(tmp_path: Path) -> None:
    source = h5py.VirtualSource("missing.h5", "x", shape=(3,))
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = source
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_virtual_dataset("x", layout)
        f["out"] = h5py.ExternalLink("/etc/hostname", "/x")
    done = compare(str(tmp_path / "a.h5"), str(tmp_path / "a.h5"))
    assert not done.differences
    assert not done.equal
    assert sorted(where for where, _ in done.unread) == ["/out", "/x"]


def test_two_files_are_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        compare(str(tmp_path / "a.h5"), str(tmp_path / "b.h5"))


@needs_corpus
@pytest.mark.parametrize(
    "name", ["hdfgroup/tcompound.h5", "hdfgroup/tdatareg.h5", "hdfgroup/tvldtypes1.h5", "netcdf/ref_tst_compounds.nc"]
)
def test_odd_files_equal_themselves(corpus: Path, name: str) -> None:
    path = str(corpus / "hdf5-odd" / name)
    done = compare(path, path)
    assert done.equal, str(done)
    assert done.compared
