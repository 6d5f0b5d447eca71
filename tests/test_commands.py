"""Command tests as documents: each of ``commands/*.md`` is a story of commands and what they print.

In a block that opens with three backticks and ``console``, a line that begins with ``$ `` is a command; what follows,
up to the next one, is its output (standard output, then standard error). ``...`` at the end of a line stands for
anything; a line of ``...`` for any lines. ``[N]`` alone on the last line is the exit code when it is not 0. Commands
run one after the other in one folder that holds a copy of ``testdata``, and each block under ``<!-- file: NAME -->``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*(Path(__file__).parent / "commands").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = {
    "nxconvert": "nxconvert.cli.main",
    "nxtoascii": "nxconvert.cli.nxtoascii",
    "nxtotiff": "nxconvert.cli.nxtotiff",
}


def steps(document: Path) -> list[tuple[str, str]]:
    """Return the commands of a document, each with the output that it shows."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
    return [(command, "\n".join(output).strip()) for command, output in found]


def files(document: Path) -> dict[str, str]:
    """Return the blocks of a document that are files, by their names."""
    block = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return dict(block.findall(document.read_text("utf-8")))


def told(document: Path) -> bool:
    return bool(steps(document))


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if told(d)], ids=lambda d: d.stem)
def test_document(document: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "testdata", tmp_path / "testdata", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, text in files(document).items():
        (tmp_path / name).write_text(text, "utf-8")
    for command, expected in steps(document):
        shown = output_of(command, tmp_path)
        assert matches(expected, shown), f"$ {command}\n--- expected\n{expected}\n--- got\n{shown}"


def output_of(command: str, folder: Path) -> str:
    if sys.platform == "win32" and re.search(r"[|<>]|^(head|cat|ls|rm) ", command):
        pytest.skip("this document uses a shell's own commands")
    words = shlex.split(command)
    if words[0] in MODULES and not any(w in ("|", ">", "<", "&&") for w in words):
        done = subprocess.run([sys.executable, "-m", MODULES[words[0]], *words[1:]], cwd=folder, **_captured(folder))
    else:
        done = subprocess.run(["bash", "-c", _functions() + command], cwd=folder, **_captured(folder))
    text = (
        (done.stdout + done.stderr).replace("\r\n", "\n").replace("\\", "/")
        if os.name == "nt"
        else done.stdout + done.stderr
    )
    return text.strip() + (f"\n[{done.returncode}]" if done.returncode else "")


def _captured(folder: Path) -> dict[str, object]:
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    return {
        "capture_output": True,
        "text": True,
        "encoding": "utf-8",
        "timeout": 120,
        "check": False,
        "env": environment,
    }


def _functions() -> str:
    return "".join(f'{name}() {{ "{sys.executable}" -m {module} "$@"; }}\n' for name, module in MODULES.items())


def matches(expected: str, shown: str) -> bool:
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        elif line.endswith("..."):
            pattern += re.escape(line[:-3]) + r".*\n"
        else:
            pattern += re.escape(line.rstrip()) + r"[ ]*\n"
    return re.fullmatch(pattern, shown.strip() + "\n" if shown.strip() else "") is not None


def test_the_comparison_itself_can_fail() -> None:
    assert matches("a\n...\nb c...", "a\nx\ny\nb cde")
    assert not matches("a\nb", "a\nc")
    assert not matches("a", "a\nb")
    assert not matches("", "a")
