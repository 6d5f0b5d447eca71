"""What goes astray on the way back: fields that bear the name of another rule's, as a header called ``title`` does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nxconvert.errors import MappingError
from nxconvert.format import Report
from nxconvert.mapping.imports import Importer
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.model import Rule
from nxconvert.mapping.steps import to_tree_name
from nxconvert.record import Field


class Astray:
    """Tells of fields that an import with the same mapping puts elsewhere than they were."""

    def __init__(self, layout: Layout) -> None:
        self._importer: Importer | None = None
        self._rivals: dict[int, re.Pattern[str]] = {}
        names = [r.name for r in layout.rules if r.imports and r.name is not None]
        if not any(n.captures for n in names) and len({n.text for n in names}) == len(names):
            return
        try:
            self._importer = Importer(layout, Report())
        except MappingError:
            return
        for rule in self._importer.rules:
            if rivals := [r.name.shape for r in self._importer.rules if r.name is not None and _before(r, rule)]:
                self._rivals[rule.index] = re.compile("|".join(rivals), re.DOTALL)

    def tell(self, fields: Iterable[tuple[Field, Rule, Mapping[str, str]]], report: Report, *, aside: bool) -> None:
        """Tell of each field that an import puts elsewhere: another rule takes it, or its name is read in another way.

        Parameters
        ----------
        fields
            Fields, each with the rule that found it and what that captured.
        report
            Is told.
        aside
            Whether the record is not the main one of a stack.
        """
        for f, rule, bound in fields:
            rivals = self._rivals.get(rule.index)
            if rivals is not None and self._importer is not None and rivals.fullmatch(f.name) is not None:
                choice = self._importer.choose(f, aside)
                if choice is not None and choice[0] is not rule:
                    where = f"which {choice[0].where} takes: it comes back at its place"
                    report.notice(f"{f.source} becomes the field {f.name!r}, {where}")
                    continue
            if rule.name is not None and rule.name.ambiguous and rule.imports:
                read = rule.name.match(f.name) or {}
                if any(to_tree_name(read.get(c, "")) != to_tree_name(bound.get(c, "")) for c in rule.name.captures):
                    way = ", ".join(f"{c} {name!r}" for c, name in read.items())
                    report.notice(f"{f.source} becomes the field {f.name!r}, which comes back as {way}")


class _Order(NamedTuple):
    rank: tuple[object, ...]
    place: int


def _before(rival: Rule, rule: Rule) -> bool:
    """Tell whether a rule may take a field on import before another does."""
    return rival is not rule and _Order(rival.import_rank, -rival.index) > _Order(rule.import_rank, -rule.index)
