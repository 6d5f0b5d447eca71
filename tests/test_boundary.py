"""Where a command meets the world: exit codes, errors as JSON, standard streams that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTDATA = Path(__file__).parent.parent / "testdata"
SCAN = str(TESTDATA / "scan.h5")
MODULES = {
    "nxconvert": "nxconvert.cli.main",
    "nxtoascii": "nxconvert.cli.nxtoascii",
    "nxtotiff": "nxconvert.cli.nxtotiff",
}
FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


def run(command: str, *, unbuffered: bool = False, **streams: object) -> subprocess.CompletedProcess[str]:
    """Run a command given as words; ``SCAN`` is a file."""
    program, *words = [w.replace("SCAN", SCAN) for w in command.split()]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    environment |= {"PYTHONUNBUFFERED": "1"} if unbuffered else {}
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", MODULES[program], *words],
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **settings,
    )


PRINTING = [
    "nxconvert --help",
    "nxconvert --version",
    "nxconvert convert --help",
    "nxconvert ls SCAN",
    "nxconvert ls SCAN --json",
    "nxconvert formats",
    "nxconvert mapping show bliss",
    "nxconvert compare SCAN SCAN",
    "nxconvert convert SCAN::/1.1 - --to csv",
    "nxtoascii --help",
]


@needs_full
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_behind_standard_output_is_one_line(command: str, unbuffered: bool) -> None:
    with FULL.open("w") as full:
        done = run(command, unbuffered=unbuffered, stdout=full)
    (line,) = done.stderr.splitlines()
    assert line == "error: standard output: No space left on device"
    assert done.returncode == 1


@needs_full
def test_an_error_has_its_exit_code_when_neither_stream_takes_it() -> None:
    with FULL.open("w") as full:
        assert run("nxconvert convert --nonsense --json", stdout=full, stderr=full).returncode == 2
        assert run("nxconvert ls missing.h5", stdout=full, stderr=full).returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("command", PRINTING)
def test_a_closed_pipe_is_silent_and_no_success(command: str, both: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(command, stdout=writing, stderr=writing if both else subprocess.PIPE)
    finally:
        os.close(writing)
    assert not done.stderr
    assert done.returncode == 141


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("nxconvert convert SCAN out.xyz --json", 2, "out.xyz: .xyz is not written"),
        ("nxconvert convert SCAN out.h5 --nonsense --json", 2, "no such option: --nonsense"),
        ("nxconvert compare SCAN --json", 2, "missing argument 'B'"),
        ("nxconvert --json nonsense", 2, "no such option: --json"),
        ("nxconvert ls no*.such --json", 1, "no file matches no*.such"),
        ("nxtoascii SCAN --format NONE --json", 2, "--format 'NONE' is not one of"),
        ("nxtotiff SCAN --memory lots --json", 2, "--memory 'lots' is no size"),
    ],
)
def test_errors_as_json(command: str, code: int, said: str) -> None:
    done = run(command)
    told = json.loads(done.stdout)
    assert told["error"].startswith(said)
    assert told["exit_code"] == done.returncode == code
    assert f"error: {told['error']}" in done.stderr
    assert (f"tip: {told['tip']}" in done.stderr) == bool(told["tip"])


@pytest.mark.parametrize(
    "command", ["nxconvert convert SCAN::/1.1 - --to csv", "nxconvert ls SCAN", "nxtoascii --help"]
)
def test_commands_do_not_load_a_validator_for_their_arguments(command: str) -> None:
    program, *words = [w.replace("SCAN", SCAN) for w in command.split()]
    code = f"import sys; sys.argv = {[program, *words]!r}; import atexit; from {MODULES[program]} import main; "
    code += "atexit.register(lambda: print('pydantic' in sys.modules, file=sys.stderr)); main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "False"


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files is not limited there")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nxconvert convert SCAN out.h5 --overwrite", "out.h5 cannot be written: File too large"),
        ("nxconvert convert SCAN::/2.1/measurement/pilatus out.tif", "out.tif cannot be written: File too large"),
        ("nxconvert convert SCAN::/1.1 - --to csv", "standard output, kept in "),
        ("nxconvert ls -", "standard input cannot be kept in "),
    ],
)
def test_a_file_that_cannot_grow_is_one_line(command: str, said: str, tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    with (TESTDATA / "scan.h5").open("rb") as content:
        done = run(command, cwd=tmp_path, stdin=content, preexec_fn=limit)
    line, *tips = done.stderr.splitlines()
    assert line.startswith(f"error: {said}")
    assert "0x" not in line
    assert all(tip.startswith("  tip: ") for tip in tips)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@pytest.mark.parametrize("program", list(MODULES))
@pytest.mark.parametrize("late", ["typer", "nxconvert.cli.boundary"])
def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_traceback(program: str, late: str) -> None:
    code = f"""
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == {late!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
runpy.run_module({MODULES[program]!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert not done.stderr


def test_loading_a_command_leaves_ctrl_c_as_it_was() -> None:
    code = "import signal, nxconvert.cli.main; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals to open on this system")
def test_a_terminal_gets_text_only() -> None:
    reader, terminal = os.openpty()
    try:
        binary = run("nxconvert convert SCAN::/2.1/measurement/pilatus - --to tiff", stdout=terminal)
        text = run("nxconvert convert SCAN::/1.2/measurement/elapsed - --to csv", stdout=terminal)
        assert binary.returncode == 2
        assert "tiff is binary, which a terminal cannot show" in binary.stderr
        assert text.returncode == 0
        assert b"elapsed" in os.read(reader, 4096)
    finally:
        os.close(terminal)
        os.close(reader)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals to open on this system")
@pytest.mark.parametrize("command", ["list", "check bliss --on SCAN"])
def test_tables_of_mappings_fit_a_terminal(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    reader, terminal = os.openpty()
    try:
        wide = run(f"nxconvert mapping {command}")
        assert max(map(len, wide.stdout.splitlines())) > 80  # a program gets whole lines
        assert run(f"nxconvert mapping {command}", stdout=terminal).returncode == 0
        lines = os.read(reader, 1 << 16).decode().splitlines()
        assert len(lines) > len(wide.stdout.splitlines())
        assert not [line for line in lines if len(line) > 80 and SCAN not in line and "/" not in line.split()[-1]]
    finally:
        os.close(terminal)
        os.close(reader)
