"""The one boundary where an error becomes a line, a tip and an exit code.

Exit codes: 0 all done, 1 some input failed (or ``compare`` found a difference), 2 wrong arguments, 130 Ctrl-C, 141
nobody reads what is printed any more, 143 SIGTERM.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer
from typer.main import get_command

from nxconvert.cli.groups import spread

if TYPE_CHECKING:
    from nxconvert.errors import NxconvertError

_NARROW = 20
"""Columns of a terminal in which nothing is broken any more."""

_ELSEWHERE = {
    "--columns": "--columns is an option of nxtoascii",
    "--only_columns": "--only_columns is an option of nxtoascii",
    "--only-columns": "--only_columns is an option of nxtoascii",
    "--outdir": "--outdir is an option of nxtoascii and nxtotiff; elsewhere the output is named last, a folder with a slash",
    "--on": "--on is an option of mapping check; mapping test takes FILE DATA",
}
"""Tips for options that another command has."""

OK, FAILED, USAGE, INTERRUPTED, UNREAD, TERMINATED = 0, 1, 2, 130, 141, 143


def command(function: Callable[..., int]) -> Callable[..., None]:
    """Make a command of a function that returns its exit code; see ``groups`` for its parameters."""
    called = spread(function)

    @functools.wraps(called)
    def run(**given: Any) -> None:
        raise typer.Exit(
            guarded(lambda: called(**given), debug=given.get("debug", False), json=given.get("json", False))
        )

    return run


def start(app: typer.Typer, name: str) -> NoReturn:
    """Run an application with the arguments of this process, and end it."""
    _leave(guarded(lambda: _parsed(app, name), debug="--debug" in sys.argv, json="--json" in sys.argv))


def _leave(code: int) -> NoReturn:
    """End the process.

    ``sys.exit`` would take every module and object apart first, which takes 15 to 60 ms, a tenth of a small conversion,
    and frees nothing that does not end with the process anyway. All that Python does besides is done here: what asked to
    be called at the end is called, and what is still held back is written. (To have the collector pass over what is left,
    by ``gc.freeze``, is as fast, but lets h5py crash.)
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to run them
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none; ``guarded`` has told it
            stream.flush()
    os._exit(code)


