"""``nxconvert mapping``: show mappings, check one's own, try it on data, draft one from data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import FAILED, OK, broken, command, complain, printable, say

if TYPE_CHECKING:
    from nxconvert.mapping import Mapping
    from nxconvert.mapping.check import DryRun
    from nxconvert.trial import Trial

SHOWN = 20
"""How many differences, or datasets that no rule takes, are printed."""

app = typer.Typer(
    help="Show mappings, check and try your own, draft one from a file.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A mapping file, or the name of a shipped mapping.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A NeXus/HDF5 file.")]


@app.command("list")
@command
def list_(json: o.Json = False, debug: o.Debug = False) -> int:
    """List the mappings that come with nxconvert."""
    from nxconvert.mapping import load, shipped_names

    known = [load(name) for name in shipped_names()]
    if json:
        _dump([{"name": m.name, "title": m.title, "shipped": True} for m in known])
        return OK
    print(f"{'mapping':<12} {'shipped':<8} for")
    for m in known:
        _table_line(f"{m.name:<12} {'yes':<8} ", m.title)
    return OK


@app.command("show", no_args_is_help=True)
@command
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a shipped mapping, or a file.")],
    debug: o.Debug = False,
) -> int:
    """Print a mapping: the file to copy for one of your own."""
    from nxconvert.mapping.load import text_of

    print(text_of(name), end="")
    return OK


@app.command("check", no_args_is_help=True)
@command
def check(
    file: File,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="A NeXus/HDF5 file to look for what each rule finds.")
    ] = None,
    *,
    on: Annotated[str | None, typer.Option("--on", metavar="DATA", help="That file, as an option.")] = None,
    limits: o.Limits,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Check a mapping, and what it finds in a file.

    Whether it is valid, whether it goes both ways, and what each rule finds in DATA.

    Exit code 1: it is wrong, or finds nothing.
    """
    from nxconvert.errors import MappingError
    from nxconvert.format import Report
    from nxconvert.mapping import load
    from nxconvert.mapping.check import dry_run, obstacles, of_name

    on = _one(data, on, "--on")
    try:
        layout = load(file)
    except MappingError as error:
        if json:
            _dump({"valid": False, "error": error.message, "tip": error.tip})
        else:
            complain(error)
        return FAILED
    standing = obstacles(layout)
    found, report, says = None, Report(), None
    names = of_name(layout)
    if on is not None:
        with _tree(on, limits, report) as tree:
            found = dry_run(layout, tree, report)
        says = layout.file.match(on.partition("::")[0]) if layout.file is not None else None
    if json:
        told: dict[str, Any] = {
            "valid": True,
            "name": layout.name,
            "invertible": all(x.elsewhere for x in standing),
            "obstacles": [{"rule": x.rule.where, "why": x.why, "elsewhere": x.elsewhere} for x in standing],
        }
        if layout.file is not None:
            taken = {name: rule.file.tree if rule else None for name, rule in names.items()}
            told["file"] = {"pattern": layout.file.text, "fields": taken} | ({"says": says} if on is not None else {})
        _dump(told | (_dry_as_dict(found) if found else {}))
    else:
        _tell_checked(layout, standing)
        for name, rule in names.items():
            print(f"of a file's name: {name} -> {rule.file.tree if rule else 'no rule takes it on import'}")
        if found is not None:
            _tell_dry(found, str(on))
            if layout.file is not None:
                said = ", ".join(f"{name} = {value}" for name, value in (says or {}).items())
                print(f"the name says {printable(said)}" if said else f"the name is not like {layout.file.text!r}")
            for notice in report.notices:
                say(f"warning: {notice}")
    return FAILED if found is not None and not any(f.objects for f in found.rules) else OK


def _tell_checked(layout: Mapping, standing: list[Any]) -> None:
    print(f"{layout.where}: valid, {len(layout.rules)} rules")
    blocking = [x for x in standing if not x.elsewhere]
    if not standing:
        print("invertible: all that it exports comes back to its place")
    elif blocking:
        print("not invertible:")
    else:
        print("invertible: all that it exports comes back, some of it at another place")
    for x in blocking or standing:
        _table_line("  ", f"{x.rule.where}: {x.rule.file.tree}: {x.why}")


