"""Progress: a bar on a terminal, a line every 30 seconds elsewhere, nothing for what is quick."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

PATIENCE = 1.0
INTERVAL = 30.0


class Progress:
    """Shows what is being written; called with its name and the bytes that went."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.started = self.told = time.monotonic()
        self.bytes = 0
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, what: str, size: int) -> None:
        self.bytes += size
        now = time.monotonic()
        if self.quiet or now - self.started < PATIENCE:
            return
        if sys.stderr.isatty():
            self._show(what, size)
        elif now - self.told >= INTERVAL:
            self.told = now
            rate = self.bytes / (now - self.started)
            print(f"{what}: {self.bytes / 1e6:,.0f} MB written, {rate / 1e6:,.0f} MB/s", file=sys.stderr, flush=True)

    def _show(self, what: str, size: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import DownloadColumn, SpinnerColumn, TextColumn, TransferSpeedColumn
            from rich.progress import Progress as Bar

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                DownloadColumn(),
                TransferSpeedColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(what, total=None)
            size = self.bytes
        self._bar.update(self._task, advance=size, description=what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
