"""Write the parts of the documentation that follow from the code.

    python docs/generate.py            write them
    python docs/generate.py --check    exit 1 when a page no longer says what the code does

A page of ``reference/`` has such a part between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the rest of it is
written by hand.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from nxconvert import mapping, registry
from nxconvert.format import Format, Option
from nxconvert.mapping import model, steps

DOCS = Path(__file__).parent
SCHEMA = DOCS / "reference" / "mapping.schema.json"
PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

KINDS = {
    "b": "booleans",
    "iu": "integers",
    "f": "floats",
    "c": "complex numbers",
    "S": "text",
    "V": "compounds",
}
"""How people call numpy's kinds of dtype."""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command that is installed, then its subcommands: the words to type, and typer's object."""
    scripts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    for name, entry in scripts.items():
        command = get_command(import_module(entry.partition(":")[0]).app)
        yield from _below(name, command)


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for sub in getattr(command, "commands", {}).values():
        if not sub.hidden:
            yield from _below(f"{name} {sub.name}", sub)


def parameters(command: Any) -> list[Any]:
    """Return the arguments and options of a command that people may see."""
    return [p for p in command.params if not getattr(p, "hidden", False)]


def option_names(option: Any) -> str:
    """Return what one types for an option."""
    names = ", ".join(f"`{n}`" for n in [*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} `{option.metavar or option.type.name.upper()}`"


def command_pages() -> str:
    """Describe every command with its arguments and options."""
    parts = []
    for name, command in commands():
        level = "##" if " " not in name else "###"
        arguments = [p for p in parameters(command) if p.param_type_name == "argument"]
        group = hasattr(command, "commands")
        usage = " ".join([name, "[OPTIONS]", *(["COMMAND ..."] if group else [str(p.metavar) for p in arguments])])
        parts += [f"{level} {name}\n", f"```text\n{usage}\n```\n", f"{_text(command.help)}\n"]
        parts += [f"**{p.metavar}**: {p.help}\n" for p in arguments]
        if group:
            anchor = name.replace(" ", "-")
            rows = [(f"[`{s.name}`](#{anchor}-{s.name})", s.get_short_help_str(200)) for s in command.commands.values()]
            parts.append(_table(("command", "what it does"), rows))
        rows = [
            (option_names(p), str(p.help), _default(p))
            for p in parameters(command)
            if p.param_type_name == "option" and p.name != "help"
        ]
        if rows:
            parts.append(_table(("option", "what it does", "default"), rows))
    return "\n".join(parts)


def _text(help: str) -> str:
    return "\n\n".join(" ".join(p.split()) for p in inspect.cleandoc(help.replace("\b", "")).split("\n\n"))


def _default(option: Any) -> str:
    return f"`{option.default}`" if isinstance(option.default, str | int) and option.default not in ("", False) else ""


def builtin() -> list[Format]:
    """Return the formats that come with nxconvert, without those of plugins that happen to be installed."""
    found = registry.formats().values()
    return [f for f in found if (f.open or f.create or f.sniff).__module__.startswith("nxconvert.formats")]


def format_table() -> str:
    """List all formats in one table."""
    rows = [
        (
            f"[`{f.name}`](#{f.name})",
            f.title,
            "yes" if f.open else "no",
            "yes" if f.create else "no",
            " ".join(f"`{e}`" for e in f.extensions),
        )
        for f in builtin()
    ]
    return _table(("name", "format", "read", "written", "extensions"), rows)


def format_pages() -> str:
    """Describe each format: what it holds, and its options."""
    parts = []
    for f in builtin():
        parts.append(f"### {f.name}\n")
        if f.open is None and f.create is None:
            parts.append(f"{f.title}. It is recognised, but not read: {f.refused}.\n")
            continue
        parts.append(f"{f.title}: {f.holds.note or _shape(f)}.\n")
        parts.append("\n".join(_holds(f)) + "\n")
        for title, options in (("writing", f.write_options), ("reading", f.read_options)):
            if options:
                rows = [(_option(o), o.help, f"`{o.default}`" if o.default not in ("", None) else "") for o in options]
                parts.append(_table((f"option for {title}", "what it does", "default"), rows))
    return "\n".join(parts)


def _option(option: Option) -> str:
    name = f"`--{option.name.replace('_', '-')}`"
    return f"{name} {', '.join(f'`{c}`' for c in option.choices)}" if option.choices else name


def _shape(f: Format) -> str:
    return "a tree of groups and datasets" if f.holds.tree else "records"


def _holds(f: Format) -> Iterator[str]:
    holds = f.holds
    kinds = [word for letters, word in KINDS.items() if set(letters) & set(holds.kinds)]
    many = "any number" if holds.records is None else str(holds.records)
    ranks = {
        (0, 0): "one number or text",
        (0, 1): "one number or text, or a spectrum",
        (2, 2): "an image",
        (2, 3): "an image, grey or colour",
    }
    item = ranks.get((holds.min_item_rank, holds.item_rank), "an array of any rank")
    if holds.tree:
        yield "- holds: a tree"
    else:
        yield f"- records in a file: {many}"
        yield f"- a row of a column holds: {item}"
    yield f"- types: {', '.join(kinds)}"
    yield f"- header values: {'yes' if holds.header else 'no'}; units and other attributes: {_yes(holds.attrs)}"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def schema_tables() -> str:
    """Describe the keys of a mapping file and of a rule."""
    return "\n".join(
        f"### {title}\n\n{_table(('key', 'what it says', 'value', 'default'), _keys(kind))}"
        for title, kind in (
            ("Keys of the file", model.MappingFile),
            ("Keys of a rule", model.RuleFile),
            ("Keys of a stack", model.StackFile),
            ("Keys of a source", model.SourceFile),
        )
    )


def _keys(kind: Any) -> list[tuple[str, ...]]:
    said = attributes(kind)
    rows = []
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = "" if required or field.default in ("", None, dataclasses.MISSING) else f"`{_plain(field.default)}`"
        rows.append(
            (f"`{field.name}`", _marked(said[field.name]), _type(str(field.type)), _required(required) or default)
        )
    return rows


def _required(required: bool) -> str:
    return "must be there" if required else ""


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(annotation: str) -> str:
    names = {
        "str": "text",
        "bool": "`true` or `false`",
        "list[str]": "list of texts",
        "list[RuleFile]": "list of rules",
        "list[PairFile]": "list of pairs",
        "list[SourceFile]": "list of sources",
        "dict[str, list[str]]": "lists of texts by name",
        "str | dict[str, str]": "text, or texts by name",
        "dict[str, int | float]": "numbers by name",
        "bool | int | float | str | list[bool | int | float | str] | None": "text, number, `true`, `false`, or list",
        "bool | int | float | str | list[bool | int | float | str] | dict[str, Any] | None": (
            "text, number, list, range or field, or these by name"
        ),
        "StackFile | None": "keys of a stack",
        "int | None": "integer",
        "float": "number",
    }
    if annotation.startswith("Literal["):
        return ", ".join(f"`{v}`" for v in re.findall(r"\w+", annotation[8:-1]))
    return names.get(annotation, "texts by name" if annotation.startswith("dict[str, str") else f"`{annotation}`")


def attributes(kind: Any) -> dict[str, str]:
    """Read the section ``Attributes`` of a docstring: name to text."""
    section = inspect.getdoc(kind).partition("Attributes\n----------\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if not line.startswith(" "):
            names = [n.strip() for n in line.partition(":")[0].split(",")]
            found |= dict.fromkeys(names, "")
        else:
            found |= {n: f"{found[n]} {line.strip()}".strip() for n in names}
    return found


def _marked(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text)


def step_table() -> str:
    """List the steps of a path, as the docstring of their module gives them."""
    lines = inspect.getdoc(steps).partition("\n\n")[2].splitlines()
    rows: list[tuple[str, str]] = []
    for line in lines:
        pattern, _, meaning = (p.strip() for p in re.fullmatch(r"(.*?)(\s{3,}|$)(.*)", line).groups())
        shown = ", ".join(f"`{p}`" for p in re.split(r"\s{2,}", pattern))
        rows.append((shown, _marked(meaning)))
    return _table(("step", "meaning"), rows)


def shipped_mappings() -> str:
    """Show the mappings that come with nxconvert."""
    folder = Path(inspect.getfile(mapping)).parent / "shipped"
    parts = []
    for name in mapping.shipped_names():
        text = (folder / f"{name}.yaml").read_text("utf-8").strip()
        parts += [f"### {name}\n", f"{mapping.load(name).title}.\n", f"```yaml\n{text}\n```\n"]
    return "\n".join(parts)


def schema() -> str:
    """Return the JSON schema of a mapping file, which editors check and complete it with."""
    from pydantic import TypeAdapter

    made = TypeAdapter(model.MappingFile).json_schema()
    parts = [(kind, made["$defs"][kind.__name__]) for kind in (model.RuleFile, model.StackFile, model.SourceFile)]
    for kind, place in [(model.MappingFile, made), *parts]:
        place["description"] = inspect.getdoc(kind).splitlines()[0]
        for name, text in attributes(kind).items():
            place["properties"][name]["description"] = text.replace("``", "")
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return json.dumps(made, indent=2) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    shown = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    shown.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(row) + " |" for row in shown) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": command_pages,
    "format-table": format_table,
    "formats": format_pages,
    "schema": schema_tables,
    "steps": step_table,
    "mappings": shipped_mappings,
}


def pages() -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    made = {SCHEMA: schema()}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        if PART.search(text):
            made[path] = PART.sub(lambda m: f"{m[1]}\n{PARTS[m[2]]().strip()}\n\n{m[3]}", text)
    return made


def stale() -> list[Path]:
    """Return the files that do not say what the code does."""
    return [p for p, text in pages().items() if not p.exists() or p.read_text("utf-8") != text]


def main() -> int:
    """Write the files, or check them."""
    found = stale()
    if "--check" not in sys.argv[1:]:
        made = pages()
        for path in found:
            path.write_text(made[path], "utf-8", newline="\n")
            print(f"wrote {path}")
        return 0
    for path in found:
        print(f"{path} is stale; run: python docs/generate.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
