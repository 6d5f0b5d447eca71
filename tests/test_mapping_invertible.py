"""Mappings that the loader calls invertible are: hypothesis makes mappings and trees for them, and looks for more.

tree -> records -> tree is the same in all that the mapping names, and records -> tree -> records too: bit by bit, with
types, units, roles and places; within 2 ulp where the mapping states arithmetic, which the report tells.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nxconvert import grid
from nxconvert.array import TEXT, Values, decode, is_text
from nxconvert.errors import InputError, Loss, MappingError, UsageError
from nxconvert.format import Report, Tree
from nxconvert.mapping import Mapping
from nxconvert.mapping.export import Exported
from nxconvert.mapping.find import Find, finds
from nxconvert.mapping.imports import Importer
from nxconvert.mapping.load import compile_text
from nxconvert.mapping.model import Rule
from nxconvert.mapping.stated import arithmetic
from nxconvert.record import Field, Record, Role
from nxconvert.tree import Dataset, Group, NewDataset, NewGroup

NAMES = ["a", "b", "x", "y", "title", "p", "p∕x", "Å 1"]
"""Of what is captured: some are the names of other rules."""

GROUPS = [
    "",
    "g:NXcollection/",
    "{c:NXcollection}/",
    "h:NXdetector/k:NXcollection/",
    "{c:NXdetector}/",
    "h:NXdetector/{c:NXcollection}/",
]
LAST = ["a", "title", "{v}", "@t", "@{v}", "a/@t", "a/@{v}", "{v}/@t"]
FIELDS = ["a", "title", "{v}", "{c}", "p/{v}", "p/{c}", "{c}/{v}", "p/{c}/{v}", "q{v}", "{v}@{c}"]
SAID = [
    {},
    {},
    {},
    {"dtype": "number"},
    {"dtype": "integer"},
    {"dtype": "float"},
    {"dtype": "text"},
    {"dtype": "int32"},
    {"dtype": "float32"},
    {"rank": 1},
    {"rank": 2},
    {"dtype": "number", "units": "mm"},
    {"dtype": "float", "units": "{tree: rad, field: deg}"},
    {"dtype": "float64", "scale": 0.1, "offset": -20},
    {"dtype": "int16", "scale": 0.25},
    {"dtype": "uint8", "values": "{flat: 1, dark: 2}"},
]  # fmt: skip
CONSTANT = '{tree: "a/@vector", constant: [0, 0, -1]}'
"""Written on import, so it is there when it was not."""

PLOT = [
    ("data:NXdata/{x@axes}", "{x}", "auto"),
    ("data:NXdata/{y@signal}", "{y}", "row"),
    ("data:NXdata/{e@errors}", "{e}", "auto"),
    ("data:NXdata/{s@auxiliary_signals}", "{s}", "row"),
    ("data:NXdata/{o}", "{o}", "row"),
]


@st.composite
def mappings(draw: st.DrawFn) -> str:
    """Texts of mappings, many of them wrong or not invertible."""
    rules = []
    for _ in range(draw(st.integers(1, 4))):
        tree = draw(st.sampled_from(GROUPS)) + draw(st.sampled_from(LAST))
        known = {"{c}": "{c:" in tree, "{v}": "{v}" in tree}
        fits = [f for f in FIELDS if all((n in f) == there for n, there in known.items())]
        each = "record" if "@" in tree else draw(st.sampled_from(["row", "record", "auto"]))
        said = {} if "@" in tree else draw(st.sampled_from(SAID))
        more = "".join(f", {k}: {v}" for k, v in said.items())
        rules.append(f'{{tree: "{tree}", field: "{draw(st.sampled_from(fits))}", each: {each}{more}}}')
    if draw(st.booleans()):
        rules += [f'{{tree: "{t}", field: "{f}", each: {e}}}' for t, f, e in PLOT]
    if draw(st.booleans()):
        rules.append('{tree: "definition", constant: NXraw}')
    if draw(st.booleans()):
        rules.append(CONSTANT)
    return 'nxconvert: 1\nname: made\nrecord: [scan]\nunder: "/{scan:NXentry}"\nrules:\n' + "".join(
        f"  - {rule}\n" for rule in rules
    )


def invertible(text: str) -> Mapping | None:
    """Return a mapping that the loader calls invertible, every field at its place; None for any other."""
    try:
        layout = compile_text(text, "made.yaml")
    except MappingError:
        return None
    return layout if not layout.obstacles else None


class InMemory(Tree):
    """A tree that is not in a file."""

    def __init__(self, root: Group) -> None:
        self.root = root

    def close(self) -> None:
        pass


def numbers(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    size = int(np.prod(shape))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        item = st.floats(-(2.0**90), 2.0**90, width=8 * kind.itemsize)
        item = st.one_of(item, st.just(float("nan")), st.just(-0.0))
    else:
        limits = np.iinfo(kind)
        item = st.integers(int(limits.min), int(limits.max))
    values = np.array(draw(st.lists(item, min_size=size, max_size=size)), kind).reshape(shape)
    values[np.abs(values) < (1e-30 if kind.kind == "f" else 0)] *= (
        0  # what is computed of the smallest numbers is smaller
    )
    return values


def value(draw: st.DrawFn, rule: Rule, rows: int) -> NewDataset:
    """Return a dataset for a rule; it may be one that the rule does not take."""
    file = rule.file
    rank = file.rank if file.rank is not None else draw(st.integers(0, 2))
    if rule.each == "row":
        rank = max(rank, 1)
    shape = ((rows,) if rule.each != "record" and draw(st.booleans()) else (draw(st.integers(1, 3)),)) + (2,)
    shape = (rows, *shape[1:]) if rule.each == "row" else shape
    shape = shape[:rank]
    attrs: dict[str, Any] = {}
    if file.units:
        attrs["units"] = draw(st.sampled_from(["mm", "rad"])) if draw(st.integers(0, 9)) == 0 else _unit(rule)
    elif draw(st.booleans()):
        attrs["units"] = draw(st.sampled_from(["mm", "eV", ""]))
    for name in draw(st.lists(st.sampled_from(["note", "t", "b", "vector"]), unique=True)):
        attrs[name] = draw(st.sampled_from(["µ", np.int32(3), np.array([1.5, 2.5])]))
    if file.values:
        codes = np.array(draw(st.lists(st.sampled_from([1, 2]), min_size=4, max_size=4)), "uint8")
        return NewDataset(Values(np.resize(codes, shape)), attrs)
    dtype = {"number": "float64", "integer": "int64", "float": "float32", "": ""}.get(file.dtype, file.dtype)
    dtype = dtype or draw(st.sampled_from(["float64", "float32", "int16", "uint64", "int64", "text"]))
    if dtype == "text":
        size = int(np.prod(shape))
        texts = np.empty(shape, object)
        texts[...] = np.array(
            draw(st.lists(st.sampled_from(["", "a", "Å", " b "]), min_size=size, max_size=size)), object
        ).reshape(shape)
        return NewDataset(Values(texts, TEXT), attrs)
    return NewDataset(Values(numbers(draw, dtype, shape)), attrs)


def _unit(rule: Rule) -> str:
    return rule.file.units if isinstance(rule.file.units, str) else rule.file.units["tree"]


@st.composite
def trees(draw: st.DrawFn, layout: Mapping) -> NewGroup:
    """Trees of a mapping's layout, with datasets that no rule takes among them."""
    root = NewGroup("NXroot")
    for scan in draw(st.sampled_from([["1.1"], ["1.1", "1.2"]])):
        entry = root.require(scan, "NXentry")
        rows = draw(st.integers(1, 4))
        for rule in layout.rules:
            if rule.role or rule.file.tree.startswith("data:"):
                continue
            for _ in range(draw(st.integers(0, 2))):
                _fill(draw, entry, rule, rows)
        if any(r.role for r in layout.rules) and draw(st.booleans()):
            _plot(draw, entry.require("data", "NXdata"), rows)
    return root


