"""What an HDF5 input may reach besides itself: links, virtual datasets' sources and raw storage."""

from pathlib import Path

import h5py
import numpy as np
import pytest

SECRET = b"root:x:0:0:a secret that must not leak"


def one_line(result, *words):
    """Check that a command failed with one clear line."""
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if "tip:" not in line]
    assert "Traceback" not in result.stderr
    assert any(all(word in line for word in words) for line in errors), result.stderr


def entry(path: Path):
    """Make a file with an NXentry, to be filled."""
    file = h5py.File(path, "w")
    file.create_group("entry").attrs["NX_class"] = "NXentry"
    return file


def source(path: Path, value: int = 1, shape: tuple[int, ...] = (4,), name: str = "data") -> Path:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = np.full(shape, value, "i4")
    return path


def virtual(path: Path, names: list[str]) -> Path:
    layout = h5py.VirtualLayout((4 * len(names),), "i4")
    for row, name in enumerate(names):
        layout[4 * row : 4 * row + 4] = h5py.VirtualSource(name, "data", (4,))
    with entry(path) as file:
        file["entry"].create_virtual_dataset("data", layout, fillvalue=-7)
    return path


def column(path: Path) -> list[int]:
    return np.loadtxt(path, comments="#", skiprows=2, delimiter=",", dtype=int, ndmin=2)[:, -1].tolist()


def values(path: Path, name: str = "entry/data"):
    with h5py.File(path) as file:
        return file[name][()].tolist()


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "elsewhere" / "passwd"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def raw(tmp_path, secret):
    (tmp_path / "in").mkdir()
    with entry(tmp_path / "in" / "a.h5") as file:
        file.create_dataset("entry/data", (len(SECRET),), "u1", external=[(str(secret), 0, len(SECRET))])
    return tmp_path / "in" / "a.h5"


def leaked(folder: Path) -> bool:
    return any(SECRET in p.read_bytes() for p in folder.glob("out*"))


def test_raw_storage_is_refused_until_asked_for(run, tmp_path, raw):
    one_line(run("nxconvert", "convert", raw, "out.h5"), "/entry/data", "passwd")
    assert not leaked(tmp_path)


def test_raw_storage_stays_inside_the_roots(run, tmp_path, raw, secret):
    one_line(run("nxconvert", "convert", raw, "out.h5", "--allow-external-raw"), "/entry/data", "passwd")
    assert not leaked(tmp_path)
    done = run("nxconvert", "convert", raw, "out.h5", "--allow-external-raw", "--allow-root", secret.parent)
    assert done.returncode == 0, done.stderr
    assert bytes(values(tmp_path / "out.h5")) == SECRET


def test_raw_storage_with_a_relative_name_is_what_hdf5_opens(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "near.bin").write_bytes(SECRET)  # HDF5 does not look here
    with entry(tmp_path / "in" / "a.h5") as file:
        file.create_dataset("entry/data", (4,), "u1", external=[("near.bin", 0, 4)])
    allowed = ["--allow-external-raw", "--allow-root", tmp_path]
    one_line(run("nxconvert", "convert", tmp_path / "in" / "a.h5", "out.h5", *allowed), "near.bin", "missing")
    (tmp_path / "near.bin").write_bytes(b"\1\2")
    one_line(run("nxconvert", "convert", tmp_path / "in" / "a.h5", "out.h5", *allowed), "near.bin", "shorter")
    (tmp_path / "near.bin").write_bytes(b"\1\2\3\4")
    done = run("nxconvert", "convert", tmp_path / "in" / "a.h5", "out.h5", *allowed)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path / "out.h5") == [1, 2, 3, 4]


def test_an_external_link_out_of_the_folder_is_refused_and_a_root_allows_it(run, tmp_path):
    outside = source(tmp_path / "elsewhere" / "b.h5")
    (tmp_path / "in").mkdir()
    with entry(tmp_path / "in" / "a.h5") as file:
        file["entry/data"] = h5py.ExternalLink("../elsewhere/b.h5", "/data")
    place = f"{tmp_path / 'in' / 'a.h5'}::/entry/data"
    one_line(run("nxconvert", "convert", place, "out.csv"), "/entry/data", "b.h5")
    assert not (tmp_path / "out.csv").exists()
    done = run("nxconvert", "convert", place, "out.csv", "--allow-root", outside.parent)
    assert done.returncode == 0, done.stderr


def test_an_external_link_in_the_middle_of_a_path_is_seen(run, tmp_path):
    source(tmp_path / "elsewhere" / "b.h5", name="g/data")
    (tmp_path / "in").mkdir()
    with entry(tmp_path / "in" / "a.h5") as file:
        file["entry/far"] = h5py.ExternalLink("../elsewhere/b.h5", "/g")
        file["entry/data"] = h5py.SoftLink("/entry/far/data")
    one_line(run("nxconvert", "convert", f"{tmp_path / 'in' / 'a.h5'}::/entry/data", "out.csv"), "b.h5")


