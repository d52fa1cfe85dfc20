"""How long work tells whoever waits how far it is. Stages call it, a terminal draws it, all else is silent."""

from __future__ import annotations

from typing import Final, Protocol


class Progress(Protocol):
    """`stage` begins a piece of work; `advance` says that some of it is done."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Work called `name` of `total` parts (None: nobody knows) begins. The name of the stage that runs: its total
        is corrected, what was done stays."""
        ...

    def advance(self, count: int = 1) -> None:
        """`count` more parts are done."""
        ...


class Silent:
    """Nobody watches."""

    def stage(self, name: str, total: int | None = None) -> None:
        del name, total

    def advance(self, count: int = 1) -> None:
        del count


SILENT: Final[Progress] = Silent()
