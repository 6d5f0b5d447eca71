"""Options that several commands share, the groups that they come in, and how they become a plan."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxconvert.dataclass import dataclass

if TYPE_CHECKING:
    from nxconvert.conversion import Plan
    from nxconvert.policy import Policy

From = Annotated[
    str | None, typer.Option("--from", metavar="FORMAT", help="Format of the inputs; default: by content.")
]
To = Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="Format of the output; default: by extension.")]
Mapping = Annotated[
    str,
    typer.Option("--mapping", metavar="auto|NAME|FILE", help="Which layout the file has: a mapping's name or file."),
]
Scans = Annotated[
    list[str] | None,
    typer.Option("--scans", metavar="GLOB", help="Only scans whose name or title matches, e.g. 1.1; may be repeated."),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Spectra and images to write too, '*' for all; may be repeated."),
]
Name = Annotated[str, typer.Option("--name", metavar="TEMPLATE", help="Names of outputs, e.g. '{stem}_{entry}{ext}'.")]
Table = Annotated[
    str | None, typer.Option("--table", metavar="long|matrix", help="A 2-D signal as a line a point, or as a matrix.")
]
Unfinished = Annotated[bool, typer.Option("--unfinished", help="Write scans that have not ended too.")]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="How much of the values to hold at once.")]
AllowRoot = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-root", metavar="DIR", help="Other folder that links of an input may lead into; may be repeated."
    ),
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on when linked files are missing, and say so.")]
AllowRaw = Annotated[bool, typer.Option("--allow-external-raw", help="Read HDF5 values that lie raw in another file.")]
Validate = Annotated[
    str | None,
    typer.Option(
        "--validate", metavar="nxdl", help="Check the HDF5 output against its application definitions; needs pynxtools."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another option of a format; 'nxconvert formats NAME' lists them; may be repeated.",
    ),
]
Append = Annotated[
    bool, typer.Option("--append", help="Add scans to an existing SPEC file; those it has already are skipped.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make warnings and losses failures (exit 1).")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
FloatFormat = Annotated[
    str | None,
    typer.Option("--float-format", metavar="FMT", help="How numbers are written, e.g. %.6g; default: exact."),
]
Delimiter = Annotated[
    str | None,
    typer.Option("--delimiter", metavar="SIGN", help="Foreign text: comma, semicolon, tab, space or a sign."),
]
Decimal = Annotated[str | None, typer.Option("--decimal", metavar="SIGN", help="Foreign text: the decimal sign.")]
Comment = Annotated[
    str | None, typer.Option("--comment", metavar="SIGN", help="Foreign text: what comments begin with.")
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", metavar="NAME,..|LINE", help="Foreign text: the columns' names, or the line of them."),
]
Roles = Annotated[
    str | None,
    typer.Option("--roles", metavar="x=NAME,signal=NAME", help="Text: what the columns are; also errors=, auxiliary=."),
]
Dialect = Annotated[
    str | None,
    typer.Option(
        "--dialect",
        metavar="csv|excel",
        help="CSV for programs, or for Excel in your language; else excel-semicolon or excel-comma.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="stack|sequence|imagej", help="One TIFF, a file a frame, or a stack for ImageJ."),
]
Cast = Annotated[
    str | None, typer.Option("--cast", metavar="DTYPE", help="Store pixels as e.g. uint16; undone on reading.")
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range", metavar="LOW,HIGH", help="Values that --cast stretches, e.g. 0,1000 or 1%,99%; default: all."
    ),
]
Compression = Annotated[
    str | None, typer.Option("--compression", metavar="NAME", help="Compression, e.g. gzip, bitshuffle-lz4, none.")
]
Links = Annotated[
    str | None,
    typer.Option(
        "--links",
        metavar="auto|keep|resolve",
        help="HDF5: keep links, or copy what they lead to; default: copy what lies outside.",
    ),
]
Chunks = Annotated[str | None, typer.Option("--chunks", metavar="N,N,..", help="Shape of HDF5 chunks, e.g. 1,512,512.")]


ReportFull = Annotated[
    str, typer.Option("--report", metavar="full", help="full: count the datasets that no rule of the mapping takes.")
]


@dataclass(frozen=True)
class Selected:
    """Which records are wanted, and what their files are called."""

    mapping: Mapping = "auto"
    scans: Scans = None
    unfinished: Unfinished = False
    name: Name = ""
    report: ReportFull = ""


@dataclass(frozen=True)
class Tables:
    """What becomes of spectra, images and maps in tables."""

    include: Include = None
    table: Table = None

    @property
    def matrix(self) -> bool | None:
        return None if self.table is None else choice(self.table, "--table", ("long", "matrix")) == "matrix"


@dataclass(frozen=True)
class Reading:
    """How text that other programs wrote is read."""

    delimiter: Delimiter = None
    decimal: Decimal = None
    comment: Comment = None
    labels: Labels = None
    roles: Roles = None

    @property
    def stated(self) -> dict[str, Any]:
        """Those that were given."""
        return stated(**{f.name: getattr(self, f.name) for f in fields(self)})


@dataclass(frozen=True)
class Switches(Reading):
    """The options of formats that have a switch of their own, as those that come with nxconvert do."""

    dialect: Dialect = None
    float_format: FloatFormat = None
    append: Append = False
    profile: Profile = None
    cast: Cast = None
    range: Range = None
    compression: Compression = None
    chunks: Chunks = None
    links: Links = None

    @property
    def stated(self) -> dict[str, Any]:
        """Those that were given."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return stated(**given | {"append": self.append or None, "chunks": numbers(self.chunks, "--chunks")})


