"""Datasets of one number or text are read at once, by the compiled library, and are what h5py says they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import nxconvert
from nxconvert.formats.hdf5 import read, small

TEXT = h5py.string_dtype()


def written(path: Path) -> list[str]:
    """Write numbers of all kinds, and what only looks like one."""
    with h5py.File(path, "w") as file:
        for kind in (
            "i1",
            "u1",
            "<i2",
            ">i2",
            "<u4",
            ">u4",
            "<i8",
            "<u8",
            "<f2",
            "<f4",
            ">f4",
            "<f8",
            ">f8",
            "<c8",
            "?",
        ):
            file[f"number {kind}"] = np.array(-3.25 if "f" in kind else 1, kind)
        file["extremes"] = np.uint64(2**64 - 1)
        file["nan"] = np.float64("nan")
        file["negative zero"] = np.float32(-0.0)
        file["text"] = "µm"
        file["no text"] = ""
        file["text of ASCII"] = np.array("mm", h5py.string_dtype("ascii"))
        file["text of 255 bytes"] = "x" * 255
        file["text of 256 bytes"] = "x" * 256
        file["text of one length"] = np.bytes_("mm")
        file["texts"] = ["a", "b"]
        file["bytes that are no text"] = np.array(b"\xb5m", TEXT)
        file["one"] = [1.5]
        file["none"] = h5py.Empty("f8")
        file["compact"] = 7
        file["enum"] = np.array(1, h5py.enum_dtype({"off": 0, "on": 1}, "i1"))
        file["pair"] = np.array((1, 2.0), [("a", "i4"), ("b", "f8")])
        file.create_dataset("never written", (), "f8")
        file["group/inner"] = 3.0
        file["soft"] = h5py.SoftLink("/group/inner")
        file["hard"] = file["group/inner"]
        file["type"] = np.dtype("f8")
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(file.id, b"in the header", h5py.h5t.IEEE_F64LE, space, plist).write(
            space, space, np.array(2.5), h5py.h5t.NATIVE_DOUBLE
        )
        attrs: dict[str, dict[str, Any]] = {
            "units": {"units": "mm"},
            "unicode": {"unité": "Å", "empty": ""},
            "four": {"a": "1", "b": "2", "c": "3", "d": "4"},
            "five": {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"},
            "long": {"text": "x" * 255},
            "longer": {"text": "x" * 256},
            "long name": {"n" * 63: "a"},
            "longer name": {"n" * 64: "a"},
            "number": {"units": "mm", "offset": 2.5},
            "fixed": {"units": np.bytes_("mm")},
            "list": {"axes": ["a", "b"]},
            "nothing": {"units": h5py.Empty(TEXT)},
        }
        for name, values in attrs.items():
            made = file.create_dataset(f"attributes {name}", data=1.5)
            made.attrs.update(values)
        return list(file)


def seen(path: Path) -> dict[str, Any]:
    """Return all that can be asked of each object."""
    out: dict[str, Any] = {}
    with nxconvert.open(path) as tree:
        root = tree.root if hasattr(tree, "root") else tree
        for name in root:
            node = root[name]
            if not hasattr(node, "dtype"):
                continue
            attrs = {k: (type(v).__name__, str(v)) for k, v in node.attrs.items()}
            value = np.asarray(node[()]) if not getattr(node, "null", False) else np.empty(0)
            out[name] = (
                node.dtype,
                node.shape,
                value.dtype,
                value.tobytes() if value.dtype != object else str(value),
                attrs,
            )
    return out


def test_small_datasets_are_what_h5py_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if small.opener() is None:
        pytest.skip("nothing was compiled here")
    names = written(tmp_path / "f.h5")
    quick = seen(tmp_path / "f.h5")
    monkeypatch.setattr(read, "opener", lambda: None)
    slow = seen(tmp_path / "f.h5")
    assert len(quick) > len(names) - 4
    assert quick == slow


def test_they_are_not_opened_by_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if small.opener() is None:
        pytest.skip("nothing was compiled here")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = 1.5
        file["x"].attrs["units"] = "mm"
    monkeypatch.setattr(read.h5o, "open", lambda *a: pytest.fail("opened by h5py"), raising=True)
    with nxconvert.open(tmp_path / "f.h5::/x") as x:
        assert (float(x[()]), x.attrs["units"]) == (1.5, "mm")