def test_links_that_go_in_a_circle_are_an_error(run, tmp_path):
    with entry(tmp_path / "a.h5") as file:
        file["entry/data"] = h5py.SoftLink("/entry/other")
        file["entry/other"] = h5py.SoftLink("/entry/data")
    one_line(run("nxconvert", "convert", "a.h5::/entry/data", "out.csv"), "cycle")


def test_a_complete_virtual_dataset_is_read(run, tmp_path):
    source(tmp_path / "0.h5", 0), source(tmp_path / "1.h5", 1)
    virtual(tmp_path / "v.h5", ["0.h5", "1.h5"])
    done = run("nxconvert", "convert", "v.h5::/entry/data", "out.csv")
    assert done.returncode == 0, done.stderr
    assert column(tmp_path / "out.csv") == [0] * 4 + [1] * 4


@pytest.mark.parametrize("damage", ["file", "dataset", "small", "no HDF5"])
def test_each_missing_source_is_named_and_can_be_allowed(run, tmp_path, damage):
    source(tmp_path / "0.h5", 5)
    if damage == "dataset":
        source(tmp_path / "1.h5", name="other")
    elif damage == "small":
        source(tmp_path / "1.h5", shape=(3,))
    elif damage == "no HDF5":
        (tmp_path / "1.h5").write_bytes(b"nothing")
    virtual(tmp_path / "v.h5", ["0.h5", "1.h5"])
    one_line(run("nxconvert", "convert", "v.h5::/entry/data", "out.csv"), "1 of 2 sources", "1.h5::data")
    done = run("nxconvert", "convert", "v.h5::/entry/data", "out.csv", "--allow-missing")
    assert "1.h5::data" in done.stderr
    assert "missing" in done.stderr
    if damage in ("small", "no HDF5"):  # HDF5 cannot mask these
        one_line(done, "/entry/data")
        return
    assert done.returncode == 0, done.stderr
    assert column(tmp_path / "out.csv") == [5] * 4 + [-7] * 4


def test_a_source_behind_a_dangling_link_of_the_same_file_is_missing(run, tmp_path):
    layout = h5py.VirtualLayout((4,), "i4")
    layout[:] = h5py.VirtualSource(".", "entry/far/data", (4,))
    with entry(tmp_path / "v.h5") as file:
        file["entry/far"] = h5py.ExternalLink("gone.h5", "/")
        file["entry"].create_virtual_dataset("data", layout)
    one_line(run("nxconvert", "convert", "v.h5::/entry/data", "out.csv"), "gone.h5")


def test_a_source_out_of_bounds_is_refused_even_where_missing_ones_are_allowed(run, tmp_path):
    source(tmp_path / "elsewhere" / "0.h5")
    (tmp_path / "in").mkdir()
    virtual(tmp_path / "in" / "v.h5", ["../elsewhere/0.h5"])
    place = f"{tmp_path / 'in' / 'v.h5'}::/entry/data"
    one_line(run("nxconvert", "convert", place, "out.csv", "--allow-missing"), "out of the input's folder")
    done = run("nxconvert", "convert", place, "out.csv", "--allow-root", tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr


def test_what_a_source_lacks_is_missing_too(run, tmp_path):
    layout = h5py.VirtualLayout((4,), "i4")
    layout[:] = h5py.VirtualSource("gone.h5", "data", (4,))
    with h5py.File(tmp_path / "middle.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    virtual(tmp_path / "v.h5", ["middle.h5"])
    one_line(run("nxconvert", "convert", "v.h5::/entry/data", "out.csv"), "gone.h5")


@pytest.mark.parametrize("missing_allowed", [False, True])
def test_a_virtual_dataset_made_of_itself_is_an_error_and_no_crash(run, tmp_path, missing_allowed):
    for here, there in (("a.h5", "b.h5"), ("b.h5", "a.h5")):
        layout = h5py.VirtualLayout((4,), "i4")
        layout[:] = h5py.VirtualSource(there, "data", (4,))
        with h5py.File(tmp_path / here, "w") as file:
            file.create_virtual_dataset("data", layout)
    virtual(tmp_path / "v.h5", ["a.h5"])
    options = ["--allow-missing"] if missing_allowed else []
    one_line(run("nxconvert", "convert", "v.h5::/entry/data", "out.csv", *options), "made of itself")


def test_numbered_sources_are_looked_for_one_by_one(run, tmp_path):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (4,), (4,))
    plist.set_virtual(space, b"part%b.h5", b"data", h5py.h5s.create_simple((4,)))
    with entry(tmp_path / "v.h5") as file:
        h5py.h5d.create(file["entry"].id, b"data", h5py.h5t.NATIVE_INT32, space, plist)
    one_line(run("nxconvert", "convert", "v.h5::/entry/data", "out.csv"), "part0.h5")
    for n in range(3):
        source(tmp_path / f"part{n}.h5", n)
    done = run("nxconvert", "convert", "v.h5::/entry/data", "out.csv")
    assert done.returncode == 0, done.stderr
    assert column(tmp_path / "out.csv") == [0] * 4 + [1] * 4 + [2] * 4
