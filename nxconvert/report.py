"""What a conversion has to tell, gathered as it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from nxconvert.dataclass import dataclass
from nxconvert.errors import Loss, Notice


@dataclass
class Report:
    """What happened, gathered as it happens.

    Attributes
    ----------
    outputs
        Files that were written.
    losses
        What the outputs do not carry.
    notices
        Warnings.
    remarks
        What is good to know and no reason to worry: which values are computed.
    untaken
        Datasets that no rule of the mapping took; None when nobody asked.
    skipped
        Records that were not written, each with its reason.
    failed
        Inputs and records that failed, each with its error.
    progress
        Called with what is being written and how many bytes of values went since the last call.
    """

    outputs: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    untaken: list[str] | None = None
    skipped: list[Loss] = field(default_factory=list)
    failed: list[tuple[str, Exception]] = field(default_factory=list)
    progress: Callable[[str, int], None] | None = field(default=None, repr=False, compare=False)

    def lose(self, what: str, where: str, why: str) -> None:
        """Record a loss once."""
        loss = Loss(what, where, why)
        if loss not in self.losses:
            self.losses.append(loss)

    def add(self, other: Report) -> None:
        """Take over what another report tells."""
        self.outputs += other.outputs
        for loss in other.losses:
            self.lose(loss.what, loss.where, loss.why)
        for notice in other.notices:
            self.notice(notice.message)
        for remark in other.remarks:
            self.remark(remark)
        self.skipped += other.skipped
        self.failed += other.failed

    def moved(self, what: str, size: int) -> None:
        """Tell that bytes of values have been written."""
        if self.progress is not None:
            self.progress(what, size)

    def remark(self, message: str) -> None:
        """Record what is good to know, once; ``--strict`` does not mind it."""
        if message not in self.remarks:
            self.remarks.append(message)

    def notice(self, message: str) -> None:
        """Record a warning once."""
        notice = Notice(message)
        if notice not in self.notices:
            self.notices.append(notice)
