from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.catalogue import KitComponent
from domain.supply import (
    Atp,
    Block,
    DatedSupply,
    Kept,
    NodeStock,
    SupplyType,
    atp,
    kit_units,
)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def day(number: float) -> datetime:
    return NOW + timedelta(days=number)


def due(node_id: str, quantity: int, on: float, **changes: object) -> DatedSupply:
    facts = {
        "supply_id": f"PO-{node_id}-{on}",
        "node_id": node_id,
        "sku": "X",
        "quantity": quantity,
        "due": day(on),
    }
    return DatedSupply.model_validate({**facts, **changes})


def place(node_id: str, sellable: int, **kept: tuple[int, int]) -> NodeStock:
    return NodeStock(
        node_id=node_id,
        sellable=sellable,
        kept={name: Kept(quantity=units, level=level) for name, (units, level) in kept.items()},
    )


def by_days(found: Atp, *days: float) -> list[int]:
    return [found.by(day(number)) for number in days]


def test_what_lies_there_is_promised_now_and_what_comes_from_its_day_on() -> None:
    found = atp("X", [place("A", 3), place("B", 2)], [due("A", 10, 2), due("C", 4, 5)], now=NOW)
    assert by_days(found, 0, 1.9, 2, 5) == [5, 5, 15, 19]
    assert found.at_node("A", day(2)) == 13
    assert found.at_node("C", day(4)) == 0
    assert found.at_node("nowhere", day(4)) == 0
    assert found.by(day(5), ["B", "C"]) == 6
    assert found.dates() == (NOW, day(2), day(5))


def test_arriving_units_go_to_debts_then_backorders_then_channels_then_everyone() -> None:
    found = atp(
        "X",
        [place("A", -2, vip=(1, 4))],
        [due("A", 10, 2)],
        now=NOW,
        backordered=3,
    )
    (arrival,) = found.nodes[0].arrivals
    assert arrival.to_debt == 2
    assert arrival.to_backorders == 3
    assert arrival.to_channels == {"vip": 3}
    assert arrival.open == 2
    assert by_days(found, 0, 2) == [0, 2]


def test_a_channel_may_have_what_is_kept_for_it_beside_what_everyone_may() -> None:
    stock = [place("A", 5, vip=(2, 4), b2b=(1, 1))]
    supplies = [due("A", 3, 1)]
    assert by_days(atp("X", stock, supplies, now=NOW, channel="vip"), 0, 1) == [7, 10]
    assert by_days(atp("X", stock, supplies, now=NOW, channel="b2b"), 0, 1) == [6, 7]
    assert by_days(atp("X", stock, supplies, now=NOW, channel="web"), 0, 1) == [5, 6]


def test_a_debt_is_paid_by_the_channels_own_units_first() -> None:
    stock = [place("A", -2, vip=(5, 5))]
    assert by_days(atp("X", stock, [], now=NOW, channel="vip"), 0) == [3]
    assert by_days(atp("X", stock, [], now=NOW), 0) == [0]


def test_backorders_take_the_first_arrivals_wherever_they_come() -> None:
    found = atp("X", [place("A", 1)], [due("B", 4, 1), due("A", 4, 2)], now=NOW, backordered=6)
    assert by_days(found, 0, 1, 2) == [1, 1, 3]


@pytest.mark.parametrize(
    ("supply", "reason"),
    [
        (due("A", 4, -1), "overdue"),
        (due("A", 4, 1, condition="damaged"), "comes damaged"),
        (due("A", 4, 1, supply_type="planned"), "planned supply is not promised"),
    ],
)
def test_supply_that_is_not_promised_says_why(supply: DatedSupply, reason: str) -> None:
    types = [SupplyType.PURCHASE_ORDER, SupplyType.IN_TRANSIT]
    found = atp("X", [], [supply], now=NOW, promisable=types, backordered=1)
    (arrival,) = found.nodes[0].arrivals
    assert (arrival.promisable_at, arrival.reason) == (None, reason)
    assert found.by(day(100)) == 0


def test_a_node_that_is_offline_promises_from_its_return_on() -> None:
    blocks = [
        Block(node_id="A", until=day(3), reason="flood"),
        Block(node_id="A", sku="X", until=day(1), reason="recount"),
        Block(node_id="A", sku="Y", until=day(9), reason="recall"),
        Block(node_id="B", reason="closed"),
        Block(node_id="B", until=day(1), reason="flood"),
    ]
    stock = [place("A", 3), place("B", 5)]
    found = atp("X", stock, [due("A", 2, 1), due("B", 2, 1)], now=NOW, blocks=blocks)
    assert by_days(found, 0, 2.9, 3, 100) == [0, 0, 5, 5]
    assert [(node.from_time, node.reason) for node in found.nodes] == [
        (day(3), "flood"),
        (None, "closed"),
    ]
    assert found.nodes[1].arrivals[0].reason == "closed"


@pytest.mark.parametrize(
    ("units", "kits"),
    [
        ({"CUP": 7, "POT": 2}, 2),
        ({"CUP": 7, "POT": 9}, 3),
        ({"CUP": None, "POT": 9}, 9),
        ({"CUP": None, "POT": None}, None),
        ({"POT": 9}, 0),
    ],
)
def test_a_kit_is_made_of_what_its_scarcest_component_allows(
    units: dict[str, int | None], kits: int | None
) -> None:
    components = [KitComponent(sku="CUP", quantity=2), KitComponent(sku="POT", quantity=1)]
    assert kit_units(components, units) == kits


