"""Mixed-integer programs by HiGHS, bounded so that the same model always gives the same answer."""

from dataclasses import dataclass, field
from typing import NamedTuple

import highspy
import numpy as np

from domain.routing.facts import Floats

MOST_BRANCHES = 100
"""Branch-and-bound nodes: a limit that does not depend on how fast the machine is."""
_INFINITE = highspy.kHighsInf


class Answer(NamedTuple):
    """Values by column, and whether no better ones exist."""

    values: Floats
    is_optimal: bool
    duals: Floats
    """By row: what one unit more of its limit would save, as a number not below 0; of a relaxed
    model only."""


@dataclass(slots=True)
class Model:
    """Columns with costs to be minimised, and rows that limit their sums."""

    costs: list[float] = field(default_factory=list)
    uppers: list[float] = field(default_factory=list)
    _starts: list[int] = field(default_factory=lambda: [0])
    _columns: list[int] = field(default_factory=list)
    _weights: list[float] = field(default_factory=list)
    _lows: list[float] = field(default_factory=list)
    _highs: list[float] = field(default_factory=list)

    def column(self, cost: float, upper: float = 1.0) -> int:
        """A whole number from 0 to `upper`; returns its position."""
        self.costs.append(cost)
        self.uppers.append(upper)
        return len(self.costs) - 1

    def row(self, terms: dict[int, float], high: float, low: float = -_INFINITE) -> None:
        """Low <= sum of weight x column <= high."""
        self._columns += terms.keys()
        self._weights += terms.values()
        self._starts.append(len(self._columns))
        self._lows.append(low)
        self._highs.append(high)

    def solve(self, *, is_relaxed: bool = False) -> Answer | None:
        """The cheapest values found within the limits; None: there are none."""
        highs = highspy.Highs()  # type: ignore[no-untyped-call]
        settings: dict[str, bool | int | float | str] = {
            "output_flag": False,
            "threads": 1,
            "random_seed": 1,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": 1e-7,
            "mip_max_nodes": MOST_BRANCHES,
        }
        for name, value in settings.items():
            highs.setOptionValue(name, value)
        highs.passModel(self._program(is_relaxed=is_relaxed))
        highs.run()
        status, found = highs.getModelStatus(), highs.getInfo()
        good = (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kSolutionLimit)
        if status not in good or found.primal_solution_status != 2:
            return None
        solution = highs.getSolution()
        values = np.array(solution.col_value, dtype=np.float64)
        duals = np.maximum(0.0, -np.array(solution.row_dual, dtype=np.float64))
        return Answer(values, status == highspy.HighsModelStatus.kOptimal, duals)

    def _program(self, *, is_relaxed: bool) -> highspy.HighsLp:
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = len(self.costs), len(self._highs)
        program.col_cost_ = np.array(self.costs, dtype=np.float64)
        program.col_lower_ = np.zeros(len(self.costs))
        program.col_upper_ = np.array(self.uppers, dtype=np.float64)
        program.row_lower_ = np.array(self._lows, dtype=np.float64)
        program.row_upper_ = np.array(self._highs, dtype=np.float64)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.array(self._starts, dtype=np.int32)
        program.a_matrix_.index_ = np.array(self._columns, dtype=np.int32)
        program.a_matrix_.value_ = np.array(self._weights, dtype=np.float64)
        if not is_relaxed:
            whole = highspy.HighsVarType.kInteger
            program.integrality_ = [whole] * len(self.costs)
        return program
