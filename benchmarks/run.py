"""Whole processes of nxconvert against those of other tools, in turn: ``python benchmarks/run.py [NAME...]``."""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
from cases import Case, Setting, cases

PEERS = ["nxtoascii==0.0.1a1", "silx", "pandas", "numpy", "tifffile", "h5py", "hdf5plugin", "typer", "fabio"]


def main() -> int:
    """Run the benchmarks that are asked for; return 1 when a goal was missed."""
    options = _options()
    cache = options.cache.resolve()
    work = Path(tempfile.mkdtemp(prefix="nxconvert-", dir=options.tmpfs or cache))
    inputs = (options.tmpfs.resolve() if options.tmpfs else cache) / "nxconvert-inputs"
    setting = Setting(inputs, work, _scripts(cache / "peers"), options.corpus and options.corpus.resolve())
    known = dict(cases(setting))
    if options.list:
        print("\n".join(known))
        return 0
    chosen = [n for n in known if not options.names or any(fnmatch.fnmatchcase(n, g) for g in options.names)]
    if not chosen:
        raise SystemExit(f"no benchmark is called {' '.join(options.names)}; --list shows all")
    _install(cache / "peers")
    missed = 0
    print(f"{'benchmark':<32} {'ours':>16} {'peer':>16} {'times faster':>22} {'goal':>6} {'MiB':>11}")
    try:
        for name in chosen:
            missed += not _compare(known[name](), work, options.runs)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if options.tmpfs:
            shutil.rmtree(inputs, ignore_errors=True)
    print(f"{len(chosen) - missed} of {len(chosen)} goals reached")
    return int(missed > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks, or globs of them; default: all")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and stop")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default: 5), after one that is not")
    parser.add_argument("--corpus", type=Path, help="folder of real files, for those benchmarks that use them")
    parser.add_argument("--tmpfs", type=Path, metavar="DIR", help="a file system in memory to work in; needs 5 GB")
    default = Path(tempfile.gettempdir()) / "nxconvert-benchmarks"
    parser.add_argument("--cache", type=Path, default=default, help="where peers and inputs are kept; needs 5 GB")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    return options


def _scripts(venv: Path) -> Path:
    return venv / ("Scripts" if sys.platform == "win32" else "bin")


def _install(venv: Path) -> None:
    """Install the peers into an environment of their own, with the same Python."""
    mark = venv / "installed.txt"
    if mark.exists() and mark.read_text().split() == PEERS:
        return
    print("installing the peers", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    python = str(_scripts(venv) / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS], check=True)
    mark.write_text("\n".join(PEERS))


def _compare(case: Case, work: Path, runs: int) -> bool:
    """Run both in turn, print a line, and tell whether the goal was reached."""
    costs: dict[str, list[measure.Cost]] = {"ours": [], "peer": []}
    for number in range(runs + 1):
        for who, command in (("ours", case.ours), ("peer", case.peer)):
            if not command:
                continue
            cost = measure.run(command, work, case.outputs)
            if number:
                costs[who].append(cost)
    if not case.peer:
        return _alone(case, costs["ours"])
    ours, peer = ([getattr(c, case.measure) for c in costs[who]] for who in ("ours", "peer"))
    ratio = statistics.median(peer) / statistics.median(ours)
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    memory = [statistics.median(c.rss for c in costs[who]) for who in ("ours", "peer")]
    reached = ratio >= case.goal and not (case.limit and memory[0] > case.limit)
    print(
        f"{case.name:<32} {_seconds(ours):>16} {_seconds(peer):>16} "
        f"{f'{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})':>22} {case.goal:>6.2f} "
        f"{f'{memory[0]:.0f}/{memory[1]:.0f}':>11}{'' if reached else '  MISSED'}",
        flush=True,
    )
    return reached


def _alone(case: Case, costs: list[measure.Cost]) -> bool:
    """Print the line of a command without a peer, and tell whether it kept to its memory."""
    rss = max(cost.rss for cost in costs)
    reached = rss <= case.limit
    print(
        f"{case.name:<32} {_seconds([c.wall for c in costs]):>16} {'':>16} {f'at most {case.limit} MiB':>29} {rss:>11.0f}"
        f"{'' if reached else '  MISSED'}",
        flush=True,
    )
    return reached


def _seconds(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f}) s"


if __name__ == "__main__":
    sys.exit(main())