def _parsed(app: typer.Typer, name: str) -> int:
    """Read the arguments and run the command that they name; return the exit code.

    ``typer`` has a function for it, which would end the process itself on Ctrl-C and closed pipes.
    """
    _spare_validator()
    _show_arguments_plainly()
    program: Any = get_command(app)
    refused: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
    try:
        with program.make_context(name, sys.argv[1:]) as context:
            program.invoke(context)
    except typer.Exit as end:
        return int(end.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except refused as error:
        return _misused(error)
    return OK


def _misused(error: Any) -> int:
    """Say what the parser of the arguments refuses, in the form that all errors have; return the exit code."""
    from nxconvert.errors import UsageError

    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    tip = "" if context is None else f"'{context.command_path} --help' shows how it is used"
    option = getattr(error, "option_name", "") if type(error).__name__ == "NoSuchOption" else ""
    if option in _ELSEWHERE:  # what the parser guesses is another option, of another meaning
        message, tip = f"no such option: {option}", _ELSEWHERE[option]
    raise UsageError(message[:1].lower() + message[1:], tip)


def _spare_validator() -> None:
    """Have text and paths taken as they are typed.

    typer has pydantic check every value, and to load that takes 50 to 100 ms, a third of a small conversion; but any
    text is a text and a path. There is no setting for it, and parameters such as ``--help`` are made late, so their
    classes are told. Versions of typer that do without pydantic have no such method, and nothing changes.
    """
    from typer.core import TyperArgument, TyperOption

    kinds: tuple[Any, ...] = (TyperOption, TyperArgument)
    for kind in kinds:
        usual = getattr(kind, "get_runtime_param", None)
        if usual is not None:
            kind.get_runtime_param = lambda self, usual=usual: _AsTyped(lambda: usual(self))


def _show_arguments_plainly() -> None:
    """Have ``--help`` show arguments as they are written, ``IN... OUT``, in every version of typer.

    Some put braces and dots around them and the type of Python behind them, which says nothing to those who type.
    """
    from typer.core import TyperArgument

    kind: Any = TyperArgument
    kind.get_usage_pieces = lambda self, context: [self.metavar or self.name.upper()]
    kind.get_help_record = lambda self, context: (self.metavar or self.name.upper(), self.help or "")


class _AsTyped:
    """Stands in for typer's reading of a parameter's values, and falls back on it for all that is not plain."""

    def __init__(self, usual: Callable[[], Any]) -> None:
        self.usual = usual

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        kind = {str: str, Path: Path, list[str]: str, list[Path]: Path}.get(param.type_descriptor.annotation)
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        if kind is None:
            return self.usual().coerce(value, param, ctx)
        return [kind(v) for v in value] if many else kind(value)


def guarded(function: Callable[[], int], *, debug: bool = False, json: bool = False) -> int:
    """Run a command, or the reading of its arguments; say what went wrong and return the exit code.

    Parameters
    ----------
    function
        What to run; it returns the exit code.
    debug
        Whether errors are raised, to be seen whole.
    json
        Whether an error is printed as JSON on standard output too.
    """
    usual = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = function()
        _flush()
    except KeyboardInterrupt as stop:
        say("interrupted; nothing half-written was left")
        code = TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED
    except BrokenPipeError:
        _write_no_more(sys.stdout)
        code = UNREAD
    except Exception as error:  # of any kind: one line each, and how to mend it
        if debug:
            raise
        code = _failed(error, json=json)
    finally:
        signal.signal(signal.SIGTERM, usual)
    return code


def _failed(error: Exception, *, json: bool) -> int:
    """Say what went wrong; return the exit code."""
    from nxconvert.errors import NxconvertError

    told = error if isinstance(error, NxconvertError) else _foreign(error)
    complain(told)
    if json:
        from json import dumps

        with contextlib.suppress(OSError):  # it may be why the command failed
            print(dumps({"error": told.message, "tip": told.tip, "exit_code": told.exit_code}))
    try:
        _flush()
    except (OSError, NxconvertError):
        _write_no_more(sys.stdout)
    return told.exit_code


def _foreign(error: Exception) -> NxconvertError:
    """Make an error of ours of one that is not."""
    from nxconvert.errors import NxconvertError

    if isinstance(error, OSError):
        where = str(error.filename or "") or ("standard output" if _printing(error) else "")
        return NxconvertError(f"{where}{': ' if where else ''}{error.strerror or error}")
    if isinstance(error, MemoryError):
        return NxconvertError("out of memory", "give less with --memory")
    said = f"{type(error).__name__}: {error}"  # a defect of ours
    return NxconvertError(f"nxconvert failed unexpectedly: {said}", "please report it, with what --debug prints")


def _printing(error: Exception) -> bool:
    """Tell whether an error was raised where something is printed: neither a command nor typer writes anything else."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals["__name__"].startswith(
        ("nxconvert.cli.", "typer.", "__main__")
    )


def _flush() -> None:
    """Print what is still held back.

    Raises
    ------
    OutputError
        When standard output takes no more, as on a full disk.
    """
    from nxconvert.errors import OutputError

    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror}") from None


def _write_no_more(stream: TextIO) -> None:
    """Let what is still written to a stream go nowhere, so that Python does not fail again when it ends."""
    with contextlib.suppress(OSError):  # a stream in memory has no number, and does not fail
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


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
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:
        _write_no_more(sys.stderr)  # nobody can be told


def broken(text: str, start: int) -> list[str]:
    """Break a text into lines that fit behind ``start`` columns of a terminal; elsewhere it stays one line."""
    import shutil
    import textwrap

    room = shutil.get_terminal_size().columns - start
    wrapped = textwrap.TextWrapper(room, break_long_words=False, break_on_hyphens=False)
    return wrapped.wrap(text) if sys.stdout.isatty() and room > _NARROW else [text]


def printable(text: str) -> str:
    """Make a text safe for a terminal: no control characters from a file reach it."""
    return "".join(c if c.isprintable() or c == "\t" else _harmless(c) for c in text)


def _harmless(sign: str) -> str:
    """Write a control character as an escape; a byte that is no UTF-8 as the sign that it is in Latin-1, if it is one.

    Older files have their units so, ``°`` and ``µ`` first of all. What is written is the byte itself.
    """
    latin = chr(ord(sign) - 0xDC00) if "\udca0" <= sign <= "\udcff" else sign
    return latin if latin.isprintable() else repr(sign)[1:-1]
