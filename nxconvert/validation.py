"""Small checks of a NeXus tree: what viewers and programs need to find its plot, and what its definition requires.

They open the groups of entries and of plots, never values, so that they can follow every import. Whether a file obeys
its application definition in all is asked of pynxtools; see ``nxconvert.nxdl``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nxconvert.array import decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, NxconvertError, UsageError
from nxconvert.format import Format, Report, Tree
from nxconvert.location import Location
from nxconvert.mapping.plot import plot_of
from nxconvert.mapping.steps import parse
from nxconvert.mapping.walk import steps_there
from nxconvert.policy import Policy
from nxconvert.tree import Dataset, Group

ENTRIES = ("NXentry", "SASentry")
PLOTS = ("NXdata", "SASdata")
WITHIN = (*ENTRIES, "NXsubentry", "NXprocess", "NXinstrument", "NXdetector")
"""Classes of groups that are looked into for plots."""

DEEPEST = 4
"""How many groups below an entry are looked into."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a NeXus file.

    Attributes
    ----------
    where
        Path of the object.
    what
        What is wrong.
    grave
        Whether programs will stumble over it; otherwise it is only worth knowing.
    """

    where: str
    what: str
    grave: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass
class Validation:
    """What was looked at, and what is wrong.

    Attributes
    ----------
    file
        The file.
    entries, plots
        How many entries and NXdata were looked at.
    definitions
        The application definitions that entries name.
    problems
        What is wrong, in the order of the file.
    """

    file: str
    entries: int = 0
    plots: int = 0
    definitions: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not any(p.grave for p in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        told = [{"where": p.where, "what": p.what, "grave": p.grave} for p in self.problems]
        return {
            "file": self.file,
            "good": self.good,
            "entries": self.entries,
            "plots": self.plots,
            "definitions": self.definitions,
            "problems": told,
        }


def look_at(tree: Tree, file: str, *, notes: bool = True) -> Validation:
    """Check a tree: the default chain, signal and axes of each NXdata, units, and what definitions require.

    Parameters
    ----------
    tree
        The open tree. No values are read but those of ``definition``.
    file
        Its name, for the result.
    notes
        Whether to look for what is only worth knowing too, and whether it is NeXus at all.
    """
    told = Validation(file)
    told.problems += _chain(tree.root)
    groups = _groups(tree.root)
    entries = [g for g in groups if g.nx_class in ENTRIES]
    told.entries = len(entries)
    if not entries and notes:
        told.problems.append(Problem("/", "has no NXentry"))
    for entry in entries:
        for group, plot in _plots_below(entry):
            if plot:
                told.plots += 1
                told.problems += _plot(group, notes=notes)
            elif group.nx_class in (*ENTRIES, "NXsubentry") and (name := _definition(group)):
                told.definitions += [name] if name not in told.definitions else []
                told.problems += dict.fromkeys(_required(group, name))  # many paths may lack one group
    return told


def tell(path: Path, format: Format, policy: Policy, report: Report, name: str) -> None:
    """Check what was just written, and tell in a report of what is wrong.

    That columns have no units, or a table no signal, is no fault of an import: of those ``validate`` tells.

    Parameters
    ----------
    path, format
        The tree.
    policy
        What reading it may do.
    report
        Told of what is wrong.
    name
        What the file is called in messages.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    assert format.open is not None
    with format.open(Location(str(path)), policy, Report()) as tree:
        assert isinstance(tree, Tree)
        for problem in look_at(tree, name, notes=False).problems:
            if problem.grave:
                report.notice(f"{name}::{problem}")


def _child(group: Group, name: str) -> Any:
    try:
        return group.child(name)
    except NxconvertError:
        return None  # a link that leads nowhere


def _groups(group: Group) -> list[Group]:
    """Return the groups in a group that are no links."""
    found = (_child(group, name) for name in group if group.link(name) is None)
    return [g for g in found if isinstance(g, Group)]


def _plots_below(entry: Group) -> Iterator[tuple[Group, bool]]:
    """Yield an entry and the groups below it that may say something, each with whether it is a plot."""
    pending = [(entry, False, 0)]
    while pending:
        group, plot, depth = pending.pop(0)
        yield group, plot
        if not plot and depth < DEEPEST:
            classes = [(g, g.nx_class) for g in _groups(group)]
            pending += [(g, c in PLOTS, depth + 1) for g, c in classes if c in (*WITHIN, *PLOTS)]


def _chain(root: Group) -> Iterator[Problem]:
    """Follow the attribute ``default`` from the root to the plot."""
    group, path = root, ""
    for _ in range(DEEPEST + 2):
        default = group.attrs.get("default")
        if not isinstance(default, str) or not default:
            if group.nx_class not in PLOTS:
                yield Problem(path or "/", "no attribute default leads on from it to a plot", grave=False)
            return
        below: Any = root if default.startswith("/") else group
        for part in default.strip("/").split("/"):
            below = _child(below, part) if isinstance(below, Group) else None
        if below is None:
            yield Problem(path or "/", f"its attribute default names {default!r}, which is not there")
            return
        if not isinstance(below, Group):
            return  # an old file names the signal itself
        path = default if default.startswith("/") else f"{path}/{default}"
        group = below
    yield Problem("/", "the attributes default lead on without an end")


