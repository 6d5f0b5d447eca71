"""``nxconvert formats``: every format, what is read and written, what it can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from nxconvert.cli import options as o
from nxconvert.cli.boundary import OK, broken, command, say

if TYPE_CHECKING:
    from nxconvert.format import Format, Option


@command
def run(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A format, to show its options; default: list all.")
    ] = None,
    json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List the formats, or show one with its options.

    The list says which are read, which are written, and what each can hold.
    """
    from nxconvert import registry

    known = registry.formats() if name is None else {name: registry.by_name(name)}
    for plugin, reason in registry.broken.items() if name is None else ():
        say(f"warning: the plugin {plugin!r} could not be loaded: {reason}")
    if json:
        import json as json_module

        print(json_module.dumps({f.name: _described(f) for f in known.values()}))
        return OK
    if name is not None:
        for line in _lines(known[name]):
            print(line)
        return OK
    print(f"{'format':<12} {'reads':<6} {'writes':<7} {'extensions':<24} holds")
    for f in known.values():
        extensions = " ".join(f.extensions[:4])
        start = f"{f.name:<12} {_yes(f.open):<6} {_yes(f.create):<7} {extensions:<24} "
        for line in broken(_holds(f), len(start)):
            print(start + line)
            start = " " * len(start)
    return OK


def _yes(thing: object) -> str:
    return "yes" if thing else "-"


def _holds(f: Format) -> str:
    if f.open is None and f.create is None:
        return f"{f.title}: {f.refused}"
    return f.holds.note or f.title


def _lines(f: Format) -> Iterator[str]:
    """Describe one format: what it is, then its options as they are typed."""
    ways = [word for word, there in (("read", f.open), ("written", f.create)) if there]
    yield f"{f.name}: {f.title}, {' and '.join(ways) or 'not read'}"
    yield f"extensions: {' '.join(f.extensions)}"
    yield f"holds: {_holds(f)}" if ways else f.refused
    for title, options in (("writing", f.write_options), ("reading", f.read_options)):
        if options:
            yield f"options for {title}:"
        for option in options:
            yield f"  {_typed(option)}"
            yield f"      {option.help}" + (f" [default: {option.default}]" if option.default not in ("", None) else "")


def _typed(option: Option) -> str:
    switch = o.switch(option.name)
    if isinstance(option.default, bool):
        return f"{switch}true|false" if switch.endswith("=") else switch
    value = "|".join(option.choices) or "VALUE"
    return f"{switch}{value}" if switch.endswith("=") else f"{switch} {value}"


def _described(f: Format) -> dict[str, object]:
    return {
        "title": f.title,
        "extensions": list(f.extensions),
        "reads": f.open is not None,
        "writes": f.create is not None,
        "holds": {k: getattr(f.holds, k) for k in f.holds.__dataclass_fields__},
        "refused": f.refused,
        "options": {
            kind: {x.name: {"default": x.default, "choices": list(x.choices), "help": x.help} for x in options}
            for kind, options in (("write", f.write_options), ("read", f.read_options))
        },
    }
