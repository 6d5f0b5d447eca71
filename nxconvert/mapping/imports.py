"""Records -> tree: applying a mapping in the direction of import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from nxconvert.array import Values
from nxconvert.errors import MappingError, UsageError
from nxconvert.format import Report
from nxconvert.mapping.beside import Beside, refuse_another
from nxconvert.mapping.made import Earlier, Imported, name_of, path_to
from nxconvert.mapping.model import MISSING_ROWS, ROLES, Rule
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.overlap import Overlap
from nxconvert.mapping.plot import GUESSED
from nxconvert.mapping.plotted import PlotGroup, add_default_groups
from nxconvert.mapping.stack import STACK_ROW, Stacks, is_main, keyed
from nxconvert.mapping.stacked import stack_tree
from nxconvert.mapping.stated import imported, takes, translated
from nxconvert.mapping.steps import SLASH, from_tree_name
from nxconvert.record import Field, Record, plain
from nxconvert.tree import NewDataset, NewGroup


class Importer:
    """Makes trees of records by one mapping."""

    def __init__(self, layout: Layout, report: Report) -> None:
        self.layout, self.report = layout, report
        self._earlier = Earlier()
        self._beside = Beside(layout, report, self._earlier)
        self._named: dict[str, int] = {}
        self._stacks = Stacks(layout, report) if layout.stack is not None else None
        self._overlap = Overlap(layout)
        self.rules = [r for r in layout.rules if r.imports and r.name is not None]
        if not self.rules:
            raise MappingError(f"{layout.where}: no rule of {layout.name} can be imported", "remove direction: export")
        ranked = sorted(self.rules, key=lambda r: (r.import_rank, -r.index))  # of equals the first counts
        self._literal = {r.file.field: r for r in ranked if r.name and not r.name.captures}

    def translated(self, record: Record) -> Record:
        """Return a record whose values are those of the tree, where rules state units, scale, dtype or names."""
        if not any(r.file.states for r in self.rules):
            return record
        fields = []
        aside = not is_main(self.layout, self._key(record))
        for f in record.fields.values():
            choice = self.choose(f, aside)
            states = choice is not None and choice[0].file.states
            fields.append(imported(choice[0], f, self.report) if choice is not None and states else f)
        return translated(record, fields)

    def tree(self, record: Record) -> Imported:
        """Return the tree of a record that was translated. Values stay lazy.

        Raises
        ------
        UsageError
            When no rule takes any of its fields, or a guessed role would become a fixed name.
        """
        made = Imported(NewGroup("NXroot"))
        groups: dict[str, PlotGroup] = {}
        key = self._key(record)
        aside = not is_main(self.layout, key)
        for f in record.fields.values():
            choice = self.choose(f, aside)
            if choice is None and self._in_stack(f.name):
                continue
            if choice is None:
                self.report.lose(f.name, record.source, f"no rule of the mapping {self.layout.name} takes it")
                continue
            rule, captured = choice
            if f.guessed and rule.role and rule.name is not None and not rule.name.captures:
                raise UsageError(
                    f"{f.source}: that it is the {f.role} was only guessed, and {rule.where} would name it {f.name}",
                    "confirm it with --roles",
                )
            self._place(made, groups, rule, {**key, **captured}, f, record.source)
        if not made.paths and not made.root.children:
            raise UsageError(
                f"{record.source}: no rule of the mapping {self.layout.name} takes any of its fields",
                "choose another with --mapping; 'records' takes any table",
            )
        for group in groups.values():
            group.finish()
        self._beside.constants(made, key)
        self._beside.also(made, key)
        self._beside.absent(made, record, key)
        self._beside.attributes(made, record, key)
        self._beside.links(made, key)
        if self._stacks is None:
            add_default_groups(made, record, key, self.layout)
        made.lead(len(self.layout.own) if self._stacks is not None else 0)
        return made

    def keyed(self, record: Record) -> Record:
        """Return a record with the key that the mapping needs, as far as the name of its file says it."""
        return keyed(record, self.layout, self._named)

    @property
    def stacks(self) -> bool:
        """Whether the mapping puts records behind each other."""
        return self._stacks is not None

    def stack(self, record: Record, written: Record, made: Imported) -> None:
        """Note what the stacks need of a record that is being written; ``written`` is it as it was translated."""
        if self._stacks is not None:
            key = self._key(record)
            rows = Field(STACK_ROW, Values(np.empty(0, np.int64)), per_row=True)
            self._stacks.add(record, written, made.paths, key, self.place(rows, record) or "")

    def stacked(self) -> Iterator[NewGroup]:
        """Yield the tree of each stack, when all its records have been written."""
        for stack in self._stacks.made() if self._stacks is not None else ():
            yield stack_tree(stack, self.layout, self._beside).root

    def place(self, f: Field, record: Record) -> str | None:
        """Return the path of the dataset that a field of a record becomes; None when no rule takes it."""
        key = self._key(record)
        choice = self.choose(f, not is_main(self.layout, key))
        if choice is None:
            return None
        return path_to(choice[0].steps, {**key, **choice[1]}, choice[0])

    def _in_stack(self, name: str) -> bool:
        """Tell whether a rule of the stack takes a field."""
        return any(name == r.file.field or name in r.file.also for r in self.layout.stacked)

    def _key(self, record: Record) -> dict[str, str]:
        key = {k: v for k, v in record.key.items() if v}
        if key and not set(key) & set(self.layout.key) and self.layout.key:
            return {self.layout.key[0]: "_".join(key.values())}
        return key

    def choose(self, f: Field, aside: bool = False) -> tuple[Rule, dict[str, str]] | None:
        """Return the rule that takes a field, and what it captures of the name; None when no rule does.

        ``aside`` leaves out the rules of what the records of a stack share, which only the main one of them says.
        """
        over = self.layout.stack.over if aside and self.layout.stack is not None else ""
        best: tuple[Rule, dict[str, str]] | None = None
        literal = self._literal.get(f.name)
        for rule in self.rules if literal is None else [literal, *self.rules]:
            if rule.role and ROLES[rule.role] != f.role:
                continue
            if over and not rule.binds(over):
                continue
            if rule.each == ("record" if f.per_row else "row"):
                continue
            if rule.file.guards and not takes(rule.file, f.dtype, len(f.shape), exact=False):
                continue
            if best is not None and rule.import_rank <= best[0].import_rank:
                continue
            assert rule.name is not None
            captured = rule.name.match(f.name)
            if captured is not None:
                best = (rule, captured)
        return best

    def _place(
        self, made: Imported, groups: dict[str, PlotGroup], rule: Rule, bound: Mapping[str, str], f: Field, source: str
    ) -> None:
        self._tell_overlap(rule, bound, f, source)
        if rule.steps[-1].attribute:
            for attr in f.attrs:
                self.report.lose(f"{f.name}@{attr}", source, f"{rule.where} makes an attribute of it, which has none")
        if rule.index in self.layout.on_datasets:
            made.attributes.append((rule, bound, f, source))
            return
        group, name = made.home(rule.steps, bound, rule)
        if rule.steps[-1].attribute:
            refuse_another(group.path, group.attrs, name, f)
            group.attrs[name] = plain(f.values)
            return
        if not f.per_row and self._earlier.known(f"{group.path}/{name}", f):
            return
        dataset = NewDataset(f.values, f.attrs)
        if isinstance(f.mask, Values):
            dataset.set_attr(MISSING_ROWS, np.flatnonzero(f.mask.read()))
        if f.guessed:
            dataset.set_attr(GUESSED, str(f.role or "none"))
        group.add(name, dataset)
        self._earlier.refuse_twice(dataset.path, source)
        made.paths[f.name] = dataset.path
        if rule.role:
            groups.setdefault(group.path, PlotGroup(group)).add(name, f, dataset)

    def _tell_overlap(self, rule: Rule, bound: Mapping[str, str], f: Field, source: str) -> None:
        """Tell of a field that an export with the same mapping would give another name."""
        names = [name_of(step, bound, rule) for step in rule.steps]
        where = "/".join(n for n in names if n)
        assert rule.name is not None
        last = rule.steps[-1]
        kept = {k: v if last.attribute and k == last.name else from_tree_name(v) for k, v in bound.items()}
        if SLASH in f.name and (again := rule.name.fill(kept)) != f.name:
            self.report.notice(f"{source}: {f.name} is written to {where}, and comes back as {again}")
        found = self._overlap.name(rule, names, bound, f)
        if found is not None:
            self.report.notice(
                f"{source}: {f.name} is written to {where}, which {found[1].where} takes: it comes back as {found[0]}"
            )