def _tell_dry(found: DryRun, data: str) -> None:
    print(f"\n{data}: {_many(found.records, 'record')}")
    print(f"{'records':>7} {'objects':>7}  {'each':<6}  rule -> what it found")
    for f in found.rules:
        shapes = f" {_shapes(f.shapes)}" if f.shapes else ""
        example = printable(f.example) + shapes if f.objects else "nothing"
        example += f", {f.wrong:,} of them not {f.rule.file.constant!r}" if f.wrong else ""
        each = f.rule.each if f.rule.file.constant is None else "-"
        _table_line(f"{f.records:>7,} {f.objects:>7,}  {each:<6}  ", f"{f.rule.file.tree} -> {example}")
    if found.left:
        print(f"no rule takes {_many(len(found.left), 'dataset')}:")
        _some(f"  {path}" for path in found.left)


def _table_line(start: str, text: str) -> None:
    """Print a line of a table; on a terminal its last column is broken into lines of its own."""
    for line in broken(text, len(start)):
        print(start + line)
        start = " " * len(start)


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return "(" + "; ".join("x".join(map(str, s)) or "one value" for s in shapes) + ")"


def _dry_as_dict(found: DryRun) -> dict[str, Any]:
    return {
        "records": found.records,
        "rules": [
            {
                "where": f.rule.where,
                "tree": f.rule.file.tree,
                "field": f.rule.file.field,
                "each": f.rule.each,
                "records": f.records,
                "objects": f.objects,
                "shapes": [list(s) for s in f.shapes],
                "wrong": f.wrong,
                "example": f.example,
            }
            for f in found.rules
        ],
        "left": found.left,
    }


