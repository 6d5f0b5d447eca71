"""Loading mappings: the shipped ones, and what a wrong one does to a conversion."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from nxconvert import mapping
from nxconvert.mapping.load import asked_for, compile_text
from nxconvert.mapping.model import MappingFile

TIE = """
nxconvert: 1
name: mine
record: [scan]
rules:
  - {tree: "/{scan}/{a}", field: "{a}"}
  - {tree: "/{scan}/{b}", field: "x{b}"}
"""


def test_exit_code_is_2(run, testdata: Path) -> None:
    (testdata / "m.yaml").write_text(TIE)
    done = run("nxconvert", "convert", "testdata/scan.h5", "out/", "--to", "csv", "--mapping", "testdata/m.yaml")
    assert done.returncode == 2
    assert "m.yaml:7:5" in done.stderr


@pytest.mark.parametrize("name", mapping.shipped_names())
def test_shipped_mappings_fit_the_schema(name: str) -> None:
    """They are loaded without the validator, for speed; so it runs here."""
    text = (Path(mapping.__file__).parent / "shipped" / f"{name}.yaml").read_text("utf-8")
    layout = compile_text(text, f"{name}.yaml")
    assert layout.name == name
    spec = TypeAdapter(MappingFile).validate_python(yaml.safe_load(text))
    assert asdict(spec)["title"]


def test_what_shipped_mappings_ask_for_is_known_without_their_rules() -> None:
    assert dict(asked_for()) == {n: mapping.load(n).when for n in mapping.shipped_names()}
