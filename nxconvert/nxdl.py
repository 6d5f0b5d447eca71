"""Validation against application definitions by pynxtools, in a process of its own.

pynxtools is large, changes how its process logs, and fails on some files with an exception. Its own command exits with
0 whatever it finds; so its log is read here. ``python -m nxconvert.nxdl FILE`` is the other process: it writes one line
of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from nxconvert.errors import InputError, UsageError
from nxconvert.validation import Problem

VERDICT = "Invalid: The entry"
"""How the line begins with which pynxtools ends an entry that is not valid."""


def require() -> None:
    """Make sure that pynxtools is there.

    Raises
    ------
    UsageError
        When it is not installed.
    """
    if find_spec("pynxtools") is None:
        raise UsageError("pynxtools, which validates, is not installed", "pip install 'nxconvert[nxdl]'")


def problems(path: Path) -> list[Problem]:
    """Return what pynxtools finds wrong with an HDF5 file; what a definition does not name is not wrong.

    Raises
    ------
    InputError
        When pynxtools fails.
    """
    import subprocess

    command = [sys.executable, "-P", "-m", "nxconvert.nxdl", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)  # noqa: S603
    try:
        told = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"pynxtools failed on {path}: {last[0]}", f"'pynx validate {path}' shows more") from None
    return [Problem("", text) for text in told]


class _Gathering(logging.Handler):
    """Gathers what pynxtools warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "pynxtools" in record.name and (text := record.getMessage()) not in self.told:
            self.told.append(text)


def _found(path: str) -> list[str]:
    validate = import_module("pynxtools.dataconverter.validate_file").validate

    gathering = _Gathering()
    for logger in (logging.getLogger(), logging.getLogger("pynxtools")):
        logger.handlers = [gathering]
    validate(path, ignore_undocumented=True)  # a file may hold more than its definition names
    if not _names_a_definition(path):
        return ["no NXentry names its application definition: there is nothing to validate against"]
    return [text for text in gathering.told if not text.startswith(VERDICT)] or gathering.told


def _names_a_definition(path: str) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        return any(isinstance(g, h5py.Group) and "definition" in g for g in file.values())


def main() -> None:
    """Validate the file that is named, and write what is wrong to the standard output that was there."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed must not mix with it
    told = _found(sys.argv[1])
    os.write(out, json.dumps(told).encode())


if __name__ == "__main__":
    main()
