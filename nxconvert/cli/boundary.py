"""The one boundary where an error becomes a line, a tip and an exit code.

Exit codes: 0 all done, 1 some input failed (or ``compare`` found a difference), 2 wrong arguments, 130 Ctrl-C, 143
SIGTERM.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import typer

P = ParamSpec("P")

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def command(function: Callable[P, int]) -> Callable[P, None]:
    """Make a command of a function that returns its exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        raise typer.Exit(guarded(lambda: function(*args, **kwargs), debug=bool(kwargs.get("debug"))))

    run.__annotations__ = {**function.__annotations__, "return": None}
    return run


def start(app: typer.Typer) -> None:
    """Run an application."""
    _spare_validator()
    refused: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
    try:
        code = app(standalone_mode=False) or OK
    except refused as error:
        code = _misused(error)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process; to take apart first what ends with it anyway would take Python 60 ms."""
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to run them
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)  # Python says what is wrong with them
    os._exit(code)


def _misused(error: Any) -> int:
    """Say what the parser of the arguments refuses, in the form that all errors have; return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE
    message = error.format_message().rstrip(".")
    say(f"error: {message[:1].lower()}{message[1:]}")
    context = getattr(error, "ctx", None)
    if context is not None:
        say(f"  tip: '{context.command_path} --help' shows how it is used")
    return USAGE


def _spare_validator() -> None:
    """Take text and paths as they are typed; typer by itself loads pydantic to check them, which takes 50 ms.

    Where a version of typer has no such hook, nothing changes.
    """
    from typer.core import TyperArgument, TyperOption

    kinds: tuple[Any, ...] = (TyperOption, TyperArgument)
    for kind in kinds:
        usual = getattr(kind, "get_runtime_param", None)
        if usual is not None:
            kind.get_runtime_param = lambda self, usual=usual: _AsTyped(lambda: usual(self))


class _AsTyped:
    """Stands in for typer's reading of a parameter's values, and falls back on it for all that is not plain."""

    def __init__(self, usual: Callable[[], Any]) -> None:
        self.usual = usual

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        kind = {str: str, list[str]: str, list[Path]: Path}.get(param.type_descriptor.annotation)
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        if kind is None:
            return self.usual().coerce(value, param, ctx)
        return [kind(v) for v in value] if many else kind(value)


def guarded(function: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command's body; say what went wrong and return the exit code."""
    from nxconvert.errors import NxconvertError

    usual = signal.signal(signal.SIGTERM, _terminate)
    try:
        return function()
    except NxconvertError as error:
        if debug:
            raise
        complain(error)
        return error.exit_code
    except KeyboardInterrupt as stop:
        say("interrupted; nothing half-written was left")
        return TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}")
        return FAILED
    except MemoryError:
        if debug:
            raise
        say("error: out of memory")
        say("  tip: give less with --memory")
        return FAILED
    except Exception as error:  # a defect of ours: still one line, and how to report it
        if debug:
            raise
        say(f"error: nxconvert failed unexpectedly: {type(error).__name__}: {error}")
        say("  tip: please report it, with what --debug prints")
        return FAILED
    finally:
        signal.signal(signal.SIGTERM, usual)


class _Terminated(KeyboardInterrupt):
    """The process was asked to end, as a batch system does when the time is up."""


def _terminate(number: int, frame: Any) -> None:
    """End as Ctrl-C does: what is half-written goes."""
    raise _Terminated


def complain(error: Any) -> None:
    """Say what is wrong and how to mend it, on standard error."""
    say(f"error: {error.message}")
    if error.tip:
        say(f"  tip: {error.tip}")


def say(text: str) -> None:
    """Write a line to standard error."""
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    """Make a text safe for a terminal: no control characters from a file reach it."""
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)
