from typing import Any

import pytest
from sqlalchemy import Engine, text

from domain.catalogue import Product
from domain.network import DistributionGroup, NodeKind
from domain.stock_rules import StockRules
from store import inventory, network, protection, reservations, stock_rules
from store.engine import reading, transaction
from store.network import known_network
from store.reevaluation import evaluate_next, is_evaluated
from tests.integration.store.builders import (
    NOW,
    a_count,
    a_network,
    a_node,
    a_plan,
    a_world,
    at,
    everything,
    filled,
    own_protection,
    position,
    reserve,
)


def put(engine: Engine, *, now: float = 0, **document: Any) -> str:
    with transaction(engine) as session:
        return stock_rules.put_rules(session, StockRules.model_validate(document), at(now)).version


def evaluate(engine: Engine, *, now: float = 0) -> int:
    """Until nothing is left to do; how many positions were looked at."""
    looked_at = 0
    while True:
        with transaction(engine) as session:
            piece = evaluate_next(session, at(now))
        looked_at += piece.positions
        if piece.is_last:
            with reading(engine) as session:
                if is_evaluated(session, at(now)):
                    return looked_at


def kept(engine: Engine, node_id: str = "A", sku: str = "X") -> dict[str, tuple[int, int]]:
    with reading(engine) as session:
        return protection.protections_of(session, sku).get(node_id, {})


def agree(engine: Engine) -> None:
    """Ledger, positions and protections say the same."""
    with reading(engine) as session:
        assert inventory.unexplained(session) == []
        unlike = session.execute(
            text(
                "SELECT p.node_id, p.sku FROM positions p LEFT JOIN protections q"
                " ON q.sku = p.sku AND q.node_id = p.node_id GROUP BY p.node_id, p.sku, p.protected"
                " HAVING p.protected <> COALESCE(sum(q.quantity), 0)"
            )
        ).all()
        assert unlike == []


SAFETY = [{"when": {"kinds": ["store"]}, "units": 2}, {"when": {"skus": ["Y"]}, "units": 7}]


def a_network_with_a_store(engine: Engine) -> None:
    with transaction(engine) as session:
        nodes = [a_node("A"), a_node("S", kind=NodeKind.STORE)]
        group = DistributionGroup(group_id="shops", kinds=(NodeKind.STORE,))
        products = [Product(sku="X", category="tees"), Product(sku="Y")]
        whole = a_network(*nodes).model_copy(update={"groups": (group,)})
        network.import_network(session, whole, products, NOW)


def test_rules_are_evaluated_for_every_position_and_explained_in_the_ledger(
    engine: Engine,
) -> None:
    a_network_with_a_store(engine)
    with transaction(engine) as session:
        for node_id, sku in (("A", "X"), ("S", "X"), ("A", "Y")):
            inventory.receive(session, node_id, sku, 10, key=f"{node_id}{sku}", now=NOW)
    version = put(engine, safety_stock=SAFETY)
    assert evaluate(engine) == 3
    safety = {p: position(engine, *p).safety_stock for p in (("A", "X"), ("S", "X"), ("A", "Y"))}
    assert safety == {("A", "X"): 0, ("S", "X"): 2, ("A", "Y"): 7}
    with reading(engine) as session:
        reasons = session.execute(
            text("SELECT DISTINCT kind, reason FROM ledger WHERE bucket = 'safety_stock'")
        ).all()
    assert [tuple(row) for row in reasons] == [("stock_rules", version)]
    agree(engine)


def test_the_same_rules_again_and_a_second_evaluation_change_nothing(engine: Engine) -> None:
    a_network_with_a_store(engine)
    with transaction(engine) as session:
        inventory.receive(session, "S", "X", 10, key="in", now=NOW)
    version = put(engine, safety_stock=SAFETY, protections=[{"channel": "vip", "units": 3}])
    evaluate(engine)
    before = everything(engine)
    assert put(engine, safety_stock=SAFETY, protections=[{"channel": "vip", "units": 3}]) == version
    assert evaluate(engine) == 0
    assert everything(engine) == before


def test_stock_that_comes_while_rules_hold_is_kept_back_at_once(engine: Engine) -> None:
    a_network_with_a_store(engine)
    put(
        engine,
        safety_stock=SAFETY,
        protections=[{"channel": "vip", "percent": 50, "when": {"groups": ["shops"]}}],
    )
    with transaction(engine) as session:
        inventory.set_stock(session, [a_count("S", "X", 10, 0)], key="feed", now=NOW)
    assert filled(engine, "S", "X") == {"usable": 10, "safety_stock": 2, "protected": 4}
    assert kept(engine, "S") == {"vip": (4, 4)}
    with transaction(engine) as session:
        inventory.adjust(session, "S", "X", "usable", -6, key="a", now=NOW, reason="lost")
    assert kept(engine, "S") == {"vip": (1, 1)}
    agree(engine)


