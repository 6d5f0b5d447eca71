"""Wrong mappings: each is one line that says where (file, line, column), what is wrong and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nxconvert import mapping
from nxconvert.errors import MappingError
from nxconvert.mapping.load import compile_text

HEAD = "nxconvert: 1\nname: mine\nrecord: [scan]\n"
RULES = 'rules:\n  - {tree: "/{scan:NXentry}/data/{c}", field: "{c}"}\n'


def rule(*texts: str) -> str:
    return f"{HEAD}rules:\n" + "".join(f"  - {text}\n" for text in texts)


def stacked(*rules: str, stack: str = "{over: role, order: [a, b]}") -> str:
    head = HEAD.replace("scan", "scan, role") + f"stack: {stack}\n"
    given = ['{tree: "/{scan:NXentry}/d", field: d, each: stack}']
    below = [r.replace('tree: "', 'tree: "/{scan:NXentry}/') for r in rules if r]
    return head + "rules:\n" + "".join(f"  - {r}\n" for r in [*given, *below])


WRONG = {
    # the text itself
    "empty": ("", "1:1", "the mapping is empty", "begin with 'nxconvert: 1'"),
    "only a comment": ("# nothing here\n", "1:1", "the mapping is empty", "begin with 'nxconvert: 1'"),
    "binary": ("\x89HDF\r\n\x1a\n\x00\x00", "2:1", "the character '\\x1a' is not allowed", "a mapping is plain text"),
    "a NUL amid": (
        HEAD + "title: a\x00b\n" + RULES,
        "4:9",
        "the character '\\x00' is not allowed",
        "a mapping is plain text",
    ),
    "a list": ("- 1\n- 2\n", "1:1", "a mapping is a list of keys, found [1, 2]", "begin with 'nxconvert: 1'"),
    "a word": ("bliss\n", "1:1", "a mapping is a list of keys, found 'bliss'", "begin with 'nxconvert: 1'"),
    "two documents": (
        HEAD + RULES + "---\n" + HEAD,
        "6:1",
        "a second document begins",
        "one mapping a file: remove what comes after",
    ),
    "alias bomb": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "1:4",
        "aliases and anchors are not allowed",
        "write the value out",
    ),
    "an alias": (HEAD + "title: *t\n" + RULES, "4:8", "aliases and anchors are not allowed", "write the value out"),
    "merge key": (
        HEAD + "<<: {title: x}\n" + RULES,
        "4:1",
        "there is no key '<<'",
        "keys here are nxconvert, name, record,",
    ),
    "python tag": (
        HEAD + "title: !!python/object/apply:os.system [ls]\n" + RULES,
        "4:8",
        "the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed",
        "remove it",
    ),
    "python name tag": (
        HEAD + "title: !!python/name:os.system\n" + RULES,
        "4:8",
        "the tag tag:yaml.org,2002:python/name:os.system is not allowed",
        "remove it",
    ),
    "local tag": (HEAD + "title: !secret x\n" + RULES, "4:8", "the tag !secret is not allowed", "remove it"),
    "binary tag": (
        HEAD + "title: !!binary aGVsbG8=\n" + RULES,
        "4:8",
        "the tag tag:yaml.org,2002:binary is not allowed",
        "remove it",
    ),
    "too deep": (
        HEAD + "title: " + "[" * 40 + "]" * 40 + "\n",
        "4:23",
        "more than 16 levels lie in each other",
        "a mapping has five at most; check the",
    ),
    "duplicate key": (HEAD + "name: other\n" + RULES, "4:1", "the key 'name' is there twice", "keep one of them"),
    "duplicate key in a rule": (
        rule('{tree: "/{scan}/{c}", field: "{c}", tree: "/{scan}/x"}'),
        "5:41",
        "the key 'tree' is there twice",
        "keep one of them",
    ),
    "tab indentation": (
        HEAD + 'rules:\n\t- {tree: "/{scan}/{c}", field: "{c}"}\n',
        "5:1",
        "",
        "indent with blanks, not with tabs",
    ),
    "wrong indentation": (HEAD + RULES + '   field: "{b}"\n', "6:4", "", "check the indentation"),
    "open bracket": (
        HEAD + "rules: [\n",
        "5:1",
        "a value is missing, or a bracket is not closed",
        "close it, check the indentation",
    ),
    "open quote": (
        HEAD + 'rules:\n  - {tree: "/{scan}/a, field: a}\n',
        "5:12",
        "a quote is not closed",
        "close it on the same line",
    ),
    "a key that is a list": (
        HEAD + "[a, b]: c\n" + RULES,
        "4:1",
        "a key must be a word",
        'quote names with braces: "{name}"',
    ),
    "colon without blank": (
        HEAD + "title:x\n" + RULES,
        "5:1",
        "expected ':'",
        "write a blank after each colon, and check",
    ),
    # keys and types
    "typo in a key": (HEAD + "unter: x\n" + RULES, "4:1", "there is no key 'unter'", "did you mean 'under'?"),
    "a key nobody knows": (
        HEAD + "zzz: x\n" + RULES,
        "4:1",
        "there is no key 'zzz'",
        "keys here are nxconvert, name, record,",
    ),
    "typo in a rule": (
        rule('{tree: "/{scan}/{c}", feild: "{c}"}'),
        "5:27",
        "there is no key 'feild'",
        "did you mean 'field'?",
    ),
    "typo in a pair": (
        HEAD + 'pairs:\n  - {name: a, values: b, field: "{name}"}\n' + RULES,
        "5:6",
        "there is no key 'name'",
        "did you mean 'names'?",
    ),
    "missing name": ("nxconvert: 1\nrecord: [scan]\n" + RULES, "1:1", "name: must be there", "add name: NAME"),
    "missing version": ("name: mine\nrecord: [scan]\n" + RULES, "1:1", "nxconvert: must be there", "add nxconvert: 1"),
    "missing record": ("nxconvert: 1\nname: mine\n" + RULES, "1:1", "record: must be there", "add record: [scan]"),
    "missing rules": (HEAD, "1:1", "rules: must be there", 'add rules: [{tree: "PATH", field: NAME}]'),
    "missing tree": (rule('{field: "{c}"}'), "5:5", "rules.0.tree: must be there", 'add tree: "PATH"'),
    "unknown version": (
        "nxconvert: 7\nname: mine\nrecord: [scan]\n" + RULES,
        "1:12",
        "nxconvert: Input should be 1, found 7",
        "this nxconvert knows version 1 of the",
    ),
    "version in words": (
        "nxconvert: one\nname: mine\nrecord: [scan]\n" + RULES,
        "1:12",
        "nxconvert: Input should be 1, found 'one'",
        "this nxconvert knows version 1 of the",
    ),
    "rules are empty": (
        HEAD + "rules:\n",
        "4:7",
        "rules: Input should be a valid list, found nothing",
        "write a list: [a, b]",
    ),
    "no rules at all": (HEAD + "rules: []\n", "4:8", "there is no rule", 'add rules: [{tree: "PATH", field: NAME}]'),
    "rules are a mapping": (
        HEAD + 'rules: {tree: "/{scan}/{c}", field: "{c}"}\n',
        "4:8",
        "rules: Input should be a valid list, found {'tree': '/{scan}/{c}', 'field': '{c}'}",
        "write a list: [a, b]",
    ),
    "a rule is a word": (
        rule("title"),
        "5:5",
        "rules.0: must have keys, found 'title'",
        'write keys and values: {tree: "PATH",',
    ),
    "when is a word": (
        HEAD + 'when: "/{scan:NXentry}/data"\n' + RULES,
        "4:7",
        "when: Input should be a valid list, found '/{scan:NXentry}/data'",
        "write a list: [a, b]",
    ),
    "record is a word": (
        "nxconvert: 1\nname: mine\nrecord: scan\n" + RULES,
        "3:9",
        "record: Input should be a valid list, found 'scan'",
        "write a list: [a, b]",
    ),
    "name is a number": (
        "nxconvert: 1\nname: 12\nrecord: [scan]\n" + RULES,
        "2:7",
        "name: Input should be a valid string, found 12",
        "put it in quotes",
    ),
    "name is a path": (
        "nxconvert: 1\nname: ../mine\nrecord: [scan]\n" + RULES,
        "2:7",
        "'../mine' is no name for a mapping",
        "write a word",
    ),
    "record with braces": (
        'nxconvert: 1\nname: mine\nrecord: ["{scan}"]\n' + RULES,
        "3:10",
        "record: '{scan}' is no name of a capture",
        "write the name of a capture, without braces",
    ),
    "record twice": (
        "nxconvert: 1\nname: mine\nrecord: [scan, scan]\n" + RULES,
        "3:16",
        "record: scan is there twice",
        "keep one of them",
    ),
    "field is a number": (
        rule('{tree: "/{scan}/a", field: 3}'),
        "5:32",
        "rules.0.field: Input should be a valid string, found 3",
        "put it in quotes",
    ),
    "required is a word": (
        rule('{tree: "/{scan}/{c}", field: "{c}", required: perhaps}'),
        "5:51",
        "rules.0.required: Input should be a valid boolean, unable to interpret input, found 'perhaps'",
        "write true or false",
    ),
    "unknown each": (
        rule('{tree: "/{scan}/{c}", field: "{c}", each: rows}'),
        "5:47",
        "rules.0.each: Input should be 'row', 'record', 'auto' or 'stack', found 'rows'",
        "did you mean 'row'?",
    ),
    "wrong direction": (
        rule('{tree: "/{scan}/{c}", field: "{c}", direction: exprot}'),
        "5:52",
        "rules.0.direction: Input should be 'both', 'export' or 'import', found 'exprot'",
        "did you mean 'export'?",
    ),
    "series is a list": (
        HEAD + "series: [dark]\n" + RULES,
        "4:9",
        "series: Input should be a valid dictionary, found ['dark']",
        "write keys and values: {a: b}",
    ),
    "a pattern that is no list": (
        HEAD + 'series: {dark: "dark*"}\n' + RULES,
        "4:16",
        "series.dark: Input should be a valid list, found 'dark*'",
        "write a list: [a, b]",
    ),
    # paths
    "unquoted brace": (
        rule("{tree: {scan}, field: a}"),
        "5:12",
        "rules.0.tree: Input should be a valid string, found {'scan': None}",
        'quote names with braces: "{name}"',
    ),
    "unquoted path": (rule("{tree: {scan}/a, field: a}"), "5:18", "", 'quote names with braces: "{name}"'),
    "unquoted field": (
        rule('{tree: "/{scan}/{c}", field: {c}}'),
        "5:34",
        "rules.0.field: Input should be a valid string, found {'c': None}",
        'quote names with braces: "{name}"',
    ),
    "path escape": (
        rule('{tree: "/{scan}/../../other", field: a}'),
        "5:20",
        "'..' is no step of a path",
        "a path only goes down; begin with / at the",
    ),
    "a dot": (
        rule('{tree: "/{scan}/./a", field: a}'),
        "5:20",
        "'.' is no step of a path",
        "a path only goes down; begin with / at the",
    ),
    "an empty step": (
        rule('{tree: "/{scan}//a", field: a}'),
        "5:20",
        "'/{scan}//a' has an empty step",
        "write one slash between two steps",
    ),
    "path of nothing": (
        rule('{tree: "", field: a}'),
        "5:12",
        "the path '' has no steps",
        "write the path of a dataset",
    ),
    "root": (rule('{tree: "/", field: a}'), "5:12", "the path '/' has no steps", "write the path of a dataset"),
    "broken capture": (
        rule('{tree: "/{scan}/{x y}", field: a}'),
        "5:20",
        "'{x y}' is no capture",
        "a capture is {name}, {name:NXclass},",
    ),
    "open capture": (
        rule('{tree: "/{scan}/{x", field: a}'),
        "5:20",
        "'{x' is no capture",
        "a capture is {name}, {name:NXclass},",
    ),
    "unknown role": (
        rule('{tree: "/{scan}/{x@axis}", field: "{x}"}'),
        "5:23",
        "'axis' is no role",
        "roles are axes, signal, errors,",
    ),
    "empty class": (
        rule('{tree: "/{scan}/data:/a", field: a}'),
        "5:20",
        "'data:' has an empty class",
        "write name:NXa or name:NXa|NXb",
    ),
    "a class too many": (
        rule('{tree: "/{scan}/data:NXdata|/a", field: a}'),
        "5:20",
        "'data:NXdata|' has an empty class",
        "write name:NXa or name:NXa|NXb",
    ),
    "open test": (
        rule('{tree: "/{scan}/a[units=mm", field: a}'),
        "5:20",
        "'a[units=mm' is no step of a path",
        "write name, name:NXclass or {capture}",
    ),
    "below an attribute": (
        rule('{tree: "/{scan}/@a/b", field: a}'),
        "5:23",
        "nothing comes below an attribute",
        "an attribute is the last step",
    ),
    "rows of an attribute": (
        rule('{tree: "/{scan}/@a", field: a, each: row}'),
        "5:42",
        "an attribute has no rows",
        "say each: record",
    ),
    "wrong path in when": (
        HEAD + 'when: ["/{scan}/{"]\n' + RULES,
        "4:16",
        "'{' is no capture",
        "a capture is {name}, {name:NXclass},",
    ),
    "wrong under": (
        HEAD + 'under: "/{scan:}"\n' + RULES,
        "4:9",
        "'{scan:}' has an empty class",
        "write name:NXa or name:NXa|NXb",
    ),
    "wrong complete": (
        HEAD + 'complete: "../end"\n' + RULES,
        "4:11",
        "'..' is no step of a path",
        "a path only goes down; begin with / at the",
    ),
    # captures
    "capture in the field only": (
        rule('{tree: "/{scan}/a", field: "{c}"}'),
        "5:32",
        "{c} is in the field's name but not in its path",
        "captures are scan",
    ),
    "capture in the path only": (
        rule('{tree: "/{scan}/{device}/{c}", field: "{c}"}'),
        "5:12",
        "{device} is in the path but in neither the field's name nor the key",
        "name it in the field, give it a default",
    ),
    "capture twice in a name": (
        rule('{tree: "/{scan}/{c}", field: "{c}/{c}"}'),
        "5:34",
        "'{c}/{c}' has {c} twice",
        "write it once",
    ),
    "no field": (rule('{tree: "/{scan}/a"}'), "5:5", "the rule for /{scan}/a has no field", "add field: NAME"),
    "braces in a field": (
        rule('{tree: "/{scan}/{c}", field: "{c d}"}'),
        "5:34",
        "'{c d}' is no field name",
        "a capture is {name}",
    ),
    "key not bound": (
        rule('{tree: "/a/{c}", field: "{c}"}'),
        "3:9",
        "no rule binds the whole key scan",
        "write e.g. {scan:NXentry} in under, or in",
    ),
    "tie": (
        HEAD + 'rules:\n  - {tree: "/{scan}/{a}", field: "{a}"}\n  - {tree: "/{scan}/{b}", field: "x{b}"}\n',
        "6:5",
        "this rule matches the same as the one at m.yaml:5:5",
        "make one of them more literal",
    ),
    "any child, both ways": (
        rule('{tree: "/{scan}/*/a", field: a}'),
        "5:12",
        "* and ** cannot be imported: they do not say where a field goes",
        "say direction: export",
    ),
    "any depth, on import": (
        rule('{tree: "/{scan}/**", field: a, direction: import}'),
        "5:12",
        "* and ** cannot be imported: they do not say where a field goes",
        "say direction: export",
    ),
    "default without links": (
        rule('{tree: "/{scan}/plot:NXdata", default: true, direction: import}'),
        "5:44",
        "a default group needs the signal that it shows",
        'add links: {signal: "{y@signal}"}',
    ),
    "links without default": (
        rule('{tree: "/{scan}/{c}", field: "{c}", links: {signal: "{y@signal}"}}'),
        "5:48",
        "links means nothing without default: true",
        "add default: true, or leave links out",
    ),
    "links that name no role": (
        rule('{tree: "/{scan}/p:NXdata", default: true, links: {signal: y}}'),
        "5:54",
        "links: signal: 'y' names no role",
        'write links: {signal: "{y@signal}", axes:',
    ),
    "pairs of one name": (
        HEAD + "pairs:\n  - {names: a, values: b, field: motor}\n" + RULES,
        "5:5",
        "pairs: 'motor' would give all of a one name",
        'write e.g. field: "motor/{name}"',
    ),
    # names of files
    "file is no text": (
        HEAD + "file: {sample}\n" + RULES,
        "4:7",
        "file: Input should be a valid string, found {'sample': None}",
        'quote names with braces: "{name}"',
    ),
    "unquoted pattern of names": (
        HEAD + "file: {sample}_{n}\n" + RULES,
        "4:15",
        "",
        "quote names with braces",
    ),
    "a name that says nothing": (
        HEAD + "file: scan\n" + RULES,
        "4:7",
        "file: 'scan' takes nothing of a name",
        'write e.g. file: "{sample}_{n:integer}"',
    ),
    "an open brace in a name": (
        HEAD + 'file: "{sample}_{n"\n' + RULES,
        "4:16",
        "file: '{sample}_{n' is no pattern of a name",
        "a capture is {name}",
    ),
    "no capture of a name": (
        HEAD + 'file: "{sample}_{n=1}"\n' + RULES,
        "4:16",
        "file: '{n=1}' is no capture",
        "a capture is {name} or {name:integer}",
    ),
    "an unknown kind": (
        HEAD + 'file: "{sample}_{n:int}"\n' + RULES,
        "4:16",
        "file: {n} cannot be 'int'",
        "did you mean 'integer'?",
    ),
    "twice in a name": (
        HEAD + 'file: "{n}_{n}"\n' + RULES,
        "4:11",
        "file: '{n}_{n}' has {n} twice",
        "write it once",
    ),
    "nothing between": (
        HEAD + 'file: "{sample}{n:integer}"\n' + RULES,
        "4:7",
        "file: nothing stands between {sample} and {n}",
        "write what does, e.g. _",
    ),
    "a name of outputs": (
        HEAD + 'file: "{stem}_{n}"\n' + RULES,
        "4:7",
        "file: {stem} is something else in the names of outputs",
        "call it otherwise",
    ),
    "backslash in a name": (
        HEAD + "file: '{sample}\\{n}'\n" + RULES,
        "4:15",
        "is no pattern of a name",
        "write / between folder and name",
    ),
    "folders above": (
        HEAD + 'file: "../{n}"\n' + RULES,
        "4:7",
        "file: '../{n}' has a folder without a name",
        "write FOLDER/NAME",
    ),
    "a key that is a number": (
        HEAD + 'file: "{sample}_{scan:integer}"\n' + RULES,
        "4:7",
        "file: {scan} is in the key, which is text",
        "write {scan} or {scan:digits}",
    ),
    "text where a rule wants a number": (
        HEAD + 'file: "{sample}_{n}"\nrules:\n  - {tree: "/{scan:NXentry}/n", field: n, dtype: int32}\n',
        "6:50",
        "dtype: n is text as m.yaml:4:7 takes it of a file's name, and no int32",
        "write {n:integer} or {n:float} in file:",
    ),
    "text that has units": (
        HEAD + 'file: "{sample}_{n}"\nrules:\n  - {tree: "/{scan:NXentry}/n", field: n, units: K}\n',
        "6:50",
        "units: n is text as m.yaml:4:7 takes it of a file's name, and has no units",
        "write {n:integer} or {n:float} in file:",
    ),
    "a number where a rule has names": (
        HEAD + 'file: "{s}_{n:integer}"\nrules:\n  - {tree: "/{scan:NXentry}/n", field: n, values: {a: 1}}\n',
        "6:51",
        "values: n is a number as m.yaml:4:7 takes it of a file's name, and no name of a number",
        "write {n:digits} in file:",
    ),
    "a number where a rule wants text": (
        HEAD + 'file: "{s}_{n:integer}"\nrules:\n  - {tree: "/{scan:NXentry}/n", field: n, dtype: text}\n',
        "6:50",
        "dtype: n is a number as m.yaml:4:7 takes it of a file's name, and no text",
        "write {n:digits} in file:",
    ),
    # links
    "link to nowhere": (
        rule('{tree: "/{scan}/a", field: a}', '{tree: "/{scan}/b", link: "/{scan}/c"}'),
        "6:31",
        "link: no rule writes anything at '/{scan}/c'",
        "did you mean '/{scan}/a'?",
    ),
    "link with a field": (
        rule('{tree: "/{scan}/a", field: a, link: b}'),
        "5:32",
        "field: a link has none",
        "leave field out",
    ),
    "link of a free name": (
        rule('{tree: "/{scan}/a", field: a}', '{tree: "/{scan}/{b}", link: "/{scan}/a"}'),
        "6:12",
        "link: {b} is not in the key",
        "name the path",
    ),
    "link on export": (
        rule('{tree: "/{scan}/a", link: "/{scan}/b", direction: export}'),
        "5:55",
        "a link is made on import only",
        "leave direction out",
    ),
    # what rules state of values
    "unknown unit": (
        rule('{tree: "/{scan}/a", field: a, units: milimetre}'),
        "5:42",
        "units: there is no unit 'milimetre'",
        "units are as",
    ),
    "unit that is nearly one": (
        rule('{tree: "/{scan}/a", field: a, units: kev}'),
        "5:42",
        "units: there is no unit 'kev'",
        "did you mean 'keV'?",
    ),
    "units of two quantities": (
        rule('{tree: "/{scan}/a", field: a, units: {tree: rad, field: mm}}'),
        "5:42",
        "rad cannot be converted to mm",
        "one quantity",
    ),
    "units with two zeros": (
        rule('{tree: "/{scan}/a", field: a, units: {tree: K, field: degC}}'),
        "5:42",
        "K and degC have different zeros",
        "one quantity",
    ),
    "units of one side": (
        rule('{tree: "/{scan}/a", field: a, units: {tree: rad}}'),
        "5:42",
        "units: has keys other than tree and field, or lacks one",
        "{tree: rad, field: deg}",
    ),
    "unit in braces": (
        rule('{tree: "/{scan}/a", field: a, units: [mm]}'),
        "5:42",
        "rules.0.units: must be a unit, or those of tree and field, found ['mm']",
        "units: mm",
    ),
    "unknown dtype": (
        rule('{tree: "/{scan}/a", field: a, dtype: flaot32}'),
        "5:42",
        "dtype: there is no 'flaot32'",
        "did you mean 'float32'?",
    ),
    "rank below zero": (
        rule('{tree: "/{scan}/a", field: a, rank: -1}'),
        "5:41",
        "rank: -1 is no number of dimensions",
        "from 0 to 32",
    ),
    "rank in words": (
        rule('{tree: "/{scan}/a", field: a, rank: two}'),
        "5:41",
        "rules.0.rank: Input should be a valid integer",
        "write a number",
    ),
    "scale of nothing": (
        rule('{tree: "/{scan}/a", field: a, scale: 0}'),
        "5:42",
        "scale: 0 cannot be undone",
        "direction: export",
    ),
    "scale without end": (
        rule('{tree: "/{scan}/a", field: a, scale: inf}'),
        "5:42",
        "scale: must be a finite number",
        "write a number",
    ),
    "scale of text": (
        rule('{tree: "/{scan}/a", field: a, scale: 2, dtype: text}'),
        "5:52",
        "dtype: text has no units, scale or offset",
        "dtype: number",
    ),
    "two names of one number": (
        rule('{tree: "/{scan}/a", field: a, values: {dark: 2, black: 2}}'),
        "5:43",
        "values: dark and black are both 2, which has no way back",
        "direction: import",
    ),
    "names that do not fit": (
        rule('{tree: "/{scan}/a", field: a, dtype: uint8, values: {dark: 300}}'),
        "5:57",
        "values: dark is 300, which is no uint8",
        "wider dtype",
    ),
    "names and scale": (
        rule('{tree: "/{scan}/a", field: a, scale: 2, values: {dark: 2}}'),
        "5:53",
        "which have no units, scale or offset",
        "leave those out",
    ),
    "names that are words": (
        rule('{tree: "/{scan}/a", field: a, values: {dark: two}}'),
        "5:50",
        "rules.0.values.dark",
        "write a number",
    ),
    "constant with a field": (
        rule('{tree: "/{scan}/a", field: a, constant: 1}'),
        "5:45",
        "constant: what is always the same is no field",
        "leave field out",
    ),
    "constant at no place": (
        rule('{tree: "/{scan}/{x}", constant: 1}'),
        "5:37",
        "constant: {x} is not in the key",
        "name the path",
    ),
    "constant of another dtype": (
        rule('{tree: "/{scan}/a", constant: 300, dtype: uint8}'),
        "5:35",
        "constant: 300 is no uint8",
        "another dtype",
    ),
    "constant of keys": (
        rule('{tree: "/{scan}/a", constant: {x: 1}}'),
        "5:35",
        "rules.0.constant",
        "or e.g. [0, 0, -1]",
    ),
    "constant that lists lists": (
        rule('{tree: "/{scan}/a", constant: [[1, 2], [3, 4]]}'),
        "5:35",
        "rules.0.constant: must be a text, a number, true or false, or a list of texts or of numbers",
        "or e.g. [0, 0, -1]",
    ),
    "constant that lists nothing": (
        rule('{tree: "/{scan}/a", constant: []}'),
        "5:35",
        "constant: the list is empty",
        "write a list of numbers",
    ),
    "constant of numbers and texts": (
        rule('{tree: "/{scan}/a", constant: [0, y, -1]}'),
        "5:35",
        "constant: [0, 'y', -1] has number and text",
        "write a list of numbers",
    ),
    "constant of which one is of another dtype": (
        rule('{tree: "/{scan}/a", constant: [0, -1], dtype: uint8}'),
        "5:35",
        "constant: -1 is no uint8",
        "another dtype",
    ),
    "constant of texts with a dtype": (
        rule('{tree: "/{scan}/a", constant: [a, b], dtype: uint8}'),
        "5:35",
        "constant: ['a', 'b'] is no uint8",
        "leave dtype out",
    ),
    "constant that nothing holds": (
        rule('{tree: "/{scan}/a", constant: [1.5, 1' + "0" * 400 + "]}"),
        "5:35",
        "is no float64",
        "another dtype",
    ),
    "constant that no integer holds": (
        rule('{tree: "/{scan}/a", constant: 100000000000000000000}'),
        "5:35",
        "constant: 100000000000000000000 is no int64",
        "such as float64",
    ),
    "a field of the units of a dataset": (
        rule('{tree: "/{scan}/a", field: a}', '{tree: "/{scan}/a/@units", field: unit}'),
        "6:12",
        "tree: @units of a dataset belongs to the field that the dataset is",
        "the field has its units",
    ),
    "a field of what plots say of a dataset": (
        rule('{tree: "/{scan}/{c}", field: "{c}"}', '{tree: "/{scan}/{c}/@axes", field: "{c}@axes"}'),
        "6:12",
        "tree: @axes of a dataset belongs to the field that the dataset is",
        "leave the rule out",
    ),
    "a field of an attribute of a stack": (
        stacked('{tree: "d/@note", field: note, each: record}'),
        "7:12",
        "tree: a stack is made of the attributes that its records have",
        "at the place of each record",
    ),
    "a link that any attribute is": (
        rule('{tree: "/{scan:NXentry}/@{a}", link: "/{scan}/b"}', '{tree: "/{scan:NXentry}/b", field: b}'),
        "5:12",
        "nothing says what the link is called",
        "name the path of the link",
    ),
    "a link that the mapping writes": (
        rule('{tree: "/{scan:NXentry}/@signal", link: "/{scan}/b"}', '{tree: "/{scan:NXentry}/b", field: b}'),
        "5:12",
        "@signal is written by the mapping itself",
        "leave the rule out",
    ),
    "a test with an empty text": (
        HEAD + 'when: ["/{scan:NXentry}/definition[=NXa|]"]\n' + RULES,
        "4:34",
        "'definition[=NXa|]' has an empty text",
        "write [=A|B]",
    ),
    "a guard of a tie": (
        HEAD
        + 'rules:\n  - {tree: "/{scan}/{a}", field: "{a}", rank: 1}\n  - {tree: "/{scan}/{b}", field: "x{b}", rank: 1}\n',
        "6:5",
        "this rule matches the same as the one at m.yaml:5:5",
        "more literal",
    ),
    # stacks and absent fields
    "a stack of nothing": (
        stacked("", stack="{over: rol, order: [a]}"),
        "4:15",
        "stack: over: 'rol' is not in the key of the records",
        "did you mean 'role'?",
    ),
    "a stack without order": (stacked("", stack="{over: role}"), "4:8", "stack.order: must be there", "order: [dark,"),
    "an empty order": (
        stacked("", stack="{over: role, order: []}"),
        "4:28",
        "stack: order: no value of the key is named",
        "order: [dark, flat, projection]",
    ),
    "an order with one twice": (
        stacked("", stack="{over: role, order: [a, b, a]}"),
        "4:35",
        "stack: order: a is there twice",
        "keep one of them",
    ),
    "an unknown key of the stack": (
        stacked("", stack="{over: role, oder: [a]}"),
        "4:21",
        "there is no key 'oder'",
        "did you mean 'order'?",
    ),
    "a stack that is a word": (stacked("", stack="role"), "4:8", "stack: must have keys, found 'role'", "{over: role,"),
    "by that is no list": (
        stacked("", stack="{over: role, order: [a], by: time}"),
        "4:37",
        "stack.by: Input should be a valid list, found 'time'",
        "write a list",
    ),
    "a stack that no rule is of": (
        HEAD.replace("scan", "scan, role") + "stack: {over: role, order: [a]}\n" + RULES,
        "4:8",
        "stack: no rule says each: stack",
        "add one",
    ),
    "each: stack without a stack": (
        rule('{tree: "/{scan}/d", field: d, each: stack}'),
        "5:41",
        "each: stack needs what is stacked",
        "stack: {over: role, order: [dark, flat, projection]}",
    ),
    "a field and a key": (
        stacked('{tree: "k", key: role, field: k, each: stack}'),
        "7:60",
        "each: stack: the rule has both a field and a key",
        "field: NAME, or key: role",
    ),
    "neither a field nor a key": (
        stacked('{tree: "k", each: stack, constant: 1}'),
        "7:39",
        "each: stack: the rule has neither a field nor a key",
        "field: NAME, or key: role",
    ),
    "another key": (
        stacked('{tree: "k", key: scan, each: stack}'),
        "7:38",
        "key: 'scan' is not what the stack runs over",
        "write key: role",
    ),
    "a key that is not of a stack": (
        stacked('{tree: "k", key: role, each: row}'),
        "7:38",
        "key: only what is one item for each row of a stack can say the key",
        "add each: stack",
    ),
    "a role without a number": (
        stacked('{tree: "k", key: role, each: stack, values: {a: 0}}'),
        "7:65",
        "values: b is in the order of the stack, but has no number",
        "add it, e.g. {b: 1}",
    ),
    "a stack of any field": (
        stacked('{tree: "x/{c=k}", field: "{c}", each: stack}'),
        "7:46",
        "field: '{c}' has a capture, and a stack is of one field",
        "one rule for each field",
    ),
    "a stack in each of its records": (
        stacked('{tree: "{role}/k", field: k, each: stack}'),
        "7:12",
        "a stack holds every role, so {role} is not in its path",
        "leave it out",
    ),
    "a stack that follows a role": (
        stacked('{tree: "{y@signal}", field: k, each: stack}'),
        "7:12",
        "tree: a stack is a dataset whose path is written out",
        'tree: "detector/data"',
    ),
    "two of a stack at one place": (
        stacked('{tree: "k", field: k, each: stack}', '{tree: "k", field: l, each: stack}'),
        "8:5",
        "this rule writes the same as the one at m.yaml:7:5",
        "also:",
    ),
    "absent that is true": (
        stacked('{tree: "k", field: k, each: stack, absent: true}'),
        "7:64",
        "absent: must be a text, a number or a range, found True",
        "{from: 0, to: 180, endpoint: false}",
    ),
    "absent of a list": (
        stacked('{tree: "k", field: k, each: stack, absent: [1]}'),
        "7:64",
        "absent: a list is one value for the record",
        "say each: record",
    ),
    "absent of a list in a stack of roles": (
        stacked('{tree: "k", field: k, each: stack, absent: {a: [1]}}'),
        "7:64",
        "absent: must be a text, a number or a range, found [1]",
        "{from: 0, to: 180, endpoint: false}",
    ),
    "absent of keys in a list": (
        rule('{tree: "/{scan:NXentry}/a", field: a, each: record, absent: [{a: 1}]}'),
        "5:65",
        "rules.0.absent: must be a text, a number, a list or a range, found [{'a': 1}]",
        "absent: 0",
    ),
    "absent of texts and numbers": (
        rule('{tree: "/{scan:NXentry}/a", field: a, each: record, absent: [1, x]}'),
        "5:65",
        "absent: [1, 'x'] has number and text",
        "write a list of numbers",
    ),
    "absent of a field and a shape": (
        rule('{tree: "/{scan:NXentry}/a", field: a, each: record, absent: {field: b, shape: b}}'),
        "5:65",
        "absent: must name one field, found {'field': 'b', 'shape': 'b'}",
        "write {field: NAME}, {shape: NAME} or {origin: NAME}",
    ),
    "absent of the shape of a number": (
        rule('{tree: "/{scan:NXentry}/a", field: a, each: record, absent: {shape: 3}}'),
        "5:65",
        "absent: must name one field, found {'shape': 3}",
        "{shape: NAME}",
    ),
    "absent of itself": (
        rule('{tree: "/{scan:NXentry}/a", field: a, each: record, absent: {field: a}}'),
        "5:65",
        "absent: a is the field that is absent",
        "name another",
    ),
    "absent of a field for each row": (
        rule('{tree: "/{scan:NXentry}/a", field: a, each: row, absent: {field: b}}'),
        "5:62",
        "absent: what a field says is one value for the record",
        "say each: record",
    ),
    "absent of an unknown role": (
        stacked('{tree: "k", field: k, each: stack, absent: {aa: 1}}'),
        "7:64",
        "absent: there is no 'aa' in the order of the stack",
        "did you mean 'a'?",
    ),
    "a range without an end": (
        stacked('{tree: "k", field: k, each: stack, absent: {a: {from: 0}}}'),
        "7:64",
        "absent: a range needs 'to'",
        "{from: 0, to: 180, endpoint: false}",
    ),
    "a range to a word": (
        stacked('{tree: "k", field: k, each: stack, absent: {from: 0, to: info/Range}}'),
        "7:64",
        "absent: to must end in a number, found 'info/Range'",
        "to: [FIELD, 180]",
    ),
    "an unknown key of a range": (
        stacked('{tree: "k", field: k, each: stack, absent: {from: 0, to: 1, endpint: false}}'),
        "7:64",
        "absent: a range has no 'endpint'",
        "did you mean 'endpoint'?",
    ),
    "a range of no steps": (
        stacked('{tree: "k", field: k, each: stack, absent: {from: 0, to: 1, steps: 0}}'),
        "7:64",
        "absent: steps must be a number or a field, found 0",
        "leave it out",
    ),
    "an end that is a word": (
        stacked('{tree: "k", field: k, each: stack, absent: {from: 0, to: 1, endpoint: 1}}'),
        "7:64",
        "absent: endpoint must be true or false, found 1",
        "write true or false",
    ),
    "absent of any field": (
        rule('{tree: "/{scan:NXentry}/{c}", field: "{c}", absent: 0}'),
        "5:57",
        "absent: '{c}' is any field, of which none is absent",
        "the name of one field",
    ),
    "absent of no field": (
        rule('{tree: "/{scan:NXentry}/c", constant: 1, absent: 0}'),
        "5:54",
        "absent: the rule has no field that a record may lack",
        "add field: NAME",
    ),
    "absent on export": (
        rule('{tree: "/{scan:NXentry}/c", field: c, absent: 0, direction: export}'),
        "5:51",
        "absent: is for import, and the rule is for export only",
        "leave one of them out",
    ),
    "absent of a role": (
        rule('{tree: "/{scan:NXentry}/{y@signal}", field: y, absent: 0}'),
        "5:60",
        "absent: {y@signal} is no place of a field that is absent",
        "name the path",
    ),
    "a text where numbers are": (
        rule('{tree: "/{scan:NXentry}/c", field: c, units: mm, absent: none}'),
        "5:62",
        "absent: 'none' is no number, as the rule states",
        "write a number",
    ),
    "absent that has no number": (
        rule('{tree: "/{scan:NXentry}/c", field: c, values: {on: 1, off: 0}, absent: onn}'),
        "5:76",
        "absent: 'onn' is none of values:",
        "did you mean 'on'?",
    ),
    "a default group of a stack that follows a role": (
        stacked('{tree: "data:NXdata", default: true, links: {signal: "{y@signal}"}}'),
        "7:65",
        "links: signal: '{y@signal}' is no path",
        'links: {signal: "detector/data"}',
    ),
    "a path of roles without a stack": (
        rule('{tree: "/{scan:NXentry}/d", default: true, links: {signal: "a/b"}}'),
        "5:55",
        "links: signal: 'a/b' names no role",
        "y@signal",
    ),
}
"""What is wrong: the text, line and column, words of the message, words of the tip."""


@pytest.mark.parametrize("name", WRONG)
def test_it_says_where_and_what_and_how_to_mend_it(name: str) -> None:
    text, position, words, tip = WRONG[name]
    with pytest.raises(MappingError) as caught:
        compile_text(text, "m.yaml")
    message = caught.value.message
    assert message.startswith(f"m.yaml:{position}: "), message
    assert words in message
    assert tip in caught.value.tip
    assert caught.value.tip
    assert "\n" not in message + caught.value.tip


def test_what_they_are_made_of_is_right() -> None:
    """Else every one of them would be wrong for that reason."""
    assert compile_text(HEAD + RULES, "m.yaml").name == "mine"
    assert compile_text(rule('{tree: "/{scan}/{c}", field: "{c}"}'), "m.yaml").rules


FILES = {
    "binary": (b"\x89HDF\r\n\x1a\n", "1:1: byte 0 (0x89) is not UTF-8", "UTF-8"),
    "latin-1": (HEAD.encode() + "title: Grün\n".encode("latin-1"), "4:10: byte 48 (0xfc) is not UTF-8", "UTF-8"),
    "too large": (b"#" * (2 << 20), "1:1: m.yaml has 2,097,152 bytes, a mapping at most 1,048,576", "the data"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_text(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, message, tip = FILES[name]
    (tmp_path / "m.yaml").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    mapping.load.cache_clear()
    with pytest.raises(MappingError) as caught:
        mapping.load("m.yaml")
    assert caught.value.message == f"m.yaml:{message}"
    assert tip in caught.value.tip


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_mark_of_windows_are_taken(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(start + (HEAD + RULES).replace("\n", "\r\n").encode())
    assert mapping.load(str(tmp_path / "m.yaml")).name == "mine"


def test_a_folder_is_no_mapping(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="cannot be read"):
        mapping.load(str(tmp_path))
