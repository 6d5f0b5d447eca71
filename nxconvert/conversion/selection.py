"""Which records and columns are wanted, and which of the names that were asked for are nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from shlex import quote

from nxconvert.conversion.plan import Plan
from nxconvert.format import Report
from nxconvert.record import Field, Record, plain

KINDS = {"scans": "no scan has the name or title", "columns": "no scan has a column", "include": "no scan has a field"}


class Selection:
    """What a plan selects of the records of all inputs.

    Attributes
    ----------
    met
        Names and globs of the plan that matched something: those of ``scans``, ``columns`` and ``include``.
    seen
        Names that there were to match.
    lacking
        Columns that were asked for, with the records that have no such column.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.met: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self.seen: dict[str, set[str]] = {kind: set() for kind in KINDS}
        self.lacking: dict[str, list[str]] = {}

    def wants(self, record: Record) -> bool:
        """Tell whether a record is wanted, by its name or title."""
        return not self.plan.scans or self._match(
            "scans", self.plan.scans, (record.name, *record.key.values(), _title(record))
        )

    def choose(self, record: Record) -> Record:
        """Put the columns that were asked for first, or keep only them."""
        plan = self.plan
        if plan.include:
            self._match("include", plan.include, [f.name for f in record.columns])
        if not plan.columns:
            return record
        self._match("columns", plan.columns, record.fields)
        for name in plan.columns:
            if name not in record.fields:
                self.lacking.setdefault(name, []).append(record.source)
        first = [record.fields[n] for n in plan.columns if n in record.fields]
        names = {f.name for f in first}
        rest = [f for f in record.fields.values() if f.name not in names]
        if plan.only_columns:
            rest = [f for f in rest if self._stays(f)]
        return record.with_fields([*first, *rest])

    def _stays(self, f: Field) -> bool:
        """Tell whether a field stays beside the only columns that were asked for."""
        if any(fnmatchcase(f.name, g) for g in self.plan.include):
            return True
        return not f.per_row and not f.name.startswith(("motor/", "motor_start/"))

    def add(self, other: Selection) -> None:
        """Take over what another selection of the same plan met."""
        for kind in KINDS:
            self.met[kind] |= other.met[kind]
            self.seen[kind] |= other.seen[kind]
        for name, sources in other.lacking.items():
            self.lacking.setdefault(name, []).extend(sources)

    def nowhere(self) -> list[str]:
        """Say which names are nowhere, each with the nearest one that is somewhere."""
        said = []
        for kind, text in KINDS.items():
            for name in getattr(self.plan, kind):
                if name not in self.met[kind]:
                    near = get_close_matches(name, self.seen[kind], 1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    if "," in name and self.seen[kind].issuperset(name.split(",")):
                        hint = "; write " + " ".join(f"--{kind} {quote(n)}" for n in name.split(","))
                    said.append(f"{text} {name!r}{hint}")
        return said

    def tell(self, report: Report) -> None:
        """Report names that are nowhere, and columns that only some of the records have."""
        for text in self.nowhere():
            report.notice(text)
        for name, sources in self.lacking.items():
            for source in sources if name in self.met["columns"] else ():
                report.notice(f"{source} has no column {name!r}")

    def _match(self, kind: str, globs: Iterable[str], names: Iterable[str]) -> bool:
        """Note which globs match a name; tell whether any does."""
        known = [n for n in names if n]
        exact = kind == "columns"
        found = {g for g in globs if any(n == g if exact else fnmatchcase(n, g) for n in known)}
        self.met[kind] |= found
        self.seen[kind].update(known)
        return bool(found)


def _title(record: Record) -> str:
    title = record.fields.get("title")
    return str(plain(title.values)) if title is not None else ""
