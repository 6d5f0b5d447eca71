"""The base class of a format's tests: everything that the contract promises, tried."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nxconvert import grid, registry
from nxconvert.array import decode, is_text, type_name
from nxconvert.engine.transfer import record_to_sink, tree_to_tree
from nxconvert.errors import Loss
from nxconvert.format import Format, Head, Location, Policy, Records, RecordSink, Report, Tree, TreeSink
from nxconvert.record import Record
from nxconvert.testing import faults, generate
from nxconvert.testing.differences import Difference, record_differences, same_values, tree_differences
from nxconvert.tree import Dataset, Group

HEAD = 64 << 10


class FormatConformance:
    """What a format must do. Subclass it as ``TestMyFormat``, and set ``format``.

    Attributes
    ----------
    format
        The format.
    examples
        How many generated records (or trees) each test tries.
    damages
        How many cut and how many mutated copies of a file are read.
    imports
        Packages that the format's module may import when it is loaded; others belong inside functions.
    shares
        Names of formats that recognise this one's files with certainty too; say why beside it.
    kinds
        Kinds of dtype to generate, when fewer than the format ``holds``; say why beside it.
    """

    format: ClassVar[Format]
    examples: ClassVar[int] = 50
    damages: ClassVar[int] = 60
    imports: ClassVar[frozenset[str]] = frozenset({"numpy", "orjson", "yaml"})
    shares: ClassVar[frozenset[str]] = frozenset()
    kinds: ClassVar[str | None] = None

    # What a subclass may say

    def adapt(self, record: Record) -> Record:
        """Make a generated record acceptable to a format that demands something, such as the element of an XDI file."""
        return record

    def oracle(self, path: Path) -> Mapping[str, Any] | None:
        """Read a file that was written, by another library.

        Returns
        -------
        dict
            Values by the name of the column, or for trees by path; those that the library gives. None when there is
            no such library.
        """
        return None

    def foreign(self, path: Path) -> Mapping[str, Any] | None:
        """Write a file with another library, and return what must be read from it; as ``oracle``."""
        return None

    # Writing and reading, as the engine does

    def write(self, content: Sequence[Record] | Group, folder: Path, report: Report, **options: Any) -> Path:
        """Write records or a tree by the format's sink, and give the file its name."""
        path = folder / f"written{self.format.extensions[0]}"
        part = folder / f".{path.name}.1.part"  # a sink is given a name without the format's extension
        assert self.format.create is not None
        sink = self.format.create(part, report, **options)
        try:
            if isinstance(content, Group):
                assert isinstance(sink, TreeSink)
                tree_to_tree(content, sink, 1 << 16)
            else:
                assert isinstance(sink, RecordSink)
                for record in content:
                    record_to_sink(record, sink, _few_rows(record))
            sink.close()
        except BaseException:
            sink.abort()
            raise
        assert part.exists(), f"{self.format.name} wrote to another name than it was given"
        part.replace(path)
        return path

    def open(self, path: Path, report: Report | None = None) -> Records | Tree:
        """Open a file by the format."""
        assert self.format.open is not None
        return self.format.open(Location(str(path)), Policy(), report or Report())

    def records_of(self, path: Path) -> list[Record]:
        """Read all records of a file into memory, by blocks and as a whole, and check that both agree."""
        source = self.open(path)
        assert isinstance(source, Records)
        with source:
            out = []
            for record in source:
                out.append(faults.in_memory(record))
                _blocks_agree(record, out[-1])
            assert [dict(k) for k in source.keys()] == [dict(r.key) for r in out], "keys() and the records disagree"  # noqa: SIM118
            return out

    def _differences(self, content: Any, path: Path) -> list[Difference]:
        if isinstance(content, Group):
            with self.open(path) as source:
                assert isinstance(source, Tree)
                return tree_differences(content, source.root)
        back = self.records_of(path)
        if len(back) != len(content):
            return [Difference("records", f"{len(content)} became {len(back)}")]
        return [d for mine, other in zip(content, back, strict=True) for d in record_differences(mine, other)]

    def check(
        self, content: Sequence[Record] | Group, options: Mapping[str, Any] | None = None, *, lossless: bool = False
    ) -> None:
        """Write, read back, and demand that what differs was reported as lost, or that nothing does."""
        with TemporaryDirectory() as folder:
            report = Report()
            path = self.write(content, Path(folder), report, **(options or {}))
            found = self._differences(content, path)
            bare = found if lossless else [d for d in found if not _told(d, report.losses)]
            shown = "\n  ".join(map(str, bare[:8]))
            if bare:
                raise AssertionError(
                    f"{self.format.name}: read(write(x)) is not x, and no loss says so:\n  {shown}\n"
                    f"losses: {[str(x) for x in report.losses]}\nfile: {_shown(path)}"
                )
            if lossless:
                assert not report.losses, f"a plain one has losses: {[str(x) for x in report.losses]}"

    def _plain(self, count: int = 1) -> Any:
        if self.format.holds.tree:
            return generate.plain_tree()
        holds = self.format.holds
        return [self.adapt(generate.plain_record(holds, scan=f"{n + 1}.1")) for n in range(count)]

    def _writes(self) -> None:
        if self.format.create is None:
            pytest.skip(f"{self.format.name} is not written")

    def _round_trips(self) -> None:
        self._writes()
        if self.format.open is None:
            pytest.skip(f"{self.format.name} is not read")

    def _given(self, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        """Run a check on generated examples. Inside a method, so that each subclass has examples of its own."""
        quiet = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

        @settings(max_examples=self.examples, deadline=None, suppress_health_check=quiet)
        @given(strategy)
        def run(example: Any) -> None:
            check(example)

        run()

    # The declaration

    def test_declaration_is_sane(self) -> None:
        f = self.format
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", f.name), f"the name {f.name!r} is no word of lower-case letters"
        assert f.title, "people need a title"
        assert f.extensions, "at least one extension is needed, to name outputs"
        for extension in f.extensions:
            assert re.fullmatch(r"\.[^.A-Z/\\][^A-Z/\\]*", extension), f"{extension!r}: a dot, then lower case"
        assert f.open or f.create or f.refused, "it neither reads nor writes, nor says why"
        assert set(f.holds.kinds) <= set("biufcSOVmM"), f"unknown kinds of dtype in {f.holds.kinds!r}"
        assert 0 <= f.holds.min_item_rank <= f.holds.item_rank
        assert f.holds.records in (None, 1)
        for option in (*f.write_options, *f.read_options):
            assert option.name.isidentifier(), f"the option {option.name!r} is no identifier"
            assert option.name == option.name.lower()
            assert option.help.endswith("."), f"the help of {option.name} is no sentence"
            if option.choices:
                assert option.default in option.choices, f"the default of {option.name} is none of its choices"

    def test_can_be_sent_to_another_process(self) -> None:
        for function in (self.format.open, self.format.create):
            assert pickle.loads(pickle.dumps(function)) is function, "open and create must be importable by name"  # noqa: S301

    def test_loads_without_heavy_imports(self) -> None:
        function = self.format.open or self.format.create or self.format.sniff
        script = (
            "import sys, importlib, sysconfig, pathlib\n"
            "importlib.import_module(sys.argv[1])\n"
            "site = {pathlib.Path(p).resolve() for p in sysconfig.get_paths().values() if 'site-packages' in p}\n"
            "for name, module in sorted(sys.modules.items()):\n"
            "    origin = getattr(module, '__file__', None)\n"
            "    if '.' not in name and origin and site & set(pathlib.Path(origin).resolve().parents):\n"
            "        print(name)\n"
        )
        module = function.__module__
        done = subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-c", script, module],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert done.returncode == 0, done.stderr
        bare = subprocess.run(  # noqa: S603
            [sys.executable, "-c", script, "nxconvert.format"], capture_output=True, text=True, check=True
        )
        own = module.partition(".")[0]
        heavy = set(done.stdout.split()) - set(bare.stdout.split()) - self.imports - {own, "nxconvert"}
        heavy = {h for h in heavy if not h.startswith("_")}
        assert not heavy, f"importing {module} imports {sorted(heavy)}: move that into the functions that need it"

    # What is read is what was written

    def test_plain_content_is_held_without_loss(self) -> None:
        self._round_trips()
        self.check(self._plain(), lossless=True)

    def test_what_is_read_is_what_was_written(self) -> None:
        self._round_trips()
        holds = self.format.holds
        if holds.tree:
            self._given(generate.trees(holds, self.kinds), self.check)
        else:
            self._given(generate.records(holds, self.kinds), lambda record: self.check([self.adapt(record)]))

    def test_grid_scans_keep_their_shape(self) -> None:
        self._round_trips()
        holds = self.format.holds
        if holds.tree or holds.min_item_rank or not holds.header:
            pytest.skip(f"{self.format.name} holds no table with a memo")

        def check(record: Record) -> None:
            self.check([self.adapt(record)])
            with TemporaryDirectory() as folder:
                path = self.write([self.adapt(record)], Path(folder), report := Report())
                found = record_differences(grid.fold(self.adapt(record)), grid.fold(self.records_of(path)[0]))
                bare = [d for d in found if not _told(d, report.losses)]
                assert not bare, f"the grid differs: {[str(d) for d in bare]}"

        self._given(generate.grid_records(holds), check)

    def test_a_file_holds_many_records(self) -> None:
        self._round_trips()
        holds = self.format.holds
        if holds.tree or holds.records is not None:
            pytest.skip(f"a {self.format.name} file holds one record")
        self.check(self._plain(3), lossless=True)
        several = st.lists(generate.records(holds, self.kinds), min_size=2, max_size=4)

        def check(found: list[Record]) -> None:
            from dataclasses import replace

            numbered = [replace(r, key={"scan": f"{n + 1}.1"} if holds.header else {}) for n, r in enumerate(found)]
            self.check([self.adapt(r) for r in numbered])

        self._given(several, check)

    def test_every_choice_of_an_option_round_trips(self) -> None:
        self._round_trips()
        for option in self.format.write_options:
            for choice in option.choices or (option.default,):
                self.check(self._plain(), {option.name: choice})

    def test_boxes_are_parts_of_the_whole(self) -> None:
        """Random boxes of any array equal the same boxes of the whole."""
        self._round_trips()
        with (
            TemporaryDirectory() as folder,
            self.open(self.write(self._plain(), Path(folder), Report())) as source,
        ):
            for array in _arrays(source):
                whole = array.read()
                assert isinstance(whole, np.ndarray), f"{array!r} reads as a {type(whole).__name__}, not an array"
                for at in range(6 if array.shape else 0):
                    box = tuple(slice(at % (n + 1), max(at % (n + 1), n - at // 2)) for n in array.shape)
                    assert same_values(array.read(box), whole[box]), f"{array!r} differs in the box {box}"
                assert type_name(whole.dtype) == type_name(array.dtype), f"{array!r} gives {whole.dtype}"

    # Other libraries

    def test_another_library_reads_it_alike(self) -> None:
        self._writes()
        content = self._plain()
        with TemporaryDirectory() as folder:
            read = self.oracle(self.write(content, Path(folder), Report()))
        if read is None:
            pytest.skip("no other library is named by oracle()")
        self._compare(_by_name(content), read, "another library")

    def test_what_another_library_wrote_is_read(self) -> None:
        if self.format.open is None:
            pytest.skip(f"{self.format.name} is not read")
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"foreign{self.format.extensions[0]}"
            wanted = self.foreign(path)
            if wanted is None:
                pytest.skip("no other library is named by foreign()")
            self._recognised(_head(path), "what another library wrote")
            with self.open(path) as source:
                found = contents if isinstance(contents := faults.contents(source), dict) else _by_name(contents)
            self._compare(wanted, found, "the format")

    def _compare(self, wanted: Mapping[str, Any], found: Mapping[str, Any], who: str) -> None:
        common = [n for n in wanted if n in found]
        assert common, f"{who} read {list(found)}, not one of {list(wanted)}"
        for name in common:
            a, b = np.asarray(wanted[name]), np.asarray(found[name])
            if is_text(a.dtype) or a.dtype == object:
                equal = a.shape == b.shape and [str(v) for v in decode(a).flat] == [str(v) for v in decode(b).flat]
            else:
                equal = a.shape == b.shape and bool(np.all((a == b) | ((a != a) & (b != b))))
            assert equal, f"{who} reads {name} as {b!r}, which was written as {a!r}"

    # Recognising files

    def _recognised(self, head: Head, what: str) -> None:
        """Demand that the format knows a file as its own and, once it is installed, that it is the one to read it."""
        assert self.format.sniff(head) >= 1, f"it does not recognise {what}"
        if registry.formats().get(self.format.name) is self.format and self.format.open is not None:
            assert registry.detect(Location(str(head.path)), head) is self.format, f"another format takes {what}"

    def test_its_files_are_recognised_by_it_alone(self) -> None:
        self._writes()
        with TemporaryDirectory() as folder:
            head = _head(self.write(self._plain(), Path(folder), Report()))
            self._recognised(head, "what it wrote")
            others = {f.name: f.sniff(head) for f in registry.formats().values() if f.name != self.format.name}
            rivals = {n for n, other in others.items() if other >= 2} - self.shares
            assert not rivals, f"{', '.join(sorted(rivals))} claims its files with certainty"

    def test_other_input_is_not_claimed(self) -> None:
        def check(start: bytes) -> None:
            assert self.format.sniff(Head(None, start)) in (0, 1, 2)

        self._given(st.binary(max_size=600), check)
        assert self.format.sniff(Head(None, b"")) == 0, "it claims an empty input"
        for seed in range(20):
            noise = np.random.default_rng(seed).integers(0, 256, 5000, dtype=np.uint8).tobytes()
            assert self.format.sniff(Head(None, noise)) == 0, "it claims random bytes"
        with TemporaryDirectory() as folder:
            assert self.format.sniff(_head(Path(folder))) == 0, "it claims an empty folder"

    # Damage

    def test_a_cut_file_is_an_error_or_a_beginning(self, tmp_path: Path) -> None:
        self._round_trips()
        self._survives(tmp_path, faults.truncated, faults.beginning)

    def test_a_mutated_file_is_an_error_or_is_read(self, tmp_path: Path) -> None:
        self._round_trips()
        self._survives(tmp_path, faults.mutated, lambda found, whole: "")

    def _survives(
        self,
        folder: Path,
        damaged: Callable[[Path, int, int], Iterator[tuple[str, Path]]],
        wrong: Callable[[Any, Any], str],
    ) -> None:
        """Read damaged copies in a child process; each must end in one error, or in what ``wrong`` finds right."""
        many = 3 if self.format.holds.records is None else 1
        path = self.write(self._plain(many), folder, Report())
        assert self.format.open is not None
        with self.open(path) as source:
            whole = faults.contents(source)
        with faults.Reader(self.format.open) as reader:
            assert reader.read(path).kind == "read"
            bad: dict[str, str] = {}
            for done, copy in damaged(path, zlib.crc32(self.format.name.encode()), self.damages):
                recognised = self.format.sniff(_head(copy))
                outcome = reader.read(copy)
                if outcome.kind != "read":
                    why = _more_than_one_error(outcome)
                else:  # what it no longer recognises is nobody's file, and read only by those who insist
                    why = wrong(outcome.content, whole) if recognised else ""
                if why:
                    bad.setdefault(why, done)
            shown = "\n  ".join(f"{why}  <- {done}" for why, done in list(bad.items())[:8])
            assert not bad, f"{self.format.name}: of {self.damages} damaged files:\n  {shown}"

    def test_an_empty_file_is_one_error(self, tmp_path: Path) -> None:
        if self.format.open is None:
            pytest.skip(f"{self.format.name} is not read")
        path = tmp_path / f"empty{self.format.extensions[0]}"
        path.touch()
        with faults.Reader(self.format.open) as reader:
            outcome = reader.read(path)
        assert outcome.kind == "refused" or (outcome.kind == "read" and not outcome.content), str(outcome)

    # Outputs

    def test_nothing_is_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._round_trips()
        with TemporaryDirectory() as folder:
            path = self.write(self._plain(), Path(folder), Report())
            with self.open(path) as source:
                faults.contents(source)
        out, err = capfd.readouterr()
        assert not out, f"it prints {out!r}"
        assert not err, f"it prints {err!r} on standard error"

    def test_an_aborted_file_can_be_removed(self, tmp_path: Path) -> None:
        self._writes()
        assert self.format.create is not None
        for step in range(3):
            part = tmp_path / f".aborted{step}.part"
            sink = self.format.create(part, Report())
            content = self._plain()
            try:
                if step and isinstance(sink, TreeSink):
                    sink.begin(content)
                elif step and isinstance(sink, RecordSink):
                    sink.begin(content[0])
                    if step == 2:
                        sink.write(next(iter(content[0].blocks())))
            finally:
                sink.abort()
            assert not _held(part), f"{_held(part)} is still open after abort()"
            _remove(part)
        assert not list(tmp_path.iterdir()), f"abort() left {[p.name for p in tmp_path.iterdir()]}"

    def test_a_closed_file_is_let_go(self, tmp_path: Path) -> None:
        self._round_trips()
        path = self.write(self._plain(), tmp_path, Report())
        assert not _held(path), "the writer still holds the file after close()"
        with self.open(path) as source:
            faults.contents(source)
        assert not _held(path), "the reader still holds the file after close()"
        _remove(path)

    def test_a_stream_is_written_without_seeking(self, tmp_path: Path) -> None:
        self._writes()
        if self.format.seeks or not hasattr(os, "mkfifo"):
            pytest.skip(f"{self.format.name} needs a file that can seek")
        content = self._plain()
        whole = self.write(content, tmp_path, Report()).read_bytes()
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
        reader.start()
        assert self.format.create is not None
        sink = self.format.create(pipe, Report())
        assert isinstance(sink, RecordSink)
        record_to_sink(content[0], sink, _few_rows(content[0]))
        sink.close()
        reader.join(10)
        assert got == [whole], "what comes out of a stream is not what a file has"


def _few_rows(record: Record) -> int:
    """Return a budget that makes several blocks of most records."""
    row = sum(f.dtype.itemsize * int(np.prod(f.item_shape)) for f in record.columns)
    return max(1, row * 3)


def _blocks_agree(record: Record, whole: Record) -> None:
    """Check that the blocks of a record are the rows of its arrays."""
    next_row = 0
    for block in record.blocks(budget=_few_rows(whole)):
        assert block.start == next_row, f"blocks leave a gap before row {block.start}"
        next_row += block.rows
        for name, column in block.columns.items():
            values = whole.fields[name].values.read()[block.start : block.start + block.rows]
            there = ~np.ma.getmaskarray(column)
            plain = np.ma.getdata(column)
            assert len(plain) == len(values), f"a block has {len(plain)} rows of {name}, its array {len(values)}"
            assert same_values(plain[there], values[there]), f"a block of {name} differs from its array"
    assert next_row == (whole.rows or 0), f"blocks have {next_row} rows, the record {whole.rows}"


def _told(found: Difference, losses: list[Loss]) -> bool:
    """Tell whether a loss names what differs: the same thing, or the field whose attribute it is."""
    return any(found.what == x.what or found.what.startswith((f"{x.what}@", f"{x.what}/")) for x in losses)


def _by_name(content: Any) -> dict[str, Any]:
    if isinstance(content, Group):
        from nxconvert.tree import walk

        return {n.path: n.read() for n in walk(content) if isinstance(n, Dataset)}
    return {f.name: f.values.read() for f in content[0].columns}


def _arrays(source: Records | Tree) -> Iterator[Any]:
    if isinstance(source, Tree):
        from nxconvert.tree import walk

        yield from (n for n in walk(source.root) if isinstance(n, Dataset))
    else:
        for record in source:
            yield from (f.values for f in record.fields.values())


def _head(path: Path) -> Head:
    if path.is_dir():
        return Head(path, b"")
    with path.open("rb") as file:
        return Head(path, file.read(HEAD))


def _more_than_one_error(outcome: faults.Outcome) -> str:
    if outcome.kind != "refused":
        return f"{outcome.kind}: {outcome.detail}"
    return f"an error of several lines: {outcome.detail!r}" if "\n" in outcome.detail else ""


def _shown(path: Path) -> str:
    if path.is_dir():
        return ", ".join(map(str, faults.files_of(path)))
    return repr(path.read_bytes()[:1500])


def _held(path: Path) -> list[str]:
    """Return the files at or below a path that this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return []
    out = []
    for link in list(folder.iterdir()):
        try:
            target = str(link.readlink())
        except OSError:
            continue  # closed meanwhile
        if target == str(path) or target.startswith(f"{path}{os.sep}"):
            out.append(target)
    return out


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
