"""What all tests share: the shipped test data, and the corpus of real files where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nxconvert import compiled

ROOT = Path(__file__).parent.parent
CORPUS = Path(os.environ.get("NXCONVERT_CORPUS", ROOT.parent / "shared" / "corpus"))

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is not here")


@pytest.fixture
def testdata(tmp_path: Path) -> Path:
    """A copy of the shipped test data, in the folder where the test runs."""
    folder = tmp_path / "testdata"
    shutil.copytree(ROOT / "testdata", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real files."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real files is not here")
    return CORPUS


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of ours in the test's folder."""

    def run(command: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        module = {"nxconvert": "nxconvert.cli.main"}.get(command, f"nxconvert.cli.{command}")
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            **options,  # type: ignore[call-overload]
        )

    return run


@pytest.fixture(params=["compiled", "python"])
def with_and_without_compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: with the compiled library, and as where nothing was compiled."""
    if request.param == "python":
        monkeypatch.setattr(compiled, "library", lambda: None)
    elif compiled.library() is None:
        pytest.skip("nothing was compiled here")