def _fill(draw: st.DrawFn, entry: NewGroup, rule: Rule, rows: int) -> None:
    if rule.file.constant is not None:
        if "definition" not in entry and rule.file.constant == "NXraw":
            entry.add("definition", NewDataset(Values(np.array("NXraw", TEXT), TEXT)))
        return
    group = entry
    for step in rule.steps[1:-1]:
        name = draw(st.sampled_from(NAMES)) if step.captures else step.name
        if not step.classes:
            return  # an attribute of a dataset: they have some
        child = group.children.get(name)
        if child is not None and (not isinstance(child, NewGroup) or child.nx_class != step.classes[0]):
            return
        group = group.require(name, step.classes[0])
    last = rule.steps[-1]
    name = draw(st.sampled_from(NAMES)) if last.captures else last.name
    if last.attribute:
        group.attrs[name] = draw(st.sampled_from(["text", np.float64(1.5), np.int32(2)]))
    elif name not in group:
        group.add(name, value(draw, rule, rows))


def _plot(draw: st.DrawFn, group: NewGroup, rows: int) -> None:
    """Fill an NXdata: a line or a map, with errors, another signal and a column without a role."""
    shape = draw(st.sampled_from([(rows,), (rows, 2)]))
    group.add("y", NewDataset(Values(numbers(draw, "float64", shape)), {"units": "counts"}))
    group.attrs["signal"] = "y"
    axes = ["x1", "x2"][: len(shape)] if draw(st.booleans()) else []
    for length, name in zip(shape, axes, strict=False):
        group.add(name, NewDataset(Values(numbers(draw, "float32", (length,)))))
    if axes:
        group.attrs["axes"] = np.array(axes, object)
    for name in draw(st.lists(st.sampled_from(["y_errors", "x1_errors", "more", "other"]), unique=True)):
        if name != "x1_errors" or "x1" in group:
            group.add(name, NewDataset(Values(numbers(draw, "float64", (rows,) if name == "x1_errors" else shape))))
    if "more" in group:
        group.attrs["auxiliary_signals"] = np.array(["more"], object)


