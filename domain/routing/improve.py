"""Beyond the exact core: HiGHS over the rows that could still be better, and a bound.

Lines in pieces, and orders too large for sets: a plan found by search is improved, and proven
where the program over all rows that matter is solved to its end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from domain.routing.bound import Relaxation, bound_of
from domain.routing.facts import Flags, Floats
from domain.routing.milp import Answer, Model
from domain.routing.objective import Measures, measures_of
from domain.routing.plans import GroupPricer, first_prices
from domain.routing.pricing import leg
from domain.routing.spread import Plan, piece_rooms
from domain.values import MICROS

MOST_COLUMNS = 1_500
"""A larger program is cut to the nodes that look best for each atom, and proves nothing."""


_NOTHING = Measures(0, 0, 0, 0)


class _Way(NamedTuple):
    """One way a row can send a shipment: on one day, by one service."""

    row: int
    begin: int
    amount: int
    per_kg: int
    room: int
    measures: Measures = _NOTHING
    """What is made least before cost, where `amount` has their weight in it (objective.py)."""


class _Columns(NamedTuple):
    """The columns of a model: ways that are used, and units of atoms sent by them."""

    opened: list[tuple[int, _Way]]
    served: list[tuple[int, _Way, int, int]]
    """(column, way, atom, units for a value of 1)."""


def improved(
    pricer: GroupPricer, plan: Plan, pieces: Sequence[int], most_parts: int
) -> tuple[Plan, bool]:
    """The plan or a better one, and whether it is proven optimal.

    `pieces` are the atoms whose units may come from several nodes.
    """
    shares = _shares(pricer, pieces)
    rows, proves = np.ones(len(shares), dtype=np.bool_), True
    units = np.array([atom.units for atom in pricer.demand.atoms], dtype=np.int64)
    targets = np.minimum(1.0, shares.sum(axis=0))
    is_full = _units(plan) >= round(float(targets @ units))
    if is_full and pricer.candidates.packing is None:
        cost = _cost(pricer, plan)
        bound = bound_of(_relaxation(pricer, shares, targets), cost)
        if bound.cost > cost - 1:
            return plan, True
        rows = bound.rows
    if np.count_nonzero(shares[rows]) > MOST_COLUMNS:
        rows, proves = _promising(pricer, plan, shares, rows), False
        if not rows.any():
            return plan, False
    found = _solved(pricer, rows, shares, pieces, most_parts, targets if is_full else None)
    if found is None:
        return plan, False
    better, is_optimal = found
    if _worth(pricer, plan) <= _worth(pricer, better):
        better = plan
    return better, is_optimal and proves


def _units(plan: Plan) -> int:
    return sum(sum(load.values()) for load in plan.values())


def _cost(pricer: GroupPricer, plan: Plan) -> int:
    prices = [pricer.price(row, load) for row, load in plan.items()]
    return sum(price.cost for price in prices if price is not None)


def _worth(pricer: GroupPricer, plan: Plan) -> tuple[int, int, int]:
    return -_units(plan), _cost(pricer, plan), len(plan)


def _shares(pricer: GroupPricer, pieces: Sequence[int]) -> Floats:
    """(row, atom): how much of the atom the row could serve, all or nothing but for pieces."""
    demand, candidates = pricer.demand, pricer.candidates
    shares = candidates.covers.astype(np.float64)
    rooms = np.array(
        [
            [pricer.room(row, begin) for begin in range(len(candidates.releases))]
            for row in range(len(shares))
        ],
        dtype=np.int64,
    ).reshape(len(shares), len(candidates.releases))
    fullest = np.take_along_axis(rooms, candidates.sites.classes.astype(np.int64), axis=1)
    for number, atom in enumerate(demand.atoms):
        if number in pieces:
            stock = np.minimum(piece_rooms(pricer, number), fullest[:, number])
            shares[:, number] = np.minimum(stock, atom.units) / atom.units
        else:
            shares[fullest[:, number] < atom.units, number] = 0.0
    ways = candidates.sites.services != -1
    shares[~ways.any(axis=1)] = 0.0
    return shares


def _relaxation(pricer: GroupPricer, shares: Floats, targets: Floats) -> Relaxation:
    fixed = np.empty(len(shares), dtype=np.float64)
    per_gram = np.empty(len(shares), dtype=np.float64)
    sites, times = pricer.candidates.sites, pricer.candidates.times
    first_prices(sites, times, pricer.services, fixed, per_gram)
    usable = np.isfinite(fixed)
    units = np.array([atom.units for atom in pricer.demand.atoms], dtype=np.float64)
    grams = np.array([atom.grams for atom in pricer.demand.atoms], dtype=np.float64)
    costs = np.outer(sites.per_unit, units) + np.outer(np.where(usable, per_gram, 0.0), grams)
    if sites.prices.shape[1]:
        costs = costs + sites.prices
    return Relaxation(
        np.where(usable, fixed, 0.0), costs, np.where(usable[:, None], shares, 0.0), targets
    )


def _promising(pricer: GroupPricer, plan: Plan, shares: Floats, rows: Flags) -> Flags:
    """The plan's rows, and those that cover most beside them; none when that is too much."""
    units = np.array([atom.units for atom in pricer.demand.atoms], dtype=np.float64)
    breadth = np.where(rows, shares @ units, -1.0)
    order = np.argsort(-breadth, kind="stable")
    kept = np.zeros(len(rows), dtype=np.bool_)
    kept[sorted(plan)] = True
    columns = int(np.count_nonzero(shares[kept]))
    if columns > MOST_COLUMNS:
        return np.zeros(len(rows), dtype=np.bool_)
    sizes = np.where(kept, 0, np.count_nonzero(shares, axis=1))[order]
    fits = (columns + np.cumsum(sizes) <= MOST_COLUMNS) & (breadth[order] > 0)
    kept[order[fits]] = True
    return kept