@dataclass(frozen=True)
class Limits:
    """What inputs may do."""

    memory: Memory = "256MiB"
    allow_root: AllowRoot = None
    allow_missing: AllowMissing = False
    allow_external_raw: AllowRaw = False

    @property
    def policy(self) -> Policy:
        return policy(self.memory, self.allow_root, self.allow_missing, self.allow_external_raw)


@dataclass(frozen=True)
class Running:
    """What becomes of outputs that exist, and what is told."""

    overwrite: Overwrite = False
    dry_run: DryRun = False
    strict: Strict = False
    json: Json = False
    quiet: Quiet = False
    debug: Debug = False


def plan(selected: Selected, limits: Limits, running: Running, **more: Any) -> Plan:
    """Make the plan that the options state; ``more`` is the rest of it."""
    from nxconvert.conversion import Plan

    return Plan(
        mapping=selected.mapping,
        scans=tuple(selected.scans or ()),
        unfinished=selected.unfinished,
        name=selected.name,
        report=choice(selected.report, "--report", ("full",)) if selected.report else "",
        policy=limits.policy,
        overwrite=running.overwrite,
        dry_run=running.dry_run,
        **more,
    )


def size(text: str) -> int:
    """Read a size: ``256MiB``, ``1G``, ``1000000``.

    Raises
    ------
    UsageError
        When it is none.
    """
    from nxconvert.errors import UsageError

    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?[bB])?\s*", text)
    if not found:
        raise UsageError(f"--memory {text!r} is no size", "write e.g. 256MiB or 1G")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2].lower() or " "))


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read a list of numbers: ``1,512,512``."""
    from nxconvert.errors import UsageError

    if text is None:
        return None
    try:
        return tuple(int(p) for p in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r} is no list of numbers", "write e.g. 1,512,512") from None


def policy(memory: str, roots: list[Path] | None, missing: bool, raw: bool) -> Policy:
    """Make the policy that the options state."""
    from nxconvert.policy import Policy

    return Policy(size(memory), tuple(roots or ()), missing, raw)


def choice(value: str, option: str, allowed: tuple[str, ...]) -> str:
    """Check an option's value.

    Raises
    ------
    UsageError
        When it is not one of those allowed.
    """
    from difflib import get_close_matches

    from nxconvert.errors import UsageError

    if value not in allowed:
        near = get_close_matches(value, allowed, 1)
        raise UsageError(
            f"{option} {value!r} is not one of {', '.join(allowed)}", f"did you mean {near[0]!r}?" if near else ""
        )
    return value


def settings(texts: list[str], from_: str | None, output: str = "", to: str | None = None) -> dict[str, Any]:
    """Read what ``--set`` states, of the options that the format of an input has, or that of the output if there is one.

    Raises
    ------
    UsageError
        When there is no such option, or its value is none that it takes.
    """
    from difflib import get_close_matches

    from nxconvert import registry
    from nxconvert.errors import UsageError
    from nxconvert.location import Location

    if not texts:
        return {}
    target = registry.for_output(Location.parse(output), to) if output else None
    sources = [registry.by_name(from_)] if from_ else registry.formats().values()
    known = {x.name: x for source in sources for x in source.read_options}
    known |= {x.name: x for x in target.write_options} if target else {}
    named = target or (registry.by_name(from_) if from_ else None)
    listed = f"'nxconvert formats {named.name if named else 'NAME'}' lists"
    switches = [f.name for f in fields(Switches) if target or f.name in known]
    found = {}
    for text in texts:
        written, equals, value = text.partition("=")
        name = written.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"--set {text!r} is no NAME=VALUE", f"{listed} the names")
        if name in switches:
            raise UsageError(f"--set {text}: {name} has a switch of its own", f"write {switch(name)} {value}".strip())
        if name not in known:
            near = get_close_matches(name, [n for n in known if n not in switches], 1)
            tip = f"did you mean {near[0]!r}? " if near else ""
            tip += f"{listed} its options"
            raise UsageError(f"--set {text}: {named.title if named else 'an input'} has no option {name!r}", tip)
        if known[name].choices:
            choice(value, f"--set {name}:", known[name].choices)
        found[name] = known[name].parse(value)
    return found


def refuse_output(files: list[str], endings: tuple[str, ...], command: str) -> None:
    """Refuse what looks like the name of an output among the inputs, before any work is done.

    Raises
    ------
    UsageError
        When the last of several is not there, and ends as outputs or folders do.
    """
    from nxconvert.errors import UsageError

    last = files[-1]
    if len(files) < 2 or last == "-" or re.search(r"::|[*?\[]", last) or Path(last).exists():
        return
    if Path(last).suffix.lower() in ("", *endings):
        raise UsageError(
            f"there is no file {last}", f"{command} takes inputs; --outdir names the folder of the outputs"
        )


def switch(name: str) -> str:
    """Return what one types for an option of a format."""
    known = any(f.name == name for f in fields(Switches))
    return f"--{name.replace('_', '-')}" if known else f"--set {name}="


def stated(**options: Any) -> dict[str, Any]:
    """Keep the options of formats that were given."""
    return {k: v for k, v in options.items() if v is not None}