def back(records: list[Record], layout: Mapping, report: Report) -> NewGroup:
    """Import records into one tree."""
    importer, root = Importer(layout, report), NewGroup("NXroot")
    for record in records:
        written = importer.translated(grid.fold(record))
        _merge(root, importer.tree(written).root)
    return root


def _merge(into: NewGroup, new: NewGroup) -> None:
    into.attrs.update(new.attrs)
    for name, child in new.children.items():
        if isinstance(child, NewGroup):
            _merge(into.require(name, child.nx_class), child)
        else:
            into.add(name, child)


def read(values: Any) -> np.ndarray[Any, Any]:
    found = values.read() if hasattr(values, "read") else np.asarray(values)
    return decode(found) if is_text(found.dtype) else found


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], ulps: float = 0, offset: float = 0) -> bool:
    """Tell whether values are one, bit by bit or within some ulp."""
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind or a.dtype.itemsize != b.dtype.itemsize:
        return False
    if a.dtype.kind == "O":
        return bool((a == b).all())
    if not ulps or a.dtype.kind != "f":
        return a.tobytes() == b.tobytes()
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(a - b) <= ulps * np.spacing(np.maximum(np.abs(a), abs(offset)).astype(a.dtype))
    return bool((near | (a == b) | ((a != a) & (b != b))).all())


def _same_attrs(a: Any, b: Any) -> bool:
    return sorted(a) == sorted(b) and all(same(read(a[n]), read(b[n])) for n in a)


def tolerance(rule: Rule) -> tuple[float, float]:
    """Return how many ulp values of a rule may be off, and of what beside the values themselves."""
    file = rule.file
    return (2, abs(file.offset / file.scale)) if arithmetic(file) else (0, 0)


def told(find: Find, report: Report) -> bool:
    """Tell whether the report says that what was found comes back elsewhere."""
    return any("comes back" in str(n) and str(n).startswith(f"{find.path} ") for n in report.notices)


def lost_astray(loss: Loss, report: Report) -> bool:
    """Tell whether what is lost is a field that comes back elsewhere, or an attribute of one that does."""
    where = re.findall(r"attribute of it, and (\S+) is not there", loss.why)
    astray = [str(n) for n in report.notices if "comes back" in str(n)]
    return any(loss.what.partition("@")[0] in n or n.split(" ")[0] in where for n in astray)


