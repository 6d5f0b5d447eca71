"""Records shared out to processes give the same files as one process does."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from nxconvert import conversion
from nxconvert.conversion import Plan, convert
from nxconvert.engine import parallel
from nxconvert.errors import InputError


@pytest.fixture
def many(testdata: Path) -> Path:
    path = testdata / "many.h5"
    with h5py.File(testdata / "map.nxs") as f, h5py.File(path, "w") as g:
        for i in range(12):
            f.copy("entry", g, f"e{i}")
            g[f"e{i}/map/fluo"][...] = np.full((5, 7), i)
    return path


def test_shares_give_the_same_files(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = convert([str(many)], f"{tmp_path}/alone/", Plan(to_format="csv"))
    monkeypatch.setattr(conversion, "LARGE", 0)
    monkeypatch.setattr(conversion, "processors", lambda: 3 if parallel.processors() > 1 else 1)
    shared = convert([str(many)], f"{tmp_path}/shared/", Plan(to_format="csv"))
    assert [Path(p).name for p in shared.outputs] == [Path(p).name for p in alone.outputs]
    assert len(shared.outputs) == 24
    for path in alone.outputs:
        assert (tmp_path / "shared" / Path(path).name).read_bytes() == Path(path).read_bytes()
    assert shared.notices == alone.notices


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_failure_in_a_share_is_raised_when_all_have_ended() -> None:
    def work(share: int, shares: int) -> int:
        if share == 1:
            raise InputError("damaged", "mend it")
        return share

    with pytest.raises(InputError, match="damaged") as caught:
        parallel.shared(work, 3)
    assert caught.value.tip == "mend it"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_share_that_dies_is_an_error() -> None:
    def work(share: int, shares: int) -> int:
        if share == 1:
            os._exit(9)
        return share

    with pytest.raises(RuntimeError, match="died"):
        parallel.shared(work, 2)
