"""Run whole processes, and say what they cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds on the clock, seconds of CPU, and the largest memory of a process in MiB."""

    wall: float
    cpu: float
    rss: float


def run(command: list[str], folder: Path, outputs: list[Path]) -> Cost:
    """Run a command in a folder, its outputs removed before, and check that it made them."""
    for output in outputs:
        if output.is_dir():
            shutil.rmtree(output)
        output.unlink(missing_ok=True)
    with (folder / "log.txt").open("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        code, cpu, rss = _wait(process)
        wall = time.perf_counter() - start
        log.seek(0)
        said = log.read()
    if code or any(not output.exists() for output in outputs):
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {code} and made no output:\n{said[-2000:]}")
    return Cost(wall, cpu, rss)


def _environment() -> dict[str, str]:
    """Return the environment without a setting that has Python compile our sources anew in every run."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float, float]:
    if sys.platform == "win32":
        return process.wait(), float("nan"), float("nan")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale
