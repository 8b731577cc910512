"""Lines that no node has whole: their units over several nodes, where that is allowed."""

from collections.abc import Iterable, Mapping

import numpy as np

from domain.routing.facts import Ints
from domain.routing.plans import GroupPricer

Plan = dict[int, dict[int, int]]
"""Row -> atom -> units."""


def pieces_allowed(
    pricer: GroupPricer, loads: Mapping[int, Iterable[int]], most_parts: int
) -> list[int]:
    """Of the atoms the plan leaves out, those that may come in pieces.

    Not those that a node outside the plan has whole: only the number of shipments keeps it out.
    """
    demand, candidates = pricer.demand, pricer.candidates
    served = {x for atoms in loads.values() for x in atoms}
    allowed: list[int] = []
    for number, atom in enumerate(demand.atoms):
        if number in served or not atom.may_split or not most_room(pricer, number):
            continue
        is_full = len(loads) >= most_parts
        whole = np.flatnonzero(candidates.covers[:, number]).tolist() if is_full else ()
        load = {number: atom.units}
        if not any(x not in loads and pricer.price(x, load) is not None for x in whole):
            allowed.append(number)
    return allowed


def spread(pricer: GroupPricer, plan: Plan, pieces: Iterable[int], most_parts: int) -> Plan:
    """The plan with as much of the pieces' atoms as it finds room for, one after another.

    A node that can finish the atom, the cheapest first; else nodes already in the plan, then the
    one with most units, so that few shipments are added.
    """
    plan = {row: dict(load) for row, load in plan.items()}
    for number in pieces:
        _spread_atom(pricer, plan, number, most_parts)
    return plan


def _spread_atom(pricer: GroupPricer, plan: Plan, number: int, most_parts: int) -> None:
    need = pricer.demand.atoms[number].units
    rooms = _rooms(pricer, plan, number)
    while need:
        may_open = len(plan) < most_parts
        pool = [x for x in rooms if may_open or x in plan]
        if not pool:
            return
        finishing = [x for x in pool if rooms[x] >= need]
        if finishing:
            row = min(finishing, key=lambda x: (_extra_cost(pricer, plan, x, number, need), x))
        else:
            row = min(pool, key=lambda x: (x not in plan, -rooms[x], x))
        sent = min(need, rooms.pop(row))
        plan.setdefault(row, {})[number] = sent
        need -= sent


def _rooms(pricer: GroupPricer, plan: Plan, number: int) -> dict[int, int]:
    """Units of the atom each row could still send, by stock and by its freest day."""
    atom = pricer.demand.atoms[number]
    rooms: dict[int, int] = {}
    for row, stock in enumerate(piece_rooms(pricer, number)):
        if not stock:
            continue
        load = plan.get(row, {})
        left = stock - sum(_shared_units(pricer, other, number, load[other]) for other in load)
        begin = max([int(pricer.candidates.sites.classes[row, x]) for x in (number, *load)])
        room = min(left, pricer.room(row, begin) - sum(load.values()), atom.units)
        if room > 0 and pricer.price(row, {**load, number: room}) is not None:
            rooms[row] = room
    return rooms


def piece_rooms(pricer: GroupPricer, number: int) -> list[int]:
    """By row: units of the atom alone that its stock allows."""
    # More than is asked may be needed beside other lines of the same product.
    rooms: list[int] = _piece_rooms(pricer, number).tolist()
    return rooms


def most_room(pricer: GroupPricer, number: int) -> int:
    """Units of the atom alone that the fullest row's stock allows."""
    return int(_piece_rooms(pricer, number).max(initial=0))


def _piece_rooms(pricer: GroupPricer, number: int) -> Ints:
    atom = pricer.demand.atoms[number]
    have = pricer.candidates.have
    rooms = [have[:, sku] // (need // atom.units) for sku, need in atom.needs]
    least: Ints = rooms[0] if len(rooms) == 1 else np.min(rooms, axis=0)
    return least


def _shared_units(pricer: GroupPricer, other: int, number: int, units: int) -> int:
    """At most so many units of the atom does the other atom's load displace at a row."""
    mine = dict(pricer.demand.atoms[number].needs)
    taken = 0
    for sku, need in pricer.demand.atoms[other].needs:
        if sku in mine:
            each = mine[sku] // pricer.demand.atoms[number].units
            used = need * units // pricer.demand.atoms[other].units
            taken = max(taken, -(-used // each))
    return taken


def _extra_cost(pricer: GroupPricer, plan: Plan, row: int, number: int, units: int) -> int:
    """What sending these units on top costs."""
    before = plan.get(row)
    now = pricer.price(row, before) if before else None
    then = pricer.price(row, {**(before or {}), number: units})
    return (then.cost if then else 0) - (now.cost if now else 0)
