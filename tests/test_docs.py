"""The documentation: generated parts match the code, examples run, links lead somewhere, nothing is undocumented."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from test_commands import matches, output_of, steps

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^```(console|python|pycon)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


def test_generated_pages_are_current() -> None:
    assert [p.relative_to(ROOT).as_posix() for p in generate.stale()] == [], "run: python docs/generate.py"


def test_a_stale_page_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(generate.PARTS, "steps", lambda: "something else")
    assert [p.name for p in generate.stale()] == ["mapping.md"]


COMMANDS = dict(generate.commands())


def test_every_installed_command_is_looked_at() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert set(scripts) <= set(COMMANDS)
    assert {"nxconvert convert", "nxconvert formats", "nxtoascii"} <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_documented(name: str) -> None:
    command = COMMANDS[name]
    assert command.help, f"{name} has no help"
    text = (DOCS / "reference" / "commands.md").read_text("utf-8")
    section = re.split(r"^#{2,3} ", text.partition(f"# {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    assert section.strip(), f"{name} is not in commands.md"
    for parameter in generate.parameters(command):
        assert parameter.help, f"{name}: {parameter.name} has no help"
        if parameter.param_type_name == "option" and parameter.name != "help":
            assert not parameter.multiple or "repeated" in parameter.help, f"{name}: {parameter.name}: once or more?"
            for option in parameter.opts:
                assert f"`{option}`" in section, f"{name}: {option} is not in commands.md"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_in_the_text_exist(page: Path) -> None:
    options = {o for c in COMMANDS.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    others = {"--quiet", "--help", "--check", "--editable", "--array"}  # of pip and the like
    lines = [line for line in page.read_text("utf-8").splitlines() if "pip install" not in line]
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(lines)))
    assert named - options - others == set()


def test_every_builtin_format_is_documented() -> None:
    text = (DOCS / "reference" / "formats.md").read_text("utf-8")
    for format in generate.builtin():
        assert f"### {format.name}\n" in text
        for option in (*format.write_options, *format.read_options):
            assert f"`--{option.name.replace('_', '-')}`" in text


def test_the_schema_takes_the_shipped_mappings() -> None:
    import yaml

    schema = json.loads(generate.SCHEMA.read_text("utf-8"))
    rule = schema["$defs"]["RuleFile"]["properties"]
    for path in (ROOT / "nxconvert" / "mapping" / "shipped").glob("*.yaml"):
        text = yaml.safe_load(path.read_text("utf-8"))
        assert set(text) <= set(schema["properties"])
        assert all(set(r) <= set(rule) for r in text["rules"])


def test_the_keys_of_json_reports_are_documented() -> None:
    from nxconvert.cli import compare, report
    from nxconvert.comparison import Comparison
    from nxconvert.format import Report

    text = (DOCS / "how-to" / "unattended.md").read_text("utf-8")
    for key in (*report.as_dict(Report()), *compare.as_dict(Comparison())):
        assert f"| `{key}` |" in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, pending = set(), [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in seen:
            continue
        seen.add(page)
        found = re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)", page.read_text("utf-8"))
        pending += [(page.parent / f).resolve() for f in found if not f.startswith("http")]
    assert set(PAGES) - seen == set()


def has_examples(page: Path) -> bool:
    kinds = {kind for kind, _ in BLOCK.findall(page.read_text("utf-8"))}
    return bool(kinds & {"python", "pycon"})


@pytest.mark.parametrize("page", [p for p in PAGES if has_examples(p)], ids=name_of)
def test_python_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a page from top to bottom; its commands make the files that its Python reads."""
    shutil.copytree(ROOT / "testdata", tmp_path / "testdata", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    for kind, block in BLOCK.findall(page.read_text("utf-8")):
        if kind == "console":
            for line in block.splitlines():
                if line.startswith("$ "):
                    output_of(line[2:], tmp_path)
        elif ">>> " in block:
            run_doctest(block, names, page.name)
        else:
            exec(compile(block, page.name, "exec"), names)


def run_doctest(block: str, names: dict[str, object], where: str) -> None:
    test = doctest.DocTestParser().get_doctest(block, names, where, where, 0)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append, clear_globs=False)
    names.update(test.globs)
    assert not runner.failures, "".join(told)


def test_a_wrong_example_is_noticed() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run_doctest(">>> 1 + 1\n3\n", {}, "example")


@pytest.mark.skipif(sys.platform == "win32", reason="the README's commands are for a POSIX shell")
def test_the_commands_of_the_readme_and_of_the_tutorial_after_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "testdata", tmp_path / "testdata", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    readme, tutorial = steps(ROOT / "README.md"), steps(DOCS / "tutorial.md")
    assert readme
    assert tutorial
    for command, expected in [*readme, *tutorial]:
        shown = output_of(command, tmp_path)
        assert matches(expected, shown), f"$ {command}\n--- expected\n{expected}\n--- got\n{shown}"


def test_the_readme_opens_with_one_command_to_install_and_one_to_test() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    install, test = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[:2]
    assert install.count("\n") == test.count("\n") == 1
    assert "testdata/" in install
    assert re.search(r"<!-- test -->\n```sh\n.*pytest", text)