# --- A slow, obvious reference: every unit is handed out by itself, in the order of time. ---


def handed_out(
    stock: Sequence[NodeStock],
    supplies: Sequence[DatedSupply],
    blocks: Sequence[Block],
    backordered: int,
    channel: str,
    until: datetime,
) -> int:
    """Units that channel can promise by then."""

    def is_blocked(node_id: str, time: datetime) -> bool:
        return any(
            block.node_id == node_id
            and block.sku in {None, "X"}
            and (block.until is None or block.until > time)
            for block in blocks
        )

    times = sorted(
        {NOW, until}
        | {supply.due for supply in supplies}
        | {block.until for block in blocks if block.until}
    )
    sellable = {node.node_id: node.sellable for node in stock}
    kept = {
        (node.node_id, name): (kept.quantity, kept.level)
        for node in stock
        for name, kept in node.kept.items()
    }
    waiting = backordered
    pending = sorted(
        (x for x in supplies if x.due > NOW and x.condition == "usable"),
        key=lambda x: (x.node_id, x.supply_id),
    )
    for time in times:
        if time > until:
            break
        for supply in list(pending):
            if supply.due > time or is_blocked(supply.node_id, time):
                continue
            pending.remove(supply)
            for _ in range(supply.quantity):
                node_id = supply.node_id
                short = [
                    key
                    for key, (units, level) in kept.items()
                    if key[0] == node_id and units < level
                ]
                if sellable.get(node_id, 0) < 0:
                    sellable[node_id] += 1
                elif waiting:
                    waiting -= 1
                elif short:
                    kept[short[0]] = (kept[short[0]][0] + 1, kept[short[0]][1])
                else:
                    sellable[node_id] = sellable.get(node_id, 0) + 1
    return sum(
        max(0, units + kept.get((node_id, channel), (0, 0))[0])
        for node_id, units in sellable.items()
        if not is_blocked(node_id, until)
    )


NODE = st.sampled_from("ABC")
UNITS = st.integers(0, 4)
KEPT: st.SearchStrategy[Mapping[str, tuple[int, int]]] = st.dictionaries(
    st.sampled_from(["vip", "web"]), st.tuples(UNITS, UNITS), max_size=2
)
STOCK = st.dictionaries(NODE, st.tuples(st.integers(-4, 6), KEPT), max_size=3)
SUPPLIES = st.lists(
    st.tuples(
        NODE, st.integers(1, 5), st.integers(-1, 6), st.sampled_from(["usable", "quarantine"])
    ),
    max_size=6,
)
BLOCKS = st.lists(
    st.tuples(
        NODE,
        st.sampled_from([None, "X", "Y"]),
        st.one_of(st.none(), st.integers(-1, 5)),
    ),
    max_size=2,
)


@settings(max_examples=300)
@given(STOCK, SUPPLIES, BLOCKS, st.integers(0, 8), st.sampled_from(["", "vip", "web"]))
def test_every_answer_is_what_handing_out_unit_by_unit_gives(
    stock: dict[str, tuple[int, Mapping[str, tuple[int, int]]]],
    supplies: list[tuple[str, int, int, str]],
    blocks: list[tuple[str, str | None, int | None]],
    backordered: int,
    channel: str,
) -> None:
    nodes = [place(node_id, units, **kept) for node_id, (units, kept) in sorted(stock.items())]
    coming = [
        due(node_id, units, on, supply_id=f"PO-{number}", condition=condition)
        for number, (node_id, units, on, condition) in enumerate(supplies)
    ]
    against = [
        Block(node_id=node_id, sku=sku, until=None if on is None else day(on), reason="why")
        for node_id, sku, on in blocks
    ]
    found = atp(
        "X", nodes, coming, now=NOW, backordered=backordered, channel=channel, blocks=against
    )
    for number in (0, 0.5, 1, 2, 3, 4, 5, 6, 9):
        expected = handed_out(nodes, coming, against, backordered, channel, day(number))
        assert found.by(day(number)) == expected
        assert found.by(day(number)) == sum(
            found.at_node(node.node_id, day(number)) for node in found.nodes
        )


@given(STOCK, SUPPLIES, st.integers(0, 8))
def test_every_arriving_unit_goes_to_one_place_and_a_later_date_never_has_less(
    stock: dict[str, tuple[int, Mapping[str, tuple[int, int]]]],
    supplies: list[tuple[str, int, int, str]],
    backordered: int,
) -> None:
    nodes = [place(node_id, units, **kept) for node_id, (units, kept) in sorted(stock.items())]
    coming = [
        due(node_id, units, on, supply_id=f"PO-{number}", condition=condition)
        for number, (node_id, units, on, condition) in enumerate(supplies)
    ]
    found = atp("X", nodes, coming, now=NOW, backordered=backordered)
    for node in found.nodes:
        for arrival in node.arrivals:
            given = arrival.to_debt + arrival.to_backorders + arrival.open
            given += sum(arrival.to_channels.values())
            assert given == (arrival.supply.quantity if arrival.promisable_at else 0)
    answers = by_days(found, 0, 1, 2, 3, 4, 5, 6)
    assert answers == sorted(answers)
