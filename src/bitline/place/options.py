"""What a user can choose for a placement."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.ir.placement import Cuts

Objective = Literal["arrays", "interval", "latency"]
Group = Literal["max", "auto"] | int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """`cuts`: where matrices are cut. `depthwise_group`: diagonal groups in a block. `objective`: the fewest arrays,
    and with them, or with all `array_budget` arrays, the shortest interval of a pipeline or the lowest latency, by
    copies of layers. `time_limit` seconds of search, None: a fixed number of steps, the same on every machine."""

    cuts: Cuts = "full"
    depthwise_group: Group = "max"
    objective: Objective = "arrays"
    array_budget: int | None = None
    windows: bool = False
    time_limit: float | None = None
    seed: int = 1

    def check(self, *, curve: bool = False) -> None:
        """Raise `Refusal` (BL0101) with all that does not go together. `curve`: budgets are tried one after another."""
        found: list[tuple[str, str]] = []
        if isinstance(self.depthwise_group, int) and self.depthwise_group < 1:
            found.append(
                (f"a group of {self.depthwise_group} channels", "--depthwise-group takes max, auto or 1, 2, ...")
            )
        if self.array_budget is not None and self.array_budget < 1:
            found.append((f"a budget of {self.array_budget} arrays", "--array-budget takes 1, 2, ..."))
        if self.time_limit is not None and not 0 < self.time_limit < inf:
            found.append((f"a time limit of {self.time_limit} s", "--time-limit takes a number of seconds above 0"))
        if self.windows and self.array_budget is None and not curve:
            found.append(
                (
                    "windows without a budget of arrays",
                    "say with --array-budget how many they may take, or ask for --pareto",
                )
            )
        if found:
            raise Refusal([Diagnostic(code="BL0101", message=m, place="", help=h) for m, h in found])
