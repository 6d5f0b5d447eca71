"""Records -> tree: applying a mapping in the direction of import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from nxconvert.array import TEXT, Values, decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError, MappingError, UsageError
from nxconvert.format import Report
from nxconvert.mapping.absent import is_whole, stand_in, whole
from nxconvert.mapping.model import MISSING_ROWS, ROLES, Rule
from nxconvert.mapping.model import Mapping as Layout
from nxconvert.mapping.overlap import Overlap
from nxconvert.mapping.plot import GUESSED
from nxconvert.mapping.stack import STACK_ROW, Made, Stacks, is_main, keyed
from nxconvert.mapping.stated import imported, literal, takes, translated
from nxconvert.mapping.steps import SLASH, Step, from_tree_name, named_from, parse, path_of, to_tree_name
from nxconvert.record import Field, Record, Role, plain
from nxconvert.tree import Link, NewDataset, NewGroup, Node, Virtual


@dataclass
class Imported:
    """The part of a tree that one record becomes.

    Attributes
    ----------
    root
        The root, with all that is known before values are read.
    paths
        Field name -> path of its dataset.
    entry
        Path of the NXentry, or an empty string.
    attributes
        Fields that are attributes of datasets: the rule, what it captured, the field, and whose it is. They are written
        when all datasets are there.
    """

    root: NewGroup
    paths: dict[str, str] = field(default_factory=dict)
    entry: str = ""
    attributes: list[tuple[Rule, Mapping[str, str], Field, str]] = field(default_factory=list)


class Importer:
    """Makes trees of records by one mapping."""

    def __init__(self, layout: Layout, report: Report) -> None:
        self.layout, self.report = layout, report
        self._shared: dict[str, tuple[np.ndarray[Any, Any], str]] = {}
        self._columns: dict[str, str] = {}
        self._named: dict[str, int] = {}
        self._stacks = Stacks(layout, report) if layout.stack is not None else None
        self._overlap = Overlap(layout)
        self.rules = [r for r in layout.rules if r.imports and r.name is not None]
        self.defaults = [r for r in layout.rules if r.imports and r.file.default]
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
        groups: dict[str, _PlotGroup] = {}
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
        self._constants(made, key)
        self._also(made, record, key)
        self._absent(made, record, key)
        self._attributes(made, record, key)
        self._links(made, key)
        if self._stacks is None:
            self._default_groups(made, record, key)
        own = len(self.layout.own)
        self._chain(made, own if self.layout.stack is not None else 0)
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
            made = Imported(NewGroup("NXroot"))
            for rule, node in stack.nodes:
                group, name = self._home(made, rule.steps, stack.key, rule)
                group.add(name, node)
            self._constants(made, stack.key)
            self._absent(made, Record({}, {}), stack.key)
            self._attributes(made, Record({}, {}), stack.key)
            self._linked_groups(made, stack)
            for path, rows in stack.rows:
                _group_at(made.root, path).add(path.rpartition("/")[2], NewDataset(rows))
            self._chain(made)
            yield made.root

    def place(self, f: Field, record: Record) -> str | None:
        """Return the path of the dataset that a field of a record becomes; None when no rule takes it."""
        key = self._key(record)
        choice = self.choose(f, not is_main(self.layout, key))
        if choice is None:
            return None
        names = [_name(step, {**key, **choice[1]}, choice[0]) for step in choice[0].steps]
        return "/" + "/".join(name for name in names if name)

    def _in_stack(self, name: str) -> bool:
        """Tell whether a rule of the stack takes a field."""
        return any(name == r.file.field or name in r.file.also for r in self.layout.stacked)

    def _home(self, made: Imported, steps: Sequence[Step], key: Mapping[str, str], rule: Rule) -> tuple[NewGroup, str]:
        """Return the group of the last of some steps, made when it is not there, and that step's name."""
        group = made.root
        for step in steps[:-1]:
            if name := _name(step, key, rule):
                group = group.require(name, step.classes[0] if step.classes else "")
                if group.nx_class == "NXentry":
                    made.entry = group.path
        return group, _name(steps[-1], key, rule)

    def _absent(self, made: Imported, record: Record, key: Mapping[str, str]) -> None:
        """Write what the mapping says of fields that a record lacks; what those of a stack share is written last."""
        for rule in self.layout.rules:
            absent, stack = rule.file.absent, self.layout.stack
            if absent is None or not rule.imports or rule.file.field in record.fields:
                continue
            if rule.index in self.layout.on_datasets:
                continue  # an attribute is written when its dataset is there
            if stack is not None and bool(record.fields) is not rule.binds(stack.over):
                continue
            if (f := self._stand_in(rule, record)) is None:
                continue
            group, name = self._home(made, rule.steps, key, rule)
            path = f"{group.path.rstrip('/')}/{name}"
            if name in group or path in self._shared or path in self._columns:
                continue
            if rule.steps[-1].attribute:
                group.attrs[name] = plain(f.values)
            else:
                group.add(name, NewDataset(Values(f.values.read(), f.dtype), f.attrs))
                self._shared[path] = (f.values.read(), rule.where)

    def _also(self, made: Imported, record: Record, key: Mapping[str, str]) -> None:
        """Give what came to another place a second name, where the mapping says that it stands in."""
        for rule in self.layout.rules:
            if not rule.file.also or rule.each == "stack" or not rule.imports:
                continue
            group, name = self._home(made, rule.steps, key, rule)
            target = next((made.paths[n] for n in rule.file.also if n in made.paths), "")
            if target and name not in group and f"{group.path.rstrip('/')}/{name}" not in self._shared:
                group.add(name, _link(made, target, "hard"))

    def _linked_groups(self, made: Imported, stack: Made) -> None:
        """Make the groups that viewers plot, of links to what is in the tree."""
        for rule in self.defaults:
            group, name = self._home(made, rule.steps, stack.key, rule)
            group = group.require(name, rule.steps[-1].classes[0] if rule.steps[-1].classes else "")
            above = () if rule.file.tree.startswith("/") else rule.steps[: -len(parse(rule.file.tree))]
            for attribute, text in rule.file.links.items():
                steps = (*(() if text.startswith("/") else above), *parse(text))
                target = "/" + "/".join(name for s in steps if (name := _name(s, stack.key, rule)))
                if _node_at(made.root, target) is None:
                    continue
                group.add(target.rpartition("/")[2], _link(made, target, "hard"))
                if attribute in ("signal", "axes"):
                    group.attrs[attribute] = target.rpartition("/")[2]

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
        self, made: Imported, groups: dict[str, _PlotGroup], rule: Rule, bound: Mapping[str, str], f: Field, source: str
    ) -> None:
        self._tell_overlap(rule, bound, f, source)
        if rule.steps[-1].attribute:
            for attr in f.attrs:
                self.report.lose(f"{f.name}@{attr}", source, f"{rule.where} makes an attribute of it, which has none")
        if rule.index in self.layout.on_datasets:
            made.attributes.append((rule, bound, f, source))
            return
        group, name = self._home(made, rule.steps, bound, rule)
        if rule.steps[-1].attribute:
            _refuse_another(group.path, group.attrs, name, f)
            group.attrs[name] = plain(f.values)
            return
        if not f.per_row and self._known(f"{group.path}/{name}", f):
            return
        dataset = NewDataset(f.values, f.attrs)
        if isinstance(f.mask, Values):
            dataset.set_attr(MISSING_ROWS, np.flatnonzero(f.mask.read()))
        if f.guessed:
            dataset.set_attr(GUESSED, str(f.role or "none"))
        group.add(name, dataset)
        self._refuse_twice(dataset.path, source)
        made.paths[f.name] = dataset.path
        if rule.role:
            groups.setdefault(group.path, _PlotGroup(group)).add(name, f, dataset)

    def _tell_overlap(self, rule: Rule, bound: Mapping[str, str], f: Field, source: str) -> None:
        """Tell of a field that an export with the same mapping would give another name."""
        names = [_name(step, bound, rule) for step in rule.steps]
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

    def _constants(self, made: Imported, key: Mapping[str, str]) -> None:
        """Write what the mapping says is always the same."""
        for rule in self.layout.constants:
            if not rule.imports or rule.index in self.layout.on_datasets:
                continue
            group, name = self._home(made, rule.steps, key, rule)
            values = literal(rule.file.constant, rule.file.dtype)
            if rule.steps[-1].attribute:
                group.attrs[name] = plain(values)
            elif (path := f"{group.path.rstrip('/')}/{name}") not in self._shared:
                self._shared[path] = (values.read(), rule.where)
                group.add(name, NewDataset(values, {"units": rule.file.units} if rule.file.units else None))

    def _attributes(self, made: Imported, record: Record, key: Mapping[str, str]) -> None:
        """Write attributes of datasets, now that these are there: what fields are, then what is always the same."""
        for rule, bound, f, source in made.attributes:
            path, name, node = self._dataset(made, rule, bound)
            if node is not None:
                self._known(f"{path}@{name}", f)  # records that share the dataset share its attribute
                _refuse_another(path, node.attrs, name, f)
                node.set_attr(name, plain(f.values))
            elif path not in self._shared or not self._known(f"{path}@{name}", f):
                self.report.lose(f.name, source, f"{rule.where} makes an attribute of it, and {path} is not there")
        for rule in self.layout.rules:
            constant, absent = rule.file.constant, rule.file.absent
            if (constant, absent) == (None, None) or rule.index not in self.layout.on_datasets or not rule.imports:
                continue
            _, name, node = self._dataset(made, rule, key)
            if node is not None and name not in node.attrs:
                given = self._stand_in(rule, record) if constant is None else None
                if constant is not None or given is not None:
                    values = literal(constant, rule.file.dtype) if given is None else given.values
                    node.set_attr(name, plain(values))

    def _stand_in(self, rule: Rule, record: Record) -> Field | None:
        """Return what the mapping says of a field that a record lacks, as the tree has it; None when it cannot say."""
        if is_whole(rule.file.absent):
            f = whole(rule, record)
        else:
            f = stand_in(rule, rule.file.absent, record, record.rows if rule.each == "row" else None)
        return imported(rule, f, self.report) if f is not None and rule.file.states else f

    def _dataset(
        self, made: Imported, rule: Rule, bound: Mapping[str, str]
    ) -> tuple[str, str, NewDataset | Virtual | None]:
        """Return the path of the dataset of an attribute, the attribute's name, and the dataset, if it is there."""
        path = "/" + "/".join(name for step in rule.steps[:-1] if (name := _name(step, bound, rule)))
        node = _node_at(made.root, path)
        node = _node_at(made.root, node.path) if isinstance(node, Link) and node.kind == "hard" else node
        return path, _name(rule.steps[-1], bound, rule), node if isinstance(node, NewDataset | Virtual) else None

    def _links(self, made: Imported, key: Mapping[str, str]) -> None:
        """Make the links that the mapping states, to what is there."""
        for rule in self.layout.rules:
            if not rule.target:
                continue
            target = path_of(rule.target, key)
            if _node_at(made.root, target) is None:
                continue
            if rule.steps[-1].attribute:
                self._name_link(made, rule, key, target)
                continue
            group, name = self._home(made, rule.steps, key, rule)
            path = f"{group.path.rstrip('/')}/{name}"
            if name not in group and path not in self._shared:
                group.add(name, _link(made, target))
                self._shared[path] = (np.array(target, TEXT), rule.where)

    def _name_link(self, made: Imported, rule: Rule, key: Mapping[str, str], target: str) -> None:
        """Let an attribute that has no value name what it leads to."""
        attribute = rule.steps[-1].name
        if rule.index in self.layout.on_datasets:
            path, _, node = self._dataset(made, rule, key)
            if node is not None and attribute not in node.attrs:
                node.set_attr(attribute, named_from(path.rpartition("/")[0], target))
            return
        group, _ = self._home(made, rule.steps, key, rule)
        group.attrs.setdefault(attribute, named_from(group.path, target))

    def _refuse_twice(self, path: str, source: str) -> None:
        """Refuse a column that an earlier record has been."""
        first = self._columns.setdefault(path, source)
        if first != source:
            raise InputError(
                f"{source} and {first} would both be {path}",
                "they have one key: leave one of them out, or convert them into files of their own",
            )

    def _known(self, path: str, f: Field) -> bool:
        """Tell whether an earlier record wrote this header value, which both share: the title of their entry."""
        values = f.values.read()
        values = decode(values) if is_text(f.dtype) else values
        if path not in self._shared:
            self._shared[path] = (values, f.source)
            return False
        first, source = self._shared[path]
        if not np.array_equal(first, values):
            raise InputError(
                f"{f.source} and {source} differ, but both would be {path}", "convert them into files of their own"
            )
        return True

    def _default_groups(self, made: Imported, record: Record, key: Mapping[str, str]) -> None:
        for rule in self.defaults:
            signals = self._linked(rule, "signal", record, made)
            axes = self._linked(rule, "axes", record, made)
            if not signals:
                continue
            group = made.root
            for step in rule.steps:
                group = group.require(_name(step, key, rule), step.classes[0] if step.classes else "")
            for f in [*axes, *signals]:
                path = made.paths[f.name]
                group.add(to_tree_name(f.name), _link(made, path) if self.layout.definition else Link(path))
            group.attrs["signal"] = to_tree_name(signals[0].name)
            if axes:
                labels = signals[0].axes or (axes[0].name,)
                known = {f.name for f in axes}
                group.attrs["axes"] = np.array([to_tree_name(a) if a in known else "." for a in labels], dtype=object)

    def _linked(self, rule: Rule, attribute: str, record: Record, made: Imported) -> list[Field]:
        """Return the fields that a default group links under an attribute, e.g. ``signal: "{y@signal}"``."""
        text = rule.file.links.get(attribute, "")
        if not text:
            return []
        (step,) = parse(text)
        return [f for f in record.role(ROLES[step.role]) if f.name in made.paths]

    def _chain(self, made: Imported, above: int = 0) -> None:
        """Lead viewers from the root to the plot, by the attribute ``default`` of each group on the way.

        Of the groups on the way the first few (``above``) are left as they are.
        """
        if not above:
            made.root.attrs["default"] = made.entry.strip("/").split("/")[0] if made.entry else ""
        pending = [made.root]
        while pending:
            group = pending.pop(0)
            if group.nx_class == "NXdata" and "signal" in group.attrs:
                parts = group.path.strip("/").split("/")
                for depth, name in enumerate(parts[above:], above):
                    parent = made.root["/".join(parts[:depth])]
                    assert isinstance(parent, NewGroup)
                    parent.attrs.setdefault("default", name)
            pending.extend(c for c in group.children.values() if isinstance(c, NewGroup))
        if not made.root.attrs.get("default"):
            made.root.attrs.pop("default", None)