def _solved(
    pricer: GroupPricer,
    rows: Flags,
    shares: Floats,
    pieces: Sequence[int],
    most_parts: int,
    targets: Floats | None,
) -> tuple[Plan, bool] | None:
    """The program's plan, and whether it is optimal over those rows; `targets` None: most units."""
    ways = [way for row in np.flatnonzero(rows).tolist() for way in _ways(pricer, row)]
    units = [atom.units for atom in pricer.demand.atoms]
    goals: list[int | None] = [None] * len(units)
    if targets is not None:
        goals = [round(float(x) * y) for x, y in zip(targets, units, strict=True)]
        model, columns = _model(pricer, ways, shares, pieces, most_parts, goals)
        return _solved_in_turn(pricer, model, columns, is_optimal=True)
    model, columns = _model(pricer, ways, shares, pieces, most_parts, goals)
    costs = list(model.costs)
    model.costs = [0.0] * len(costs)
    for column, _, _, each in columns.served:
        model.costs[column] = -float(each)
    fullest = model.solve()
    if fullest is None:
        return None
    most = round(-float(np.dot(np.rint(fullest.values), model.costs)))
    model.row({column: float(each) for column, _, _, each in columns.served}, most, most)
    model.costs = costs
    return _solved_in_turn(pricer, model, columns, is_optimal=fullest.is_optimal)


def _solved_in_turn(
    pricer: GroupPricer, model: Model, columns: _Columns, *, is_optimal: bool
) -> tuple[Plan, bool] | None:
    """The least of each measure before cost in turn, then the least cost of plans with those."""
    packing = pricer.candidates.packing
    if packing is not None:
        costs = list(model.costs)
        for column, way in columns.opened:
            costs[column] = (way.amount - packing.weighs(way.measures)) / MICROS
        for measure in packing.order:
            terms = {
                column: float(getattr(way.measures, measure)) for column, way in columns.opened
            }
            model.costs = [terms.get(column, 0.0) for column in range(len(costs))]
            answer = model.solve()
            if answer is None:
                return None
            model.row(terms, round(float(np.dot(np.rint(answer.values), model.costs))))
            is_optimal = is_optimal and answer.is_optimal
        model.costs = costs
    answer = model.solve()
    found = None if answer is None else _read(pricer, columns, answer)
    return None if found is None else (found[0], found[1] and is_optimal)


def _ways(pricer: GroupPricer, row: int) -> list[_Way]:
    """Days with more room than any before, each by the services that no other beats."""
    sites, times = pricer.candidates.sites, pricer.candidates.times
    calendar = sites.calendar[row]
    found: list[_Way] = []
    for begin in sorted({int(x) for x in sites.classes[row]}):
        most = 0
        for turn in range(times.work.shape[2]):
            day = int(times.work[begin, calendar, turn])
            column = day - sites.first_day
            last = sites.room.shape[1] - 1
            room = int(sites.room[row, column if 0 <= column <= last else last])
            if day < 0 or most >= pricer.demand.units:
                break
            if room > most:
                most = room
                found += _services(pricer, row, begin, turn, room)
    return found


def _services(pricer: GroupPricer, row: int, begin: int, turn: int, room: int) -> list[_Way]:
    sites, times = pricer.candidates.sites, pricer.candidates.times
    legs = [
        leg(sites, times, pricer.services, row, way, begin, turn)
        for way in range(sites.services.shape[1])
    ]
    able = sorted({(int(x), int(y), int(z)) for x, y, _, z in legs if x >= 0})
    is_packed = pricer.candidates.packing is not None
    kept: list[_Way] = []
    for amount, per_kg, arrives in able:
        if not kept or per_kg < kept[-1].per_kg:
            found = measures_of(times, int(sites.km[row]), arrives) if is_packed else _NOTHING
            kept.append(_Way(row, begin, amount, per_kg, room, found))
    return kept