@app.command("test", no_args_is_help=True)
@command
def try_out(
    file: File,
    data: Data,
    *,
    limits: o.Limits,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Try a mapping on a file: out and back.

    The file is exported, imported again, and all that the mapping takes is compared.

    Values, types, units and places must be the same. Exit code 1: something differs, and where.
    """
    from nxconvert.conversion import Plan
    from nxconvert.trial import out_and_back

    told = out_and_back(file, data, Plan(policy=limits.policy))
    if json:
        _dump(_trial_as_dict(told))
    else:
        _tell_trial(told, data)
    return OK if told.same else FAILED


def _tell_trial(told: Trial, data: str) -> None:
    for notice in told.notices:
        say(f"note: {notice}")
    _some((f"note: {where}: {at} came back as {now}, as a one-way rule says" for where, at, now in told.moved), say)
    _some(f"{difference.where}: {_said(difference)}" for difference in told.differences)
    what = f"{_many(told.records, 'record')}, {_many(told.fields, 'field')}"
    count = _many(len(told.differences), "difference")
    print(f"the same: {what} out and back" if told.same else f"{count} in {what}: {data}")


def _some(lines: Iterable[str], tell: Callable[[str], None] = print) -> None:
    """Tell the first lines, and how many more there are."""
    known = list(lines)
    for line in known[:SHOWN]:
        tell(printable(line))
    if len(known) > SHOWN:
        tell(f"... and {len(known) - SHOWN:,} more; --json has all")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _said(difference: Any) -> str:
    d, note = difference, f" ({difference.note})" if difference.note else ""
    if not d.b:
        return f"{d.a}: did not come back{note}"
    if not d.a:
        return f"came back with {d.b}, which was not there{note}"
    kind = "" if d.kind in ("value", "attribute") else f"{d.kind} "
    return f"{kind}{d.a} came back as {d.b}{note}"


def _trial_as_dict(told: Trial) -> dict[str, Any]:
    return {
        "same": told.same,
        "records": told.records,
        "fields": told.fields,
        "compared": told.compared,
        "differences": [{k: getattr(d, k) for k in ("where", "kind", "a", "b", "note")} for d in told.differences],
        "moved": [{"where": w, "a": a, "b": b} for w, a, b in told.moved],
        "notices": told.notices,
    }


@app.command("explain", no_args_is_help=True)
@command
def explain(
    data: Data,
    *,
    limits: o.Limits,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Say which mapping --mapping auto takes, and why.

    Which paths of each mapping are in the file, and which are not.

    Exit code 1: none fits.
    """
    from nxconvert.format import Report
    from nxconvert.mapping.check import chosen, conditions, ranked

    report = Report()
    with _tree(data, limits, report) as tree:
        taken = chosen(tree, report)
        told = [(m, conditions(m, tree, report)) for m in ranked()]
    if json:
        keys = ("path", "there", "found", "missing")
        _dump(
            {
                "mapping": taken.name if taken else None,
                "considered": [
                    {"name": m.name, "when": [{k: getattr(c, k) for k in keys} for c in found]} for m, found in told
                ],
            }
        )
        return OK if taken else FAILED
    print(f"{data}: {f'the mapping {taken.name}: {taken.title}' if taken else 'no mapping fits'}")
    for m, found in told:
        fits = bool(found) and all(c.there for c in found)
        verdict = "taken" if m is taken else "fits too, but asks for less" if fits else "does not fit"
        verdict = verdict if found else "to be named, as it says nothing of when it fits"
        print(f"\n{m.name}: {verdict}")
        for c in found:
            reason = printable(c.found) if c.there else f"there is no {c.missing} in {printable(c.found) or '/'}"
            print(f"  {'+' if c.there else '-'} {c.path}: {reason}")
    return OK if taken else FAILED


@app.command("new", no_args_is_help=True)
@command
def new(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="A NeXus/HDF5 file of the layout.")] = None,
    *,
    from_: Annotated[str | None, typer.Option("--from", metavar="DATA", help="That file, as an option.")] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; default: standard output.")
    ] = "-",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The mapping's name; default: the file's.")] = "",
    limits: o.Limits,
    overwrite: o.Overwrite = False,
    debug: o.Debug = False,
) -> int:
    """Draft a mapping from a file, to be edited.

    It has the groups of columns, the motors, titles and times.
    """
    from pathlib import Path

    from nxconvert.errors import UsageError
    from nxconvert.format import Report
    from nxconvert.mapping.draft import draft

    data = _one(data, from_, "--from")
    if data is None:
        raise UsageError("missing argument 'DATA'", "write nxconvert mapping new DATA -o FILE")
    target = Path(output)
    if output != "-" and target.exists() and not overwrite:
        raise UsageError(f"{output} exists", "choose another name, or replace it with --overwrite")
    called = name or (target.stem if output != "-" else Path(data).stem)
    with _tree(data, limits, Report()) as tree:
        text = draft(tree, called, Path(data).name)
    if output == "-":
        print(text, end="")
        return OK
    target.write_text(text, "utf-8", newline="\n")
    say(f"wrote {output}: edit it, then 'nxconvert mapping check {output} --on {data}'")
    return OK


def _one(data: str | None, option: str | None, name: str) -> str | None:
    """Return the file that is named by its position or by an option.

    Raises
    ------
    UsageError
        When both name one.
    """
    from nxconvert.errors import UsageError

    if data is not None and option is not None:
        raise UsageError(f"{data} and {name} {option} both name the data", "leave one of them out")
    return data if option is None else option


def _tree(data: str, limits: o.Limits, report: Any) -> Any:
    """Open a file that is a tree."""
    from nxconvert.conversion import Plan, open_source
    from nxconvert.errors import InputError
    from nxconvert.format import Tree
    from nxconvert.location import Location

    source = open_source(Location.parse(data), Plan(policy=limits.policy), report)
    if not isinstance(source, Tree):
        source.close()
        raise InputError(f"{data} holds records, no tree", "a mapping ties a NeXus/HDF5 file to records")
    return source


def _dump(told: Any) -> None:
    import json

    print(json.dumps(told))