def _refuse_another(path: str, attrs: Mapping[str, Any], name: str, f: Field) -> None:
    """Refuse an attribute that another field is, unless both say the same to the bit."""
    if name not in attrs:
        return
    a, b = np.asarray(attrs[name]), np.asarray(plain(f.values))
    bits = a.dtype == b.dtype and a.dtype.kind != "O" and a.tobytes() == b.tobytes()
    if a.shape != b.shape or not (bits or (a.dtype.kind == b.dtype.kind == "O" and np.array_equal(a, b))):
        message = f"{f.source}: {f.name} would be {path}@{name}, which is written twice"
        raise InputError(message, "leave one of the fields out")


def _link(made: Imported, path: str, kind: str = "soft") -> Link:
    """Return a link to what a tree has at a path, which says where it is itself, as NeXus wants of what is linked."""
    node = _node_at(made.root, path)
    if isinstance(node, NewDataset | Virtual):
        node.set_attr("target", path)
    return Link(path, kind)


def _node_at(root: NewGroup, path: str) -> Node | Link | None:
    """Return what a tree has at a path; the last step may be a link."""
    group: Any = root
    for name in path.strip("/").split("/"):
        group = group.children.get(name) if isinstance(group, NewGroup) else None
    return group if isinstance(group, Node | Link) else None