def test_velocity_makes_days_of_cover(engine: Engine) -> None:
    a_network_with_a_store(engine)
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 100, key="in", now=NOW)
        session.execute(
            text(
                "INSERT INTO ledger (key, at, node_id, sku, bucket, delta, kind)"
                " SELECT 'sold', at, 'A', 'X', 'usable', -14, 'consume' FROM ledger LIMIT 1"
            )
        )
        session.execute(text("UPDATE positions SET usable = usable - 14"))
    put(engine, velocity_days=7, safety_stock=[{"days_of_cover": "3"}])
    evaluate(engine, now=1)
    assert position(engine, "A", "X").safety_stock == 6
    agree(engine)


def test_a_new_day_evaluates_anew_by_what_was_sold_since(engine: Engine) -> None:
    a_network_with_a_store(engine)
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 100, key="in", now=NOW)
    put(engine, velocity_days=1, safety_stock=[{"days_of_cover": "1"}])
    evaluate(engine)
    with reading(engine) as session:
        assert is_evaluated(session, NOW)
        assert not is_evaluated(session, at(24 * 60))
    assert evaluate(engine, now=24 * 60) == 1


def test_units_freed_by_new_rules_go_to_orders_that_wait(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    put(engine, safety_stock=[{"units": 10}])
    evaluate(engine)
    with transaction(engine) as session:
        reservations.add_backorder(
            session, "W-1", [("1", "X", 4)], demand_class="b", promise_at=None, key="b", now=NOW
        )
    put(engine, safety_stock=[{"units": 7}], now=1)
    evaluate(engine, now=1)
    assert filled(engine, "A", "X") == {"usable": 10, "claimed": 3, "safety_stock": 7}
    agree(engine)


def test_what_a_channel_sold_of_its_own_is_kept_again_when_there_is_more(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 4})
    put(engine, protections=[{"channel": "vip", "units": 6}])
    evaluate(engine)
    assert kept(engine) == {"vip": (4, 6)}
    assert position(engine, "A", "X").sellable == 0
    with transaction(engine) as session:
        inventory.receive(session, "A", "X", 5, key="more", now=NOW)
    assert kept(engine) == {"vip": (6, 6)}
    assert position(engine, "A", "X").sellable == 3
    # Freed units are open to all until the next evaluation.
    with transaction(engine) as session:
        session.execute(text("UPDATE protections SET quantity = quantity - 2"))
        session.execute(text("UPDATE positions SET protected = 4, usable = 7 WHERE node_id = 'A'"))
        for bucket in ("protected", "usable"):
            session.execute(
                text(
                    "INSERT INTO ledger (key, at, node_id, sku, bucket, delta, kind) SELECT 'sold',"
                    " at, 'A', 'X', :bucket, -2, 'consume' FROM ledger LIMIT 1"
                ),
                {"bucket": bucket},
            )
    assert evaluate(engine, now=5) > 0
    assert kept(engine) == {"vip": (6, 6)}
    assert position(engine, "A", "X").sellable == 1
    agree(engine)


def test_a_count_below_what_is_kept_lowers_what_is_kept(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    with transaction(engine) as session:
        inventory.keep_back(
            session, "A", "X", safety_stock=1, protected={"vip": 4, "web": 3}, key="k", now=NOW
        )
    reserve(engine, "W-1", a_plan(("A", "1", "X", 2)))
    with transaction(engine) as session:
        inventory.set_stock(session, [a_count("A", "X", 6, 1)], key="count", now=at(2))
    assert kept(engine) == {"vip": (3, 4), "web": (0, 3)}
    assert position(engine, "A", "X").sellable == 0
    agree(engine)


def test_only_its_own_channel_sees_what_is_kept_for_it(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10, ("B", "X"): 2})
    with transaction(engine) as session:
        inventory.keep_back(
            session, "A", "X", safety_stock=0, protected={"vip": 4}, key="k", now=NOW
        )
    with reading(engine) as session:
        assert inventory.availability(session, ["X"]) == {"X": {"A": 6, "B": 2}}
        assert own_protection(session, "vip") == {"X": {"A": 4}}
        assert own_protection(session, "web") == {}


def test_groups_are_known_by_their_nodes(engine: Engine) -> None:
    a_network_with_a_store(engine)
    with reading(engine) as session:
        known = known_network(session)
    assert known.groups == {"shops": frozenset({"S"})}
    assert known.groups_of == {"A": frozenset(), "S": frozenset({"shops"})}


@pytest.mark.parametrize("document", [{"unknown": 1}, {"safety_stock": [{"units": -1}]}])
def test_a_document_that_is_no_rules_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        StockRules.model_validate(document)
