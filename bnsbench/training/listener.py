"""Who listens while something is computed: stages, notices and the progress of trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnsbench.training.problem import TrainingStatus


class Listener:
    """Hears what is being done, and says nothing: a base for listeners that show it."""

    def stage(self, text: str) -> None:
        """Hear what is being done now, such as solving for ground truth."""

    def notice(self, text: str) -> None:
        """Hear a sentence that the user should read, such as that a file is damaged."""

    def training(self, status: TrainingStatus) -> None:
        """Hear how far a training is."""
