"""A day in the life of one SKU at one store: every figure at its end can be told from its story."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from domain.errors import ShortageError
from domain.network import NodeKind
from domain.stock_rules import StockRules
from store import (
    feeds,
    fulfillments,
    holds,
    inventory,
    network,
    outbox,
    promisable,
    reporting,
    reservations,
    reserving,
    stock_rules,
)
from store.engine import reading, transaction
from store.feeds import TillSale
from store.holds import HoldItem
from store.supply import Expected, expect_supply
from tests.integration.store.builders import (
    NOW,
    PRODUCTS,
    a_count,
    a_network,
    a_node,
    a_plan,
    at,
    filled,
    fulfillments_of_plan,
)
from tests.integration.store.test_fulfillments import a_view


def hour(number: float) -> float:
    """Minutes after nine in the morning."""
    return (number - 9) * 60


def story_of(engine: Engine) -> dict[str, dict[str, int]]:
    """Bucket -> kind of change -> units that came (+) or went (-) by it, from the ledger."""
    with reading(engine) as session:
        rows = session.execute(
            text(
                "SELECT bucket, kind, sum(delta) AS units FROM ledger"
                " WHERE node_id = 'S' AND sku = 'X' GROUP BY bucket, kind HAVING sum(delta) <> 0"
            )
        ).all()
    story: dict[str, dict[str, int]] = {}
    for bucket, kind, units in rows:
        story.setdefault(bucket, {})[kind] = int(units)
    return story


def promised(engine: Engine, now: float, by: float) -> int | None:
    with reading(engine) as session:
        return promisable.promise_of(session, "X", at(hour(now))).by(at(hour(by)))


def test_a_day_in_the_life_of_a_sku(engine: Engine) -> None:
    with transaction(engine) as session:
        nodes = [a_node("S", kind=NodeKind.STORE), a_node("A")]
        network.import_network(session, a_network(*nodes), PRODUCTS, NOW)
        rules = StockRules.model_validate(
            {"safety_stock": [{"when": {"kinds": ["store"]}, "units": 1}]}
        )
        stock_rules.put_rules(session, rules, NOW)

    # 09:00 The store opens with a count of ten. One is safety stock.
    with transaction(engine) as session:
        inventory.set_stock(session, [a_count("S", "X", 10, hour(9))], key="opening", now=NOW)
    assert filled(engine, "S", "X") == {"usable": 10, "safety_stock": 1}
    assert promised(engine, 9, 9) == 9

    # 10:00 A web cart holds two, and its order takes them over.
    with transaction(engine) as session:
        item = HoldItem(line_id="1", node_id="S", sku="X", quantity=2)
        holds.hold(session, "cart", [item], lasting=timedelta(minutes=15), now=at(hour(10)))
    assert filled(engine, "S", "X") == {"usable": 10, "safety_stock": 1, "held": 2}
    first = a_plan(("S", "1", "X", 2))
    with transaction(engine) as session:
        holds.bind(session, "cart", "W-1", now=at(hour(10)))
        reserving.reserve_plan(session, "W-1", first, key="W-1/reserve", now=at(hour(10)))
    assert filled(engine, "S", "X") == {"usable": 10, "safety_stock": 1, "reserved": 2}

    # 10:30 Another order takes six more. Only one is left to sell, so a third order has to wait.
    second = a_plan(("S", "1", "X", 6))
    with transaction(engine) as session:
        reserving.reserve_plan(session, "W-2", second, key="W-2/reserve", now=at(hour(10.5)))
    assert promised(engine, 10.5, 10.5) == 1
    with pytest.raises(ShortageError), transaction(engine) as session:
        reserving.reserve_plan(
            session, "W-3", a_plan(("S", "1", "X", 3)), key="W-3/reserve", now=at(hour(10.5))
        )
    with transaction(engine) as session:
        reservations.add_backorder(
            session,
            "W-3",
            [("1", "X", 3)],
            demand_class="b",
            promise_at=at(hour(48)),
            key="W-3/wait",
            now=at(hour(10.5)),
        )
        supply = Expected(supply_id="PO-1", node_id="S", sku="X", quantity=8, due=at(hour(16)))
        expect_supply(session, [supply])
    assert promised(engine, 10.5, 16) == 6  # one now, and five of the eight that come

    # 11:00 The till sells three, one of them an order's; it reports that at noon.
    with transaction(engine) as session:
        sale = TillSale(node_id="S", sku="X", quantity=3, sold_at=at(hour(11)))
        sold = feeds.sell_at_till(session, sale, key="till-1", now=at(hour(12)))
    assert (sold.taken, sold.owed) == (3, 1)
    with reading(engine) as session:
        (short,) = feeds.oversold_positions(session)
    assert [(x.order_id, x.quantity) for x in short.orders] == [("W-2", 1)]
    assert promised(engine, 12, 12) == 0
    assert (
        promised(engine, 12, 16) == 3
    )  # two of eight make up for what is owed: a unit, and safety stock

    # 13:00 The store picks W-2: it finds four, one of the six is damaged, one is nowhere.
    with transaction(engine) as session:
        parts = fulfillments_of_plan("W-2", second)
        reservations.claim_release(session, "W-2", 1, parts, key="W-2/go", now=at(hour(13)))
        view = a_view("W-2", 2, {"1": {"picked": 4}})
        fulfillments.record_fulfillment(session, view, at(hour(13)))
        reservations.free_released(
            session,
            "W-2-1",
            [("1", 1, "damaged"), ("1", 1, "suspect")],
            key="W-2/short",
            now=at(hour(13)),
        )
    assert filled(engine, "S", "X") == {
        "usable": 5,
        "damaged": 1,
        "suspect": 1,
        "reserved": 2,
        "released": 4,
        "safety_stock": 1,
    }

    # 14:00 The four leave with the carrier.
    with transaction(engine) as session:
        reservations.consume(session, "W-2-1", [("1", 4)], key="W-2/gone", now=at(hour(14)))
    assert filled(engine, "S", "X") == {
        "usable": 1,
        "damaged": 1,
        "suspect": 1,
        "reserved": 2,
        "safety_stock": 1,
    }

    # 16:00 The purchase order arrives: what is owed first, then the order that waits is told.
    with transaction(engine) as session:
        (grant,) = inventory.receive(
            session, "S", "X", 8, key="PO-1/in", now=at(hour(16)), supply_id="PO-1"
        )
    assert (grant.order_id, grant.quantity) == ("W-3", 3)
    with transaction(engine) as session:
        told = outbox.claim(session, 10, at(hour(16)))
    assert [(x.workflow_id, x.name) for x in told] == [("order-W-3", "supply_granted")]
    assert filled(engine, "S", "X") == {
        "usable": 9,
        "damaged": 1,
        "suspect": 1,
        "reserved": 2,
        "claimed": 3,
        "safety_stock": 1,
    }

    # 17:00 A cycle count finds the missing one behind the shelf: nothing is suspect any more.
    with transaction(engine) as session:
        counted = [a_count("S", "X", 10, hour(17))]
        inventory.set_stock(session, counted, key="cycle", now=at(hour(17)), by_people=True)

    # 18:00 The late snapshot of half past ten, sent before any of this, changes nothing.
    with transaction(engine) as session:
        late = [a_count("S", "X", 10, hour(10.5))]
        taken = inventory.set_stock(session, late, key="late", now=at(hour(18)))
    assert (taken.grants, taken.ignored_rows) == ((), 1)

    # Closing: each figure is what its story says.
    assert filled(engine, "S", "X") == {
        "usable": 10,
        "damaged": 1,
        "reserved": 2,
        "claimed": 3,
        "safety_stock": 1,
    }
    assert story_of(engine) == {
        "usable": {
            "count": 10,
            "till_sale": -3,
            "set_aside": -2,
            "consume": -4,
            "receive": 8,
            "cycle_count": 1,
        },
        "damaged": {"set_aside": 1},
        "suspect": {"set_aside": 1, "cycle_count": -1},
        "held": {"hold": 2, "use_hold": -2},
        "reserved": {"reserve": 8, "release": -6},
        "released": {"release": 6, "set_aside": -2, "consume": -4},
        "claimed": {"receive": 3},
        "safety_stock": {"stock_rules": 1},
    }
    assert promised(engine, 18, 18) == 4
    with reading(engine) as session:
        assert [(x.kind, x.expected, x.found) for x in feeds.discrepancies(session)] == [
            ("cycle_count", 9, 10)
        ]
        assert feeds.oversold_positions(session) == []
        assert inventory.unexplained(session) == []
        assert set(reporting.consistency(session).values()) == {0}
