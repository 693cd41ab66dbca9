"""Who is told what a training does while it works: progress bars, log lines, or a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnsbench.training.problem import TrainingStatus


class Listener:
    """A listener that ignores everything; a subclass overrides the messages that it wants to show."""

    def stage(self, text: str) -> None:
        """Take what is being done now, in a few words, such as which part of the ground truth is solved."""

    def notice(self, text: str) -> None:
        """Take a sentence that the user should read, such as that a file is damaged."""

    def training(self, status: TrainingStatus) -> None:
        """Take how far the iterations of a training are."""