def _model(
    pricer: GroupPricer,
    ways: Sequence[_Way],
    shares: Floats,
    pieces: Sequence[int],
    most_parts: int,
    goals: Sequence[int | None],
) -> tuple[Model, _Columns]:
    model, columns = Model(), _Columns([], [])
    by_row: dict[int, dict[int, float]] = {}
    for way in ways:
        opened = model.column(way.amount / MICROS)
        columns.opened.append((opened, way))
        by_row.setdefault(way.row, {})[opened] = 1.0
        load = _add_loads(pricer, model, columns, opened, shares[way.row], pieces)
        if sum(model.uppers[x] * y for x, y in load.items()) > way.room:
            model.row({**load, opened: -float(way.room)}, 0.0)
        if pricer.has_least:
            _ask_least(pricer, model, columns, opened, load)
    for terms in by_row.values():
        model.row(terms, 1.0)
    by_atom: list[dict[int, float]] = [{} for _ in pricer.demand.atoms]
    for column, _, number, each in columns.served:
        by_atom[number][column] = float(each)
    for number, terms in enumerate(by_atom):
        goal = goals[number]
        if goal is None:
            model.row(terms, float(pricer.demand.atoms[number].units))
        else:
            model.row(terms, float(goal), float(goal))
    _limit_stock(pricer, model, columns)
    if most_parts < len(by_row):
        model.row({column: 1.0 for column, _ in columns.opened}, float(most_parts))
    return model, columns


def _add_loads(
    pricer: GroupPricer,
    model: Model,
    columns: _Columns,
    opened: int,
    shares: Floats,
    pieces: Sequence[int],
) -> dict[int, float]:
    """Columns of the atoms the way just opened can send; returns their units."""
    way = columns.opened[-1][1]
    sites = pricer.candidates.sites
    load: dict[int, float] = {}
    for number in np.flatnonzero(shares).tolist():
        atom = pricer.demand.atoms[number]
        parts = atom.units if number in pieces else 1
        each = atom.units // parts
        most = min(round(shares[number] * parts), way.room // each)
        if most < 1 or sites.classes[way.row, number] > way.begin:
            continue
        cost = int(sites.per_unit[way.row]) * each + way.per_kg * atom.grams / parts / 1_000
        if sites.prices.shape[1]:
            cost += int(sites.prices[way.row, number]) / parts
        column = model.column(cost / MICROS, most)
        columns.served.append((column, way, number, each))
        load[column] = float(each)
        model.row({column: 1.0, opened: -float(most)}, 0.0)
    return load


def _ask_least(
    pricer: GroupPricer, model: Model, columns: _Columns, opened: int, load: dict[int, float]
) -> None:
    """The way just opened sends no less than a shipment beside others must have."""
    lines, atoms = pricer.demand.lines, pricer.demand.atoms
    model.row({**load, opened: -float(pricer.least_units)}, np.inf, 0.0)
    worth = {}
    for column, _, number, each in columns.served:
        if column in load:
            atom = atoms[number]
            value = sum(lines[x].unit_price_micros * lines[x].quantity for x in atom.lines)
            worth[column] = value * each / atom.units / MICROS
    model.row({**worth, opened: -pricer.least_value / MICROS}, np.inf, 0.0)


def _limit_stock(pricer: GroupPricer, model: Model, columns: _Columns) -> None:
    """What several atoms take of one SKU at one row is no more than it has."""
    uses: dict[tuple[int, int], dict[int, float]] = {}
    for column, way, number, each in columns.served:
        atom = pricer.demand.atoms[number]
        for sku, need in atom.needs:
            uses.setdefault((way.row, sku), {})[column] = need * each / atom.units
    for (row, sku), terms in uses.items():
        have = float(pricer.candidates.have[row, sku])
        if len(terms) > 1 and sum(model.uppers[x] * y for x, y in terms.items()) > have:
            model.row(terms, have)


def _read(pricer: GroupPricer, columns: _Columns, answer: Answer) -> tuple[Plan, bool] | None:
    plan: Plan = {}
    for column, way, number, each in columns.served:
        value = round(float(answer.values[column]))
        if value:
            plan.setdefault(way.row, {})[number] = value * each
    plan = {row: plan[row] for row in sorted(plan)}
    if any(pricer.price(row, load) is None for row, load in plan.items()):
        return None
    return plan, answer.is_optimal