def _names(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else np.ravel(value).tolist() if value is not None else []
    return [v for v in values if isinstance(v, str)]


def _plot(group: Group, *, notes: bool) -> Iterator[Problem]:
    """Check that the signal and axes of an NXdata are there, fit each other and have units."""
    attrs, path = group.attrs, group.path  # read once, as that takes longest
    signal = _names(attrs.get("signal"))[:1]
    if signal and _dataset(group, signal[0]) is None:
        yield Problem(path, f"its signal {signal[0]!r} is not there")
        return
    plot = plot_of(group)
    shown = _dataset(group, plot.signal)
    if shown is None:
        yield Problem(path, "names no signal, so that viewers have nothing to plot", grave=False)
        return
    for name in dict.fromkeys(a for a in _names(attrs.get("axes")) if a != "."):
        axis = _dataset(group, name)
        if axis is None:
            yield Problem(path, f"its axis {name!r} is not there")
        elif name not in (plot.spans or {}) and name != plot.signal:
            yield Problem(path, f"the axis {name!r} of {_shape(axis)} does not fit the signal of {_shape(shown)}")
    beside = [(name, plot.signal, "auxiliary signal") for name in _names(attrs.get("auxiliary_signals"))]
    beside += [(name, of, "errors") for name, of in (plot.errors or {}).items()]
    for name, of, what in beside:
        one, other = _dataset(group, name), _dataset(group, of)
        if one is None:
            yield Problem(path, f"its {what} {name!r} is not there")
        elif other is not None and one.shape != other.shape:
            yield Problem(path, f"{name!r} ({what}) of {_shape(one)} has not the shape of {of!r}, {_shape(other)}")
    shown_names = (*(plot.spans or {}), plot.signal) if notes else ()
    without = [n for n in shown_names if _lacks_units(_dataset(group, n))]
    if without:
        yield Problem(path, f"no units are said of {', '.join(without)}", grave=False)


def _dataset(group: Group, name: str) -> Dataset | None:
    node = _child(group, name) if name and name in group else None
    return node if isinstance(node, Dataset) else None


def _shape(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.shape)) or "one value"


def _lacks_units(node: Any) -> bool:
    """Tell whether a number has no units; text needs none."""
    return isinstance(node, Dataset) and node.dtype.kind in "iuf" and not node.attrs.get("units")


def _definition(entry: Group) -> str:
    node = _dataset(entry, "definition")
    if node is None or node.size != 1 or not is_text(node.dtype):
        return ""
    return str(decode(node.read()).flat[0]).strip()


class _Below(Tree):
    """A group as a tree of its own."""

    def __init__(self, root: Group) -> None:
        self.root = root


@lru_cache(maxsize=1)
def requirements() -> dict[str, dict[str, list[str | list[str]]]]:
    """Return what definitions require: ``required`` paths, a list of which stands for any of them, and ``units``."""
    import yaml

    loaded = yaml.safe_load((Path(__file__).parent / "definitions.yaml").read_text("utf-8"))
    return dict(loaded)


def _required(entry: Group, definition: str) -> Iterator[Problem]:
    known = requirements().get(definition, {"required": [], "units": []})
    tree = _Below(entry)
    for wanted in known["required"]:
        ways = [wanted] if isinstance(wanted, str) else wanted
        found = [(path, *steps_there(parse(path), tree, Report())) for path in ways]
        path, count, at = next((f for f in found if f[1] == len(parse(f[0]))), found[0])
        where = entry.path.rstrip("/") + at
        if count < len(parse(path)):
            yield Problem(where, f"{definition} requires {_step(path, count)} in it")
        elif path in known["units"] and _lacks_units(entry[at]):
            yield Problem(where, f"{definition} requires its units")


def _step(path: str, number: int) -> str:
    """Say what a step asks for: a name, or a group of a class."""
    (step,) = parse(path.split("/")[number])
    if not step.captures:
        return f"{step.name} ({step.classes[0]})" if step.classes else step.name
    return f"a group of {' or '.join(step.classes)}"


def validate(location: str | os.PathLike[str], *, nxdl: bool = False) -> Validation:
    """Check a NeXus file, as ``convert`` does after an import.

    Parameters
    ----------
    location
        The file.
    nxdl
        Whether pynxtools is asked too whether it obeys the application definitions that it names.

    Returns
    -------
    Validation
        ``good``, and the ``problems``.

    Raises
    ------
    InputError
        When the file cannot be read, or is no tree.
    UsageError
        When the location is a part of a file, or pynxtools is wanted and is not installed.
    """
    from nxconvert import nxdl as pynxtools
    from nxconvert.conversion import Plan, open_source

    place = Location.parse(os.fspath(location))
    if place.inner.strip("/") or place.is_stream:
        raise UsageError(f"{place} is no file", "whole files are validated: leave out what comes after ::")
    if nxdl:
        pynxtools.require()
    with open_source(place, Plan(), Report()) as source:
        if not isinstance(source, Tree):
            raise InputError(f"{location} holds records, no tree", "a NeXus/HDF5 file is wanted")
        told = look_at(source, place.file)
    if nxdl:
        told.problems += pynxtools.problems(place.path)
    return told
