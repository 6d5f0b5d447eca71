"""Drafting a mapping from a file: what is there, as rules to be edited."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import field

from nxconvert.array import is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, NxconvertError
from nxconvert.format import Report, Tree
from nxconvert.mapping.find import finds
from nxconvert.mapping.load import compile_text
from nxconvert.mapping.plot import plot_of
from nxconvert.tree import Dataset, Group

DEPTH = 8
"""How deep groups below an entry are looked at."""

FEW = 3
"""From how many groups of one class on they share a rule, though their datasets have other names."""

NAMES = 6
"""Up to how many names of datasets have a rule each."""

POSITIONS = frozenset({"value", "position", "raw_value"})
"""What the position of an NXpositioner is called."""

COMMON = {"title": "title", "start_time": "start_time", "end_time": "end_time"}
"""Fields that have the same name everywhere."""

_PLAIN = re.compile(r"[^\[\]{}:@*/][^\[\]{}:/]*")


@dataclass
class _Rule:
    tree: str
    field: str
    each: str
    comment: str = ""


@dataclass
class _Part:
    """A group below the entry: its path as steps, the path in the file, its datasets."""

    steps: str
    path: str
    group: Group
    datasets: dict[str, Dataset]
    kept: list[_Rule] = field(default_factory=list)


def draft(tree: Tree, name: str, source: str) -> str:
    """Return the text of a mapping for files like one that is open.

    The first entry that has columns is looked at. The NXdata that viewers plot, or else the group with most columns of
    one length, gives the columns under their own names; every other group gives fields with its path before their
    names, so that all find their way back. Groups of one class that are built alike share a rule.

    Parameters
    ----------
    tree
        The open file.
    name
        The mapping's name.
    source
        The file's name, for the comments.

    Raises
    ------
    InputError
        When it has no groups with datasets.
    """
    entry_name, entry = _entry(tree.root)
    parts = list(_parts(entry, "", "", 0, set()))
    main = _main(parts, entry)
    if main is None:
        raise InputError(f"{source} has no group with arrays of numbers", "'nxconvert ls FILE' shows what it has")
    rows = _rows(main)
    head = _header_rules(entry)
    rules, taken = _main_rules(main, {r.field for r in head}), {d.identity for d in main.datasets.values()}
    for alike in _alike([p for p in parts if p is not main and p.path]):
        rules += _group_rules(alike, rows, taken)
    known = {r.tree for r in head}
    rules = _told_apart(head + [r for r in rules if r.tree not in known])
    text = _written(name, source, entry_name, entry, main, rules)
    return _without_idle(text, name, tree)


def _entry(root: Group) -> tuple[str, Group]:
    groups = [(n, g) for n in root if isinstance(g := _child(root, n), Group)]
    entries = [(n, g) for n, g in groups if g.nx_class in ("NXentry", "SASentry")] or groups
    for name, group in entries:
        if _main(list(_parts(group, "", "", 0, set())), group) is not None:
            return name, group
    raise InputError(
        f"{root.source.rstrip('/:')} has no group with arrays of numbers", "'nxconvert ls FILE' shows what it has"
    )


def _child(group: Group, name: str) -> object:
    try:
        return group.child(name)
    except NxconvertError:
        return None  # a link that leads nowhere


def _parts(group: Group, steps: str, path: str, depth: int, seen: set[Hashable]) -> Iterator[_Part]:
    """Yield a group and the groups below it that have datasets; each once, and no group that is a link."""
    if depth > DEPTH or (group.identity is not None and group.identity in seen):
        return
    seen.add(group.identity)
    datasets = {n: d for n in group if _PLAIN.fullmatch(n) and isinstance(d := _child(group, n), Dataset)}
    yield _Part(steps, path, group, datasets)
    for name in group:
        if group.link(name) is None and isinstance(below := _child(group, name), Group) and _PLAIN.fullmatch(name):
            step = f"{name}:{below.nx_class}" if below.nx_class else name
            if below.nx_class == "NXinstrument" and name != "instrument":
                step = f"{{beamline={name}:NXinstrument}}"
            yield from _parts(below, f"{steps}/{step}".lstrip("/"), f"{path}/{name}".lstrip("/"), depth + 1, seen)


def _columns(part: _Part) -> list[tuple[int, ...]]:
    return [d.shape for d in part.datasets.values() if d.shape and not is_text(d.dtype) and d.dtype.names is None]


def _rows(part: _Part) -> int:
    """Return the length that most arrays of a group have."""
    lengths = Counter(s[0] for s in _columns(part))
    return lengths.most_common(1)[0][0] if lengths else 0


def _main(parts: list[_Part], entry: Group) -> _Part | None:
    """Return the group of the columns: the most arrays of one length, an NXdata before others."""
    default = entry.attrs.get("default")

    def worth(part: _Part) -> tuple[bool, bool, bool, int]:
        rows = _rows(part)
        many = sum(s[0] == rows for s in _columns(part))
        plot = part.group.nx_class in ("NXdata", "SASdata")
        return (rows > 1 and many > 1, plot or part.path == "measurement", part.path == default, many)

    able = [p for p in parts if p.path and _columns(p)] or [p for p in parts if _columns(p)]
    return max(able, key=worth, default=None)


def _below(steps: str, last: str) -> str:
    """Join two parts of a path, the first of which may be empty."""
    return f"{steps}/{last}" if steps else last


def _main_rules(main: _Part, known: set[str]) -> list[_Rule]:
    """Return the rules of the columns; ``known`` are names of fields that others have."""
    rules = []
    plot = plot_of(main.group)
    if main.group.nx_class in ("NXdata", "SASdata") and plot.signal:
        found = (("x", "axes", ""), ("y", "signal", "row"), ("e", "errors", ""), ("a", "auxiliary_signals", "row"))
        for capture, role, each in found:
            if names := plot.names(role):
                text = _below(main.steps, f"{{{capture}@{role}}}")
                rules.append(_Rule(text, f"{{{capture}}}", each, f"what the attributes name: {_some(names)}"))
    rest = [n for n in main.datasets if n not in {x for r in ("axes", "signal", "errors") for x in plot.names(r)}]
    rest = [n for n in rest if n not in plot.auxiliary]
    if rest or not rules:
        each = "" if rules else "row"
        short = [n for n in rest if not main.datasets[n].shape]
        rules.append(_Rule(_below(main.steps, "{counter}"), "{counter}", each, f"the columns: {_some(rest)}"))
        if short and each and main.steps:
            header = f"{main.path}/{{value}}"
            rules.append(_Rule(f"{main.steps}/{{value}}", header, "record", f"single values: {_some(short)}"))
        rules += [_Rule(f"{main.steps}/{n}", f"{main.path}/{n}", "") for n in rest if n in known and main.steps]
    return rules


def _header_rules(entry: Group) -> list[_Rule]:
    """Return the rules for the datasets of the entry itself."""
    rules = []
    for name in entry:
        node = _child(entry, name)
        if isinstance(node, Dataset) and _PLAIN.fullmatch(name) and node.size < 100 and node.dtype.names is None:
            rules.append(_Rule(name, COMMON.get(name, f"entry/{name}"), "record"))
    return sorted(rules, key=lambda r: r.tree not in COMMON)


def _alike(parts: list[_Part]) -> list[list[_Part]]:
    """Put groups of one class below one group together, when they share names of datasets."""
    found: dict[tuple[str, str], list[_Part]] = {}
    for part in parts:
        above = part.path.rpartition("/")[0]
        found.setdefault((above, part.group.nx_class or part.path), []).append(part)
    out = []
    for same in found.values():
        shared = Counter(n for p in same for n in p.datasets)
        if len(same) >= FEW or (len(same) > 1 and any(count > 1 for count in shared.values())):
            out.append(same)
        else:
            out += [[p] for p in same]
    return out


def _group_rules(alike: list[_Part], rows: int, taken: set[Hashable]) -> list[_Rule]:
    first = alike[0]
    new = {
        (p.path, n): d
        for p in alike
        for n, d in p.datasets.items()
        if (d.identity is None or d.identity not in taken) and d.dtype.names is None
    }
    if not new:
        return []
    taken |= {d.identity for d in new.values()}
    each = "" if any(d.shape and d.shape[0] == rows > 1 for d in new.values()) else "record"
    steps = {p.path: p.steps for p in alike}
    some = []  # where a rule for all would take columns a second time
    if len(new) <= NAMES and len(new) < sum(len(p.datasets) for p in alike):
        some = [_Rule(f"{steps[path]}/{n}", f"{path}/{n}", each) for path, n in new]
    if len(alike) == 1:
        if some:
            return some
        names = [n for _, n in new]
        return [_Rule(f"{first.steps}/{{value}}", f"{first.path}/{{value}}", each, _some(names))]
    above, _, step = first.steps.rpartition("/")
    capture = re.sub(r"\W", "_", step.rpartition(":")[2].removeprefix("NX").rstrip("}")) or "group"
    prefix = first.path.rpartition("/")[0]
    names = list(dict.fromkeys(n for _, n in new))
    groups = [p.path.rpartition("/")[2] for p in alike]
    kind = f"{{{capture}:{first.group.nx_class}}}"
    motors = first.group.nx_class == "NXpositioner" and not POSITIONS.isdisjoint(names)
    if len(names) > NAMES or (len(names) > 1 and len(new) < 2 * len(names) and not motors):
        if some:
            return some
        at = "/".join(p for p in (above, kind, "{value}") if p)
        called = "/".join(p for p in (prefix, f"{{{capture}}}", "{value}") if p)
        return [_Rule(at, called, each, f"{len(groups)} groups: {_some(groups)}")]
    found = []
    for name in names:
        at = "/".join(p for p in (above, kind, name) if p)
        motor = motors and name in POSITIONS
        called = "motor" if motor else "/".join(p for p in (prefix, capture, name) if p)
        found.append(_Rule(at, f"{called}/{{{capture}}}", each, f"{len(groups)} groups: {_some(groups)}"))
    return found


def _told_apart(rules: list[_Rule]) -> list[_Rule]:
    """Let no two rules have fields that only their captures tell apart: none could say whose a name is on import."""
    seen: set[tuple[str, str]] = set()
    for r in rules:
        role = "".join(re.findall(r"@(\w+)\}$", r.tree))
        above = re.sub(r":\w+|\{[^}]*\}", "", r.tree).strip("/").split("/")
        inner = re.findall(r"\{(\w+)", r.field)[:1]
        for word in [w for w in (*reversed(above), *inner, r.tree) if w and w not in r.field.split("/")]:
            if (role, _shape(r.field)) not in seen:
                break
            before, brace, after = r.field.partition("{")
            r.field = f"{before}{re.sub(r'[{}]', '', word)}/{brace}{after}" if brace else f"{word}/{before}"
        seen.add((role, _shape(r.field)))
    return rules


def _shape(name: str) -> str:
    return re.sub(r"\{\w+\}", "{}", name)


def _some(names: list[str], count: int = 4) -> str:
    shown = ", ".join(re.sub(r"[^\x20-\x7e]", "?", n) for n in names[:count])
    return shown + (f" and {len(names) - count} more" if len(names) > count else "")


def _written(name: str, source: str, entry_name: str, entry: Group, main: _Part, rules: list[_Rule]) -> str:
    kind = f":{entry.nx_class}" if entry.nx_class else ""
    one = not main.steps and not kind  # a group without a class that has the columns itself: there is no other alike
    plain = _PLAIN.fullmatch(entry_name)
    under = f"/{{scan={entry_name}{kind}}}" if plain else f"/{{scan{kind}}}"
    when = _below(f"/{{scan{kind}}}", re.sub(r"=[^:}]*", "", main.steps)).rstrip("/")
    if one and plain:
        under = when = f"/{entry_name}"
    if not main.group.nx_class or not main.steps:
        when += "/" + next(iter(main.datasets))
    trees = [under, *(r.tree for r in rules)]
    # a name that is in no field's name comes back as it was only when the key of the record tells it
    key = [name for name in ("scan", "beamline") if any(f"{{{name}=" in t or f"{{{name}:" in t for t in trees)]
    lines = [
        f"# Drafted by 'nxconvert mapping new' from {_some([source])}. Edit it, then:",
        "#   nxconvert mapping check FILE --on DATA    what each rule finds, and whether all comes back",
        "#   nxconvert mapping test FILE DATA          out and back",
        "nxconvert: 1",
        f"name: {json.dumps(name)}",
        f"title: {json.dumps(f'files like {source}')}",
        "# One record for each of these: the capture {scan} is its name." if "{scan" in under else "# There is one.",
        f"record: [{', '.join(key)}]",
        "# How 'auto' tells this layout from others, once it is shipped.",
        f"when: [{json.dumps(when)}]",
        "# All paths of the rules stand under this one; the name after = is for records that have none.",
        f"under: {json.dumps(under)}",
    ]
    if "end_time" in entry:
        lines += ["# A scan without it is unfinished, and skipped.", "complete: end_time"]
    lines.append("rules:")
    for r in rules:
        each = f", each: {r.each}" if r.each else ""
        comment = f"  # {r.comment}" if r.comment else ""
        lines.append(
            f"  - {{tree: {json.dumps(r.tree, ensure_ascii=False)}, "
            f"field: {json.dumps(r.field, ensure_ascii=False)}{each}}}{comment}"
        )
    return "\n".join(lines) + "\n"


def _without_idle(text: str, name: str, tree: Tree) -> str:
    """Leave out the rules that find nothing in the file itself, as others took it."""
    layout = compile_text(text, f"{name}.yaml")
    busy = {f.rule.index for _, found in finds(tree, layout, Report()) for f in found}
    lines = text.splitlines()
    start = lines.index("rules:") + 1
    kept = [line for i, line in enumerate(lines[start:]) if i in busy]
    if not kept:
        raise InputError(f"{tree.root.source}: its datasets cannot be read", "'nxconvert ls FILE' shows what it has")
    return "\n".join([*lines[:start], *kept]) + "\n"