def expected_attrs(one: Find, text: str, elsewhere: set[str]) -> dict[str, Any]:
    """Return the attributes that a dataset comes back with."""
    assert one.node is not None
    mine = {n: v for n, v in one.node.attrs.items() if f"{one.path}@{n}" not in elsewhere}
    if CONSTANT in text and one.path.count("/") == 2 and one.path.endswith("/a"):
        mine.setdefault("vector", np.array([0, 0, -1]))
    return {**mine, "units": _unit(one.rule)} if one.rule.file.units else mine


EXPECTED = (InputError, UsageError)


@settings(deadline=None, max_examples=100)
@given(data=st.data(), text=mappings())
def test_trees_come_back(data: st.DataObject, text: str) -> None:
    layout = invertible(text)
    assume(layout is not None)
    assert layout is not None
    tree, report = InMemory(data.draw(trees(layout))), Report()
    records = list(Exported(tree, layout, report))
    if report.failed:
        assert all(isinstance(error, EXPECTED) for _, error in report.failed)
        return
    try:
        again = back(records, layout, report)
        for record in records:
            for f in record.fields.values():
                f.values.read()
    except InputError:
        return  # values that have no such unit, or two that would be one: refused, not changed
    except UsageError:
        assert any("comes back" in str(n) for n in report.notices)
        return  # nothing but fields that other rules take, as attributes of datasets that are not there
    assert all(lost_astray(loss, report) for loss in report.losses)
    lost = {loss.what for loss in report.losses}
    for _, found in finds(tree, layout, Report()):
        for one in (o for o in found if not told(o, report) and (o.node is not None or o.field not in lost)):
            if one.node is None:
                path, _, name = one.path.rpartition("@")
                assert same(read(tree.root[path].attrs[name]), read(again[path].attrs[name]))
                continue
            assert isinstance(one.node, Dataset)
            other = again[one.path]
            assert isinstance(other, Dataset), one.path
            ulps, offset = tolerance(one.rule)
            assert same(read(one.node), read(other), ulps, offset), (one.path, read(one.node), read(other))
            assert not ulps or "units" in text or same(read(one.node), read(other)) or "ulp" in str(report)
            mine = expected_attrs(one, text, {o.path for o in found if told(o, report)})
            assert _same_attrs(mine, other.attrs), (one.path, mine, other.attrs)
            _compare_groups(tree.root, again, one.path)


def _compare_groups(a: Group, b: Group, path: str) -> None:
    """Compare the classes of the groups on the way, and what they say of their plots."""
    parts = path.strip("/").split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        mine, other = a["/".join(parts[:depth])], b["/".join(parts[:depth])]
        assert isinstance(mine, Group)
        assert isinstance(other, Group)
        assert mine.nx_class == other.nx_class
        for name in ("signal", "axes", "auxiliary_signals"):
            if name in mine.attrs and mine.nx_class == "NXdata":
                assert read(mine.attrs[name]).tolist() == read(other.attrs[name]).tolist()


@settings(deadline=None, max_examples=100)
@given(data=st.data(), text=mappings())
def test_records_come_back(data: st.DataObject, text: str) -> None:
    layout = invertible(text)
    assume(layout is not None)
    assert layout is not None
    rows = data.draw(st.integers(1, 4))
    fields = [f for i in range(data.draw(st.integers(1, 4))) if (f := _field(data.draw, layout, i, rows))]
    fields = list({f.name: f for f in fields}.values())
    signals = [f.name for f in fields if f.role == Role.SIGNAL]
    fields = [f for f in fields if f.role is None or (signals and (f.role != Role.SIGNAL or f.name == signals[0]))]
    record = Record({"scan": "1.1"}, {f.name: f for f in fields}, mapping=layout.name)
    report = Report()
    try:
        tree = back([record], layout, report)
    except EXPECTED:
        return  # no rule takes any of its fields, or two of them would be one
    exported = Report()
    found = list(Exported(InMemory(tree), layout, exported))
    if exported.failed and report.notices:
        return  # told already: a name with the sign that stands for a slash
    assert exported.failed == []
    (again,) = found
    lost = {loss.what for loss in report.losses}
    for f in record.fields.values():
        if f.name in lost or any(f"{f.name} is written to" in str(n) for n in report.notices):
            continue
        other = again.fields[f.name]
        rule = Importer(layout, Report()).choose(f)
        assert rule is not None
        mine = f
        if f.dtype != np.dtype(recorded(rule[0], f.dtype)):
            continue  # a rule with an exact dtype casts on import, when all fits
        ulps, _ = tolerance(rule[0])
        assert (other.per_row, other.role) == (mine.per_row, mine.role), f.name
        assert same(read(mine.values), read(other.values), ulps, abs(rule[0].file.offset)), f.name
        if f"{f.name}@units" in lost:
            continue  # an attribute has none
        assert other.units == (_sides(rule[0]) if rule[0].file.units else mine.units)