def _name_target(root: NewGroup, path: str) -> None:
    """Let what links lead to say where it is, as NeXus wants it."""
    node = _node_at(root, path)
    if isinstance(node, NewDataset | Virtual):
        node.set_attr("target", path)


def _group_at(root: NewGroup, path: str) -> NewGroup:
    """Return the group that has a path, made when it is not there."""
    group = root
    for name in path.strip("/").split("/")[:-1]:
        group = group.require(name)
    return group


def _name(step: Step, bound: Mapping[str, str], rule: Rule) -> str:
    if not step.captures:
        return step.name
    name = bound.get(step.name) or step.default
    if not name and not step.optional:
        raise UsageError(
            f"{rule.where}: nothing says what {{{step.name}}} is called", f"give it a default: {{{step.name}=NAME}}"
        )
    return name if step.attribute else to_tree_name(name)


class _PlotGroup:
    """Gathers the fields of a group that have roles, and writes its NeXus attributes."""

    def __init__(self, group: NewGroup) -> None:
        self.group = group
        self.fields: list[tuple[str, Field, NewDataset]] = []

    def add(self, name: str, f: Field, dataset: NewDataset) -> None:
        """Take one field."""
        self.fields.append((name, f, dataset))

    def finish(self) -> None:
        """Write signal, axes, auxiliary signals and whose errors are whose."""
        names = {f.name: name for name, f, _ in self.fields}
        signals = [(n, f) for n, f, _ in self.fields if f.role == Role.SIGNAL]
        auxiliary = [n for n, f, _ in self.fields if f.role == Role.AUXILIARY]
        axes = [(n, f) for n, f, _ in self.fields if f.role == Role.AXIS]
        if signals:
            self.group.attrs["signal"] = signals[0][0]
            self._axes(signals[0][1], axes, names)
        elif axes:
            others = [f for _, f, _ in self.fields if f.axes and f.role is None] or [axes[0][1]]
            self._axes(max(others, key=lambda f: len(f.axes)), axes, names)
        if signals[1:] or auxiliary:
            self.group.attrs["auxiliary_signals"] = np.array([n for n, _ in signals[1:]] + auxiliary, dtype=object)
        for name, f, _ in self.fields:
            if f.role == Role.ERRORS and f.of in names and name != f"{names[f.of]}_errors":
                whose = next(d for n, _, d in self.fields if n == names[f.of])
                whose.set_attr("uncertainties", name)

    def _axes(self, signal: Field, axes: list[tuple[str, Field]], names: dict[str, str]) -> None:
        if not axes:
            return
        known = {f.name for _, f in axes}
        labels = list(signal.axes) or [axes[0][1].name]
        labels += [None] * (len(signal.shape) - len(labels))
        written = [names[a] if a in known else "." for a in labels]
        self.group.attrs["axes"] = np.array(written, dtype=object)
        for name, f in axes:
            span = [labels.index(a) for a in f.axes if a in labels] if f.axes else [0]
            if len(span) == len(f.shape):
                self.group.attrs[f"{name}_indices"] = np.array(span, dtype=np.int64)
