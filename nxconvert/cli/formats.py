"""``nxconvert formats``: every format, what is read and written, what it can hold."""

from __future__ import annotations

from nxconvert.cli import options as o
from nxconvert.cli.boundary import OK, command, say


@command
def run(json: o.Json = False, debug: o.Debug = False) -> int:
    """List the formats: which are read, which are written, and what each can hold."""
    from nxconvert import registry

    known = registry.formats()
    for name, reason in registry.broken.items():
        say(f"warning: the plugin {name!r} could not be loaded: {reason}")
    if json:
        import json as json_module

        print(json_module.dumps({f.name: _described(f) for f in known.values()}))
        return OK
    print(f"{'format':<12} {'reads':<6} {'writes':<7} {'extensions':<24} holds")
    for f in known.values():
        extensions = " ".join(f.extensions[:4])
        print(f"{f.name:<12} {_yes(f.open):<6} {_yes(f.create):<7} {extensions:<24} {_holds(f)}")
    return OK


def _yes(thing: object) -> str:
    return "yes" if thing else "-"


def _holds(f: object) -> str:
    from nxconvert.format import Format

    assert isinstance(f, Format)
    if f.open is None and f.create is None:
        return f"{f.title}: {f.refused}"
    return f.holds.note or f.title


def _described(f: object) -> dict[str, object]:
    from nxconvert.format import Format

    assert isinstance(f, Format)
    return {
        "title": f.title,
        "extensions": list(f.extensions),
        "reads": f.open is not None,
        "writes": f.create is not None,
        "holds": {k: getattr(f.holds, k) for k in f.holds.__dataclass_fields__},
        "refused": f.refused,
    }