def _field(draw: st.DrawFn, layout: Mapping, number: int, rows: int) -> Field | None:
    rules = [r for r in layout.rules if r.name is not None]
    rule = rules[draw(st.integers(0, len(rules) - 1))]
    assert rule.name is not None
    if rule.role in ("axes", "errors"):
        return None
    captures = {c: draw(st.sampled_from(NAMES)) for c in rule.name.captures}
    name = rule.name.fill(captures) if draw(st.integers(0, 4)) else f"field{number}"
    per_row = rule.each == "row" or (rule.each == "auto" and draw(st.booleans()))
    shape = (rows,) if per_row else ()
    dtype = recorded(rule, draw(st.sampled_from(["float64", "int16", "float32"])))
    units = {"units": _sides(rule)} if rule.file.units else {}
    values = np.array(["flat", "dark"] * 2, object)[:rows] if rule.file.values else numbers(draw, dtype, shape)
    if rule.file.dtype == "int16":
        values = numbers(draw, "int16", shape) * rule.file.scale
    if rule.file.values and not per_row:
        values = np.array("flat", TEXT)
    role = {"signal": Role.SIGNAL, "auxiliary_signals": Role.AUXILIARY}.get(rule.role)
    return Field(name, Values(values, TEXT if rule.file.values else None), per_row, role=role, attrs=units)


def recorded(rule: Rule, dtype: Any) -> Any:
    """Return the dtype that a record has where a rule states one, or any."""
    if rule.file.values:
        return TEXT
    exact = rule.file.dtype[-1:].isdigit()
    if arithmetic(rule.file):
        return rule.file.dtype if exact and "float" in rule.file.dtype else "float64"
    return rule.file.dtype if exact else dtype


def _sides(rule: Rule) -> str:
    return rule.file.units if isinstance(rule.file.units, str) else rule.file.units["field"]


def test_enough_of_the_mappings_are_invertible() -> None:
    """What is made of random rules must not be rejected most of the time, or the tests above test little."""
    count = {"all": 0, "invertible": 0}

    @settings(deadline=None, max_examples=200, database=None)
    @given(text=mappings())
    def look(text: str) -> None:
        count["all"] += 1
        count["invertible"] += invertible(text) is not None

    look()
    assert count["invertible"] * 5 > count["all"]


def test_of_two_rules_of_one_field_the_first_takes_it_back() -> None:
    """So that what the loader says of the second holds for what is imported."""
    rules = ["{tree: a, field: x, each: row, dtype: number}", "{tree: title, field: x, each: row, rank: 1}"]
    text = 'nxconvert: 1\nname: made\nrecord: [scan]\nunder: "/{scan:NXentry}"\nrules:\n'
    layout = compile_text(text + "".join(f"  - {rule}\n" for rule in rules), "made.yaml")
    assert [o.rule.file.tree for o in layout.obstacles] == ["title"]
    assert Importer(layout, Report()).choose(Field("x", Values(np.zeros(2)), per_row=True))[0].file.tree == "a"


def test_rows_go_to_the_rule_for_rows() -> None:
    """Even where that for header values has more guards."""
    rules = ["{tree: a, field: x, each: row}", "{tree: a, field: x, each: record, dtype: float32}"]
    text = 'nxconvert: 1\nname: made\nrecord: [scan]\nunder: "/{scan:NXentry}"\nrules:\n'
    layout = compile_text(text + "".join(f"  - {rule}\n" for rule in rules), "made.yaml")
    root = NewGroup("NXroot")
    root.require("1.1", "NXentry").add("a", NewDataset(Values(np.zeros(1, "f4"))))
    (record,) = Exported(InMemory(root), layout, Report())
    assert record.fields["x"].per_row
