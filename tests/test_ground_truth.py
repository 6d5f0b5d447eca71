"""Real files that somebody else converted: what we convert equals what they did."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import needs_corpus

from nxconvert.conversion import Plan, convert

pytestmark = needs_corpus


def tables(source: Path, folder: Path) -> dict[str, pd.DataFrame]:
    report = convert([str(source)], f"{folder}/", Plan(to_format="csv"))
    assert not report.failed
    return {Path(p).stem: pd.read_csv(p, comment="#") for p in report.outputs}


def srs(path: Path) -> pd.DataFrame:
    text = path.read_text("latin-1")
    return pd.read_csv(pd.io.common.StringIO(re.split(r"&END *\n", text)[1]), sep="\t", dtype=str)


@pytest.mark.parametrize("scan", ["782761", "879486"])
def test_diamond_nexus_equals_its_srs_file(corpus: Path, tmp_path: Path, scan: str) -> None:
    """The same scan as NeXus and as text, both written at beamline I16; 879486 is a 3 x 21 grid."""
    theirs = srs(corpus / f"nexus/dls-i16/{scan}.dat")
    ours = tables(corpus / f"nexus/dls-i16/{scan}.nxs", tmp_path)[f"{scan}_entry1_measurement"]
    assert len(ours) == len(theirs)
    common = set(ours) & set(theirs)
    assert len(common) >= 20
    for name in common:
        digits = theirs[name].str.partition(".")[2].str.len()  # they print a few digits
        off = np.abs(ours[name].to_numpy() - theirs[name].astype(float).to_numpy())
        assert (off <= 0.51 * 10.0 ** -digits.to_numpy() + 1e-9).all(), name


def test_dawn_exports_equal_the_nexus_file(corpus: Path, tmp_path: Path) -> None:
    """DAWN wrote ``heading2`` of NexusLoaderTest.nxs as ascii and as SRS."""
    ours = tables(corpus / "nexus/dls/NexusLoaderTest.nxs", tmp_path)["NexusLoaderTest_scan1_dataset1"]
    text = (corpus / "nexus/dls/NexusLoaderTest_convertToSRS1_Expected.txt").read_text()
    for name in ("heading2", "heading3"):
        found = re.search(rf"<SDS @name={name}>.*?<value>(.*?)</value>", text, re.DOTALL)
        assert found
        theirs = np.array([float(v) for v in re.split(r"[,\s]+", found[1].strip()) if v])
        np.testing.assert_array_equal(ours[name].to_numpy()[: len(theirs)], theirs)


@pytest.mark.parametrize(
    ("name", "path"), [("txtfp32", "/fp/32-bit"), ("txtin32", "/int/32-bit"), ("txtuin16", "/int/uint/16-bit")]
)
def test_h5import_text_equals_its_hdf5_file(corpus: Path, tmp_path: Path, name: str, path: str) -> None:
    folder = corpus / "hdf5-odd/hdfgroup/h5import"
    convert([f"{folder}/{name}.h5::{path}"], str(tmp_path / "t.csv"))
    ours = pd.read_csv(tmp_path / "t.csv", comment="#")
    with h5py.File(folder / f"{name}.h5") as f:
        shape = f[path].shape
    theirs = np.array((folder / f"{name}.txt").read_text().split(), dtype=float)[: np.prod(shape)]
    values = ours.iloc[:, -1].to_numpy() if len(shape) == 3 else ours.to_numpy().ravel()
    np.testing.assert_allclose(values, theirs, rtol=1e-7)


def test_spec_beside_hdf5(corpus: Path, tmp_path: Path) -> None:
    """Scan 22 of 33id_spec.dat, which spec2nexus wrote as HDF5: an 11 x 11 mesh."""
    ours = tables(corpus / "nexus/aps/33id_spec_22_2D.hdf5", tmp_path)["33id_spec_22_2D_S22_data"]
    text = (corpus / "spec/33id_spec.dat").read_text("latin-1")
    block = re.search(r"^#S 22 .*?(?=^#S |\Z)", text, re.MULTILINE | re.DOTALL)
    assert block
    labels = re.search(r"^#L (.*)$", block[0], re.MULTILINE)
    assert labels
    names = re.split(r"  +", labels[1].strip())
    lines = [line.split() for line in block[0].splitlines() if re.match(r"^-?[\d.]", line)]
    rows = np.array([row for row in lines if len(row) == len(names)], dtype=float)
    assert rows.shape == (121, len(names))
    compared = 0
    for i, name in enumerate(names):
        if name in ours and name not in ("eta", "chi") and names.count(name) == 1:
            np.testing.assert_array_equal(ours[name].to_numpy(), rows[:, i], err_msg=name)
            compared += 1
    assert compared >= 8
