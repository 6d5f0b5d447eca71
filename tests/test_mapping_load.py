"""A wrong mapping is told by file, line and column, with what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from nxconvert import mapping
from nxconvert.errors import MappingError
from nxconvert.mapping.load import compile_text
from nxconvert.mapping.model import MappingFile

HEAD = "nxconvert: 1\nname: mine\nrecord: [scan]\n"
RULES = 'rules:\n  - {tree: "/{scan:NXentry}/data/{c}", field: "{c}"}\n'

WRONG = {
    "typo in a key": (HEAD + "unter: x\n" + RULES, "4:1: there is no key 'unter'", "did you mean 'under'?"),
    "typo in a rule": (
        HEAD + 'rules:\n  - {tree: "/{scan}/{c}", feild: "{c}"}\n',
        "5:27: there is no key 'feild'",
        "did you mean 'field'?",
    ),
    "wrong type": (HEAD + "when: yes please\n" + RULES, "4:7: when: Input should be a valid list", ""),
    "wrong version": ("nxconvert: 7\nname: x\nrecord: []\n" + RULES, "1:12: nxconvert: Input should be 1", ""),
    "no rules": (HEAD, "rules: must be there", ""),
    "unquoted brace": (
        HEAD + "rules:\n  - {tree: {scan}, field: a}\n",
        "5:12: rules.0.tree: Input should be a valid string",
        "quote",
    ),
    "unknown each": (
        HEAD + 'rules:\n  - {tree: "/{scan}/{c}", field: "{c}", each: point}\n',
        "rules.0.each: Input should be 'row', 'record' or 'auto', found 'point'",
        "",
    ),
    "capture in the field only": (
        HEAD + 'rules:\n  - {tree: "/{scan}/a", field: "{c}"}\n',
        "5:5: {c} is in the field's name but not in its path",
        "captures are scan",
    ),
    "capture in the path only": (
        HEAD + 'rules:\n  - {tree: "/{scan}/{device}/{c}", field: "{c}"}\n',
        "5:5: {device} is in the path but in neither the field's name nor the key",
        "{device=NAME}",
    ),
    "tie": (
        HEAD + 'rules:\n  - {tree: "/{scan}/{a}", field: "{a}"}\n  - {tree: "/{scan}/{b}", field: "x{b}"}\n',
        "6:5: this rule matches the same as the one at m.yaml:5:5",
        "more literal",
    ),
    "no role": (HEAD + 'rules:\n  - {tree: "/{scan}/{x@axis}", field: "{x}"}\n', "'axis' is no role", "axes, signal"),
    "broken capture": (
        HEAD + 'rules:\n  - {tree: "/{scan}/{x y}", field: "a"}\n',
        "5:20: '{x y}' is no capture",
        "{name}",
    ),
    "below an attribute": (
        HEAD + 'rules:\n  - {tree: "/{scan}/@a/b", field: "a"}\n',
        "nothing comes below an attribute",
        "",
    ),
    "alias": (HEAD + "rules: &a [*a]\n", "4:8: aliases and anchors are not allowed", "write the value out"),
    "python tag": (
        HEAD + "title: !!python/name:os.system x\n",
        "4:8: the tag tag:yaml.org,2002:python/name:os.system",
        "remove",
    ),
    "local tag": (HEAD + "title: !x y\n", "4:8: the tag !x is not allowed", "remove it"),
    "key twice": (HEAD + "name: other\n" + RULES, "4:1: the key 'name' is there twice", "keep one"),
    "not YAML": (HEAD + "rules: [\n", "m.yaml:5:1: ", "indentation"),
    "unquoted braces": (HEAD + "rules:\n  - {tree: {scan}/{a}, field: a}\n", "m.yaml:5:", "quote names with braces"),
    "tab": (HEAD + 'rules:\n\t- {tree: "/{scan}/{a}", field: "{a}"}\n', "m.yaml:5:1: ", "not with tabs"),
    "indentation": (HEAD + RULES + '   field: "{b}"\n', "m.yaml:6:4: ", "indentation"),
    "a list": ("- 1\n", "1:1: a mapping is a list of keys", "nxconvert: 1"),
    "empty": ("", "1:1: the mapping is empty", "nxconvert: 1"),
    "no field": (HEAD + 'rules:\n  - {tree: "/{scan}/a"}\n', "5:5: the rule for /{scan}/a has no field", "field: NAME"),
    "key not bound": (
        HEAD + 'rules:\n  - {tree: "/a/{c}", field: "{c}"}\n',
        "3:9: no rule binds the whole key scan",
        "",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_mapping(name: str) -> None:
    text, message, tip = WRONG[name]
    with pytest.raises(MappingError) as caught:
        compile_text(text, "m.yaml")
    assert message in caught.value.message
    assert caught.value.message.startswith("m.yaml:")
    assert "\n" not in caught.value.message
    assert tip in caught.value.tip


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(MappingError, match="at most 1,048,576"):
        mapping.load(str(path))


def test_exit_code_is_2(run, testdata: Path) -> None:
    (testdata / "m.yaml").write_text(WRONG["tie"][0])
    done = run("nxconvert", "convert", "testdata/scan.h5", "out/", "--to", "csv", "--mapping", "testdata/m.yaml")
    assert done.returncode == 2
    assert "m.yaml:6:5" in done.stderr


@pytest.mark.parametrize("name", mapping.shipped_names())
def test_shipped_mappings_fit_the_schema(name: str) -> None:
    """They are loaded without the validator, for speed; so it runs here."""
    text = (Path(mapping.__file__).parent / "shipped" / f"{name}.yaml").read_text("utf-8")
    layout = compile_text(text, f"{name}.yaml")
    assert layout.name == name
    spec = TypeAdapter(MappingFile).validate_python(yaml.safe_load(text))
    assert asdict(spec)["title"]
