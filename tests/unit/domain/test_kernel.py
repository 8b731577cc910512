from datetime import time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from domain.catalogue import KitComponent, Product, SupplyMode
from domain.errors import FinalError
from domain.network import DistributionGroup, Node, NodeKind, Place, WorkingHours
from domain.orders import Method, ServiceLevel
from domain.routing import facts as kernel_facts
from domain.routing import group as group_planner
from domain.routing import improve, partition, timetable
from domain.routing.bound import Bound, Relaxation, bound_of
from domain.routing.decision import (
    KERNEL_VERSION,
    CapacityLeft,
    DecisionRequest,
    Exclusion,
    InboundSupply,
    Missing,
    Purpose,
    Snapshot,
)
from domain.routing.explain import explain
from domain.routing.facts import facts_of, snapshot_id, snapshot_of
from domain.routing.milp import Answer, Model
from domain.routing.partition import Partition
from domain.routing.policy import RoutingPolicy
from domain.routing.solve import decide, decide_batch, decide_on, policy_id, warm
from tests.unit.domain.builders import (
    EXPRESS,
    HERE,
    MONDAY,
    SAME_DAY,
    at,
    group,
    line,
    node,
    plan_of,
    policy,
    request,
    sent,
    service,
    snapshot,
)
from tests.unit.domain.uncompiled import run_uncompiled


@pytest.fixture(autouse=True, params=["compiled", "not compiled"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here runs the kernel twice: as machine code, and as Python."""
    if request.param == "not compiled":
        run_uncompiled(monkeypatch)


FAR = Place(latitude=34.0, longitude=-118.0, region="US-CA", country="US")
ALL_SERVICES = (service(), EXPRESS, SAME_DAY)


def two_nodes(**changes: Any) -> Snapshot:
    """N1 has A and B, N2 is dearer and has A and C."""
    nodes = (node("N1"), node("N2", cost_per_order=Decimal(3)))
    stock = {"A": {"N1": 5, "N2": 5}, "B": {"N1": 5}, "C": {"N2": 5}}
    return snapshot(nodes, stock, **changes)


def missing_of(
    asked: DecisionRequest, facts: Snapshot, rules: RoutingPolicy | None = None
) -> list[tuple[str, int, str]]:
    plan = plan_of(decide(asked, facts, rules or policy()))
    return [(x.line_id, x.quantity, x.reason) for x in plan.missing]


def test_the_cheapest_node_that_has_everything_serves_the_order() -> None:
    decision = decide(request(line("1", "A", 2), line("2", "B")), two_nodes(), policy())

    plan = plan_of(decision)
    assert sent(plan) == {"N1": {"1": 2, "2": 1}}
    shipment = plan.shipments[0]
    assert shipment.cost_micros == plan.cost_micros == 8_000_000  # 1.50 + 1 + 3 x 0.50 + 4
    assert (shipment.work_date, shipment.service_id) == ("2026-03-02", "ground")
    assert (shipment.ship_at, shipment.deliver_at) == (at(17), at(20, day=4))
    assert shipment.order_by == at(14)
    assert (plan.ship_at, plan.deliver_at, plan.order_by) == (at(17), at(20, day=4), at(14))
    assert plan.service_level is ServiceLevel.STANDARD
    assert decision.runner_up_cost_micros is None


def test_the_runner_up_is_the_best_plan_without_the_main_node() -> None:
    decision = decide(request(line("1", "A", 2)), two_nodes(), policy())

    assert plan_of(decision).cost_micros == 7_500_000
    assert decision.runner_up_cost_micros == 9_500_000


def test_scores_tell_what_each_holder_covers_and_costs() -> None:
    decision = decide(request(line("1", "A", 2), line("2", "B", 9)), two_nodes(), policy())

    assert [(x.node_id, x.covers, x.cost_micros, x.chosen) for x in decision.scores] == [
        ("N1", ("1",), 7_500_000, True),
        ("N2", ("1",), 9_500_000, False),
    ]


def test_equal_costs_go_to_the_first_node_by_id() -> None:
    nodes = (node("N2"), node("N1"))
    plan = plan_of(
        decide(request(line("1", "A")), snapshot(nodes, {"A": {"N2": 1, "N1": 1}}), policy())
    )

    assert sent(plan) == {"N1": {"1": 1}}


def test_lines_no_single_node_has_are_split_over_nodes() -> None:
    plan = plan_of(
        decide(request(line("1", "A"), line("2", "B"), line("3", "C")), two_nodes(), policy())
    )

    assert sent(plan) == {"N1": {"1": 1, "2": 1}, "N2": {"3": 1}}


@pytest.mark.parametrize(
    ("changes", "groups"),
    [({"allow_split": False}, (group(),)), ({}, (group(ship_complete=True),))],
)
def test_a_group_that_may_not_split_gets_all_or_nothing(changes: Any, groups: Any) -> None:
    asked = request(line("1", "A"), line("2", "B"), line("3", "C"), line("4", "D"), groups=groups)

    assert missing_of(asked.model_copy(update=changes), two_nodes()) == [
        ("1", 1, "no single node has everything"),
        ("2", 1, "no single node has everything"),
        ("3", 1, "no single node has everything"),
        ("4", 1, "no stock"),
    ]


def test_lines_that_stay_together_come_from_one_node_or_not_at_all() -> None:
    pair = (line("1", "B", keep_together="x"), line("2", "C", keep_together="x"))
    reason = "no single node has everything"

    assert missing_of(request(*pair, line("3", "A")), two_nodes()) == [
        ("1", 1, reason),
        ("2", 1, reason),
    ]


@pytest.mark.parametrize(
    ("node_changes", "request_changes", "policy_changes", "reason"),
    [
        ({"active": False}, {}, {}, "inactive"),
        ({"offline_until": at(10)}, {}, {}, "offline"),
        ({"ships": False}, {}, {}, "does not ship"),
        ({"services": ("unknown",)}, {}, {}, "no carrier service"),
        ({"daily_orders": 0}, {}, {}, "no capacity"),
        ({"place": FAR}, {}, {"max_distance_km": 100, "relax": ()}, "too far"),
        ({}, {"forced_nodes": ("N9",)}, {}, "not a forced node"),
        (
            {},
            {"exclusions": (Exclusion(node_id="N1", reason="rejected"),)},
            {},
            "excluded: rejected",
        ),
        ({}, {}, {"excluded_nodes": ("N1",)}, "excluded by policy"),
        ({}, {}, {"excluded_kinds": (NodeKind.DC,)}, "excluded by policy"),
        ({}, {}, {"sourcing_groups": ("west",)}, "not in a sourcing group"),
        (
            {},
            {},
            {
                "sourcing_groups": ("stores",),
                "sourced_from": (DistributionGroup(group_id="stores", kinds=(NodeKind.STORE,)),),
            },
            "not in a sourcing group",
        ),
    ],
)
def test_a_node_that_may_not_serve_is_excluded_with_its_reason(
    node_changes: Any, request_changes: Any, policy_changes: Any, reason: str
) -> None:
    facts = snapshot((node("N1", **node_changes),), {"A": {"N1": 5, "ghost": 5}})
    asked = request(line("1", "A")).model_copy(update=request_changes)

    decision = decide(asked, facts, policy(**policy_changes))

    assert decision.excluded == {reason: ("N1",)}
    assert plan_of(decision).missing == (Missing(line_id="1", sku="A", quantity=1, reason=reason),)
    assert plan_of(decision).shipments == ()


def test_only_nodes_of_the_sourcing_groups_serve() -> None:
    groups = (
        DistributionGroup(group_id="one", nodes=("N2",)),
        DistributionGroup(group_id="other", nodes=("N9",)),
    )
    rules = policy(sourcing_groups=("one", "other"), sourced_from=groups)
    facts = facts_of(two_nodes())
    for _ in range(2):
        decision = decide_on(request(line("1", "A")), facts, rules)
        assert sent(plan_of(decision)) == {"N2": {"1": 1}}


def test_a_product_masked_at_a_node_is_not_taken_there() -> None:
    masked = (Exclusion(node_id="N1", sku="A", reason="not found"),)

    plan = plan_of(decide(request(line("1", "A"), exclusions=masked), two_nodes(), policy()))
    assert sent(plan) == {"N2": {"1": 1}}

    both = (*masked, Exclusion(node_id="N2", sku="A", reason="not found"))
    assert missing_of(request(line("1", "A"), exclusions=both), two_nodes()) == [
        ("1", 1, "excluded: not found")
    ]


def test_the_commonest_reason_is_told() -> None:
    nodes = (node("N1", active=False), node("N2", active=False), node("N3"))
    facts = snapshot(nodes, {"A": {"N1": 9, "N2": 9, "N3": 1, "N4": 0}})

    assert missing_of(request(line("1", "A", 5)), facts, policy(allow_line_split=False)) == [
        ("1", 5, "inactive")
    ]


def test_soft_limits_fall_in_order_when_something_is_missing() -> None:
    facts = snapshot((node("N1", place=FAR),), {"A": {"N1": 5}})
    rules = policy(max_distance_km=100)

    assert plan_of(decide(request(line("1", "A")), facts, rules)).missing == ()
    hard = rules.model_copy(update={"relax": ("max_shipments", "excluded_nodes")})
    assert missing_of(request(line("1", "A")), facts, hard) == [("1", 1, "too far")]
    banned = policy(
        excluded_nodes=("N1",),
        excluded_kinds=(NodeKind.DC,),
        relax=("excluded_nodes", "excluded_kinds"),
    )
    assert plan_of(decide(request(line("1", "A")), facts, banned)).missing == ()


def test_most_shipments_is_a_limit_until_it_is_relaxed() -> None:
    asked = request(line("1", "B", 3), line("2", "C"))

    assert missing_of(asked, two_nodes(), policy(max_shipments=1, relax=())) == [
        ("2", 1, "more shipments than allowed")
    ]
    assert missing_of(asked, two_nodes(), policy(max_shipments=1)) == []


def test_a_relaxed_limit_of_shipments_lets_one_line_come_from_as_many_nodes_as_it_takes() -> None:
    # given
    nodes = tuple(node(f"N{n}") for n in range(1, 6))
    facts = snapshot(nodes, {"A": {f"N{n}": 1 for n in range(1, 6)}})
    asked = request(line("1", "A", 5))
    # when, then
    hard = policy(max_shipments=3, relax=())
    assert missing_of(asked, facts, hard) == [("1", 2, "more shipments than allowed")]
    assert missing_of(asked, facts, policy(max_shipments=3)) == []


def test_a_line_no_node_has_whole_is_split_with_few_shipments() -> None:
    nodes = tuple(node(f"N{n}", cost_per_order=Decimal(n)) for n in range(1, 6))
    stock = {"A": {"N1": 1, "N2": 4, "N3": 5, "N4": 3, "N5": 5}, "B": {"N1": 1}}
    facts = snapshot(nodes, stock)

    plan = plan_of(decide(request(line("1", "A", 8), line("2", "B")), facts, policy()))
    assert sent(plan) == {"N1": {"2": 1, "1": 1}, "N2": {"1": 2}, "N3": {"1": 5}}

    whole_only = policy(allow_line_split=False)
    assert missing_of(request(line("1", "A", 8)), facts, whole_only) == [
        ("1", 8, "not enough units")
    ]
    assert missing_of(request(line("1", "A", 20)), facts) == [("1", 2, "not enough units")]


def test_a_split_line_respects_the_limit_of_shipments_and_of_capacity() -> None:
    nodes = (node("N1", daily_units=4), node("N2"), node("N3", services=("slow",)))
    facts = snapshot(nodes, {"A": {"N1": 9, "N2": 3, "N3": 9}})
    rules = policy(max_shipments=1, relax=())

    assert missing_of(request(line("1", "A", 9)), facts, rules) == [
        ("1", 5, "more shipments than allowed")
    ]
    assert missing_of(request(line("1", "A", 7)), facts, policy()) == []


def test_a_line_some_other_node_has_whole_is_not_split() -> None:
    nodes = (node("N1"), node("N2"))
    facts = snapshot(nodes, {"A": {"N1": 2, "N2": 3}, "B": {"N1": 9}})
    rules = policy(max_shipments=1, relax=())

    assert missing_of(request(line("1", "A", 3), line("2", "B", 9)), facts, rules) == [
        ("1", 3, "more shipments than allowed")
    ]


def test_lines_of_one_product_share_what_a_node_has() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 5}})
    rules = policy(allow_line_split=False)

    assert missing_of(request(line("1", "A", 3), line("2", "A", 3)), facts, rules) == [
        ("2", 3, "not enough units")
    ]
    assert missing_of(request(line("1", "A", 3), line("2", "A", 3)), facts) == [
        ("2", 1, "not enough units")
    ]


def test_a_full_day_moves_the_work_to_the_next_within_the_horizon() -> None:
    full = (CapacityLeft(node_id="N1", work_date="2026-03-02", units=1, orders=9),)
    facts = snapshot((node("N1"),), {"A": {"N1": 5}}, capacity=full)
    asked = request(line("1", "A", 2))

    shipment = plan_of(decide(asked, facts, policy())).shipments[0]
    assert (shipment.work_date, shipment.ship_at) == ("2026-03-03", at(17, day=3))
    assert shipment.order_by == at(14, day=3)
    assert missing_of(asked, facts, policy(horizon_days=1)) == [("1", 1, "not enough units")]


def test_what_one_order_of_a_batch_takes_the_next_does_not_find() -> None:
    facts = snapshot((node("N1", daily_orders=1),), {"A": {"N1": 3}})
    asked = request(line("1", "A", 2))

    first, second = decide_batch([asked, asked], facts, policy())

    assert sent(plan_of(first)) == {"N1": {"1": 2}}
    assert sent(plan_of(second)) == {"N1": {"1": 1}}
    assert plan_of(first).shipments[0].work_date == "2026-03-02"
    assert plan_of(second).shipments[0].work_date == "2026-03-03"


def test_units_the_order_already_reserves_are_free_to_it() -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 1}})

    assert missing_of(request(line("1", "A", 3), own_units={"A": {"N1": 2}}), facts) == []
    assert missing_of(request(line("1", "B", 1), own_units={"B": {"N2": 1}}), facts) == []


def test_endless_and_made_to_order_products_need_no_stock_at_who_makes_them() -> None:
    nodes = (node("SHOP", NodeKind.STORE), node("MAKER", NodeKind.SUPPLIER))
    products = {
        "A": Product(sku="A", supply_mode=SupplyMode.INFINITE),
        "B": Product(sku="B", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=3),
    }
    stock = {"A": {"SHOP": 1, "MAKER": 0}, "B": {"MAKER": 2, "SHOP": 0}}
    facts = snapshot(nodes, stock, products=products)

    endless = plan_of(decide(request(line("1", "A", 500)), facts, policy()))
    assert sent(endless) == {"MAKER": {"1": 500}}
    at_hand = plan_of(decide(request(line("1", "B", 2)), facts, policy())).shipments[0]
    assert at_hand.work_date == "2026-03-02"
    made = plan_of(decide(request(line("1", "B", 3)), facts, policy())).shipments[0]
    assert (made.work_date, made.order_by) == ("2026-03-05", at(14))
    pair = request(line("1", "A", 1), line("2", "B", 3), groups=(group(ship_complete=True),))
    assert plan_of(decide(pair, facts, policy())).shipments[0].work_date == "2026-03-05"


def test_standard_may_go_by_a_faster_service_that_is_cheaper_or_not_late() -> None:
    facts = snapshot(
        (node("N1", services=("ground", "air")),), {"A": {"N1": 5}}, services=ALL_SERVICES
    )

    def service_of(deliver_by: Any, late: int) -> str | None:
        asked = request(line("1", "A"), groups=(group(deliver_by=deliver_by),))
        rules = policy(lateness_cost_per_day=Decimal(late))
        return plan_of(decide(asked, facts, rules)).shipments[0].service_id

    assert service_of(None, 9) == "ground"
    assert service_of(at(23, day=3), 9) == "air"
    assert service_of(at(23, day=3), 4) == "ground"


def test_the_earlier_of_promise_and_request_is_the_due_time() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 5}})
    asked = request(
        line("1", "A"),
        groups=(group(deliver_by=at(20, day=3)),),
        promised_deliver_by=at(19, day=3),
    )

    assert plan_of(decide(asked, facts, policy())).cost_micros == 7_000_000 + 2 * 5_000_000


def test_express_is_never_served_by_a_slower_service() -> None:
    asked = request(line("1", "A"), groups=(group(service_level=ServiceLevel.EXPRESS),))

    assert missing_of(asked, two_nodes()) == [("1", 1, "no carrier service")]


def test_an_offer_has_one_option_for_each_level_that_is_possible() -> None:
    facts = snapshot(
        (node("N1", services=("ground", "air", "bike", "other")),),
        {"A": {"N1": 5}},
        services=ALL_SERVICES,
    )
    asked = request(line("1", "A"), purpose=Purpose.CHECKOUT)

    decision = decide(asked, facts, policy())
    assert [(x.service_level, x.cost_micros) for x in decision.options] == [
        (ServiceLevel.STANDARD, 7_000_000),
        (ServiceLevel.EXPRESS, 12_000_000),
        (ServiceLevel.SAME_DAY, 18_000_000),
    ]
    assert decision.chosen == 0

    soon = asked.model_copy(update={"groups": (group(deliver_by=at(20, day=2)),)})
    cheap = policy(lateness_cost_per_day=Decimal(0))
    assert plan_of(decide(soon, facts, cheap)).service_level is ServiceLevel.SAME_DAY

    too_soon = asked.model_copy(update={"groups": (group(deliver_by=at(10)),)})
    assert plan_of(decide(too_soon, facts, cheap)).service_level is ServiceLevel.STANDARD

    away = asked.model_copy(update={"groups": (group(destination=FAR),)})
    levels = [x.service_level for x in decide(away, facts, policy()).options]
    assert levels == [ServiceLevel.STANDARD, ServiceLevel.EXPRESS]


def test_an_offer_of_something_nobody_has_says_so_once() -> None:
    decision = decide(request(line("1", "Z"), purpose=Purpose.CART), two_nodes(), policy())

    assert [len(x.shipments) for x in decision.options] == [0]
    assert plan_of(decision).missing[0].reason == "no stock"
    assert explain(decision, request(line("1", "Z"))) == (
        "No node serves this request. Missing: 1 of 1 x Z (no stock)."
    )


def test_a_pickup_waits_at_its_store_and_is_offered_once() -> None:
    stores = (
        node("S1", NodeKind.STORE, offers_pickup=True, ships=False),
        node("S2", NodeKind.STORE),
    )
    facts = snapshot(stores, {"A": {"S1": 1, "S2": 5}})
    pickup = group(method=Method.PICKUP, node_id="S1", destination=None)
    asked = request(line("1", "A"), groups=(pickup,), purpose=Purpose.CHECKOUT)

    decision = decide(asked, facts, policy())

    assert len(decision.options) == 1
    shipment = plan_of(decision).shipments[0]
    assert (shipment.node_id, shipment.service_id, shipment.method) == ("S1", None, Method.PICKUP)
    assert shipment.ship_at == shipment.deliver_at == at(11, 15)
    assert shipment.cost_micros == 3_000_000
    assert decision.excluded == {"not the pickup store": ("S2",)}
    assert "for collection there" in explain(decision, asked)

    other = asked.model_copy(update={"groups": (pickup.model_copy(update={"node_id": "S2"}),)})
    assert missing_of(other, facts) == [("1", 1, "not the pickup store")]
    nowhere = asked.model_copy(update={"groups": (pickup.model_copy(update={"node_id": "S9"}),)})
    assert missing_of(nowhere, facts) == [("1", 1, "no such store")]


def test_ship_to_store_goes_to_the_stores_place_and_its_own_stock_waits_there() -> None:
    store = node("S1", NodeKind.STORE, offers_pickup=True, place=FAR)
    facts = snapshot((store, node("N1")), {"A": {"S1": 1}, "B": {"N1": 1}})
    asked = request(
        line("1", "A"),
        line("2", "B"),
        groups=(group(method=Method.SHIP_TO_STORE, node_id="S1", destination=None),),
    )

    shipments = plan_of(decide(asked, facts, policy())).shipments

    assert [(x.node_id, x.method, x.service_id, x.distance_km) for x in shipments] == [
        ("N1", Method.SHIP_TO_STORE, "ground", 3839),
        ("S1", Method.PICKUP, None, 0),
    ]


def test_a_node_that_can_never_be_ready_serves_nothing() -> None:
    never = WorkingHours(days=(0,), opens=time(8), closes=time(8, 1), cutoff=time(9))
    store = node("S1", offers_pickup=True, hours=never, processing_minutes=5_000)
    facts = snapshot((store,), {"A": {"S1": 5}})
    pickup = group(method=Method.PICKUP, node_id="S1", destination=None)

    assert missing_of(request(line("1", "A")), facts) == [("1", 1, "not enough units")]
    assert missing_of(request(line("1", "A"), groups=(pickup,)), facts) == [
        ("1", 1, "not enough units")
    ]
    many = tuple(line(f"{n}", "A") for n in range(9))
    assert len(missing_of(request(*many), facts)) == 9


def test_nothing_leaves_before_the_group_wants_it() -> None:
    asked = request(line("1", "A"), groups=(group(not_before=at(9, day=6)),))

    shipment = plan_of(decide(asked, two_nodes(), policy())).shipments[0]

    assert shipment.ship_at == at(17, day=6)


def test_groups_share_stock_in_the_order_of_the_request() -> None:
    groups = (group("1"), group("2", service_level=ServiceLevel.EXPRESS), group("3"))
    facts = snapshot(
        (node("N1", services=("ground", "air")),), {"A": {"N1": 3}}, services=ALL_SERVICES
    )
    asked = request(
        line("1", "A", 2, ship_group="1"), line("2", "A", 2, ship_group="2"), groups=groups
    )

    decision = decide(asked, facts, policy())

    plan = plan_of(decision)
    assert [(x.ship_group, x.service_id) for x in plan.shipments] == [("1", "ground"), ("2", "air")]
    assert plan.service_level is ServiceLevel.EXPRESS
    assert [(x.line_id, x.quantity) for x in plan.missing] == [("2", 1)]
    assert decision.scores[0].covers == ("1",)
    assert decision.excluded == {}


def test_a_node_excluded_for_one_group_only_is_not_listed() -> None:
    store = node("S1", NodeKind.STORE, offers_pickup=True)
    facts = snapshot(
        (store, node("N1"), node("N2", ships=False)), {"A": {"S1": 9, "N1": 9, "N2": 9}}
    )
    groups = (group("1"), group("2", method=Method.PICKUP, node_id="S1", destination=None))
    asked = request(line("1", "A"), line("2", "A", ship_group="2"), groups=groups)

    assert decide(asked, facts, policy()).excluded == {"does not ship": ("N2",)}


def test_a_plan_without_a_price_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> Partition:
        return Partition(units=9, cost=0, parts=((0, 1),))

    monkeypatch.setattr(group_planner, "cheapest_partition", wrong)
    facts = snapshot((node("N1", daily_units=1),), {"A": {"N1": 9}})

    with pytest.raises(FinalError, match="cannot serve what was planned"):
        decide(request(line("1", "A", 9)), facts, policy())


def test_costs_in_other_currencies_are_converted_or_refused_by_name() -> None:
    euro = node("N1", currency="EUR")
    asked = request(line("1", "A", 2))
    facts = snapshot((euro,), {"A": {"N1": 5}}, exchange_rates={"EUR": "1.10"})

    assert plan_of(decide(asked, facts, policy())).cost_micros == 5_500_000 + 2_200_000
    with pytest.raises(FinalError, match="EUR"):
        decide(asked, facts.model_copy(update={"exchange_rates": {}}), policy())


def test_a_line_without_its_group_is_refused() -> None:
    with pytest.raises(FinalError, match="no ship group '7'"):
        decide(request(line("1", "A", ship_group="7")), two_nodes(), policy())


def test_absurd_costs_are_refused() -> None:
    dear = node("N1", cost_per_order=Decimal(10) ** 13)
    facts = snapshot((dear,), {"A": {"N1": 5}})
    with pytest.raises(FinalError, match="check the tariffs"):
        decide(request(line("1", "A")), facts, policy())
    tight = dear.model_copy(update={"daily_units": 1})
    facts = snapshot((tight,), {"A": {"N1": 5}})
    with pytest.raises(FinalError, match="check the tariffs"):
        decide(request(line("1", "A"), line("2", "A")), facts, policy())


@pytest.mark.parametrize(
    ("destination", "km"),
    [
        (Place(country="US", region="US-PA"), 200),
        (Place(country="US", region="US-NY"), 1500),
        (Place(country="US"), 1500),
        (Place(country="CA"), 8000),
        (Place(country="US", latitude=40.0), 1500),
        (FAR, 3839),
    ],
)
def test_distance_is_assumed_where_a_place_has_no_coordinates(destination: Place, km: int) -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 5}})
    rules = policy(distance_cost_per_km=Decimal("0.001"))
    asked = request(line("1", "A"), groups=(group(destination=destination),))

    shipment = plan_of(decide(asked, facts, rules)).shipments[0]

    assert shipment.distance_km == km
    assert shipment.cost_micros == 7_000_000 + km * 1_000


def test_a_network_is_compiled_once_and_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = two_nodes()
    network = facts_of(first).network
    assert facts_of(first).network is network

    monkeypatch.setattr(kernel_facts, "_MOST_NETWORKS", 0)
    assert facts_of(first).network is network
    facts_of(two_nodes())
    assert facts_of(first).network is not network


def big_case(lines: int, nodes: int) -> tuple[DecisionRequest, Snapshot]:
    """Node n has the lines of its residue classes; two nodes have nearly everything."""
    places = tuple(
        node(f"N{n:02d}", cost_per_order=Decimal(1 + n % 5), cost_per_unit=Decimal(1 + n % 3) / 10)
        for n in range(nodes)
    )
    stock = {
        f"S{x}": {p.node_id: 3 for n, p in enumerate(places) if x % (n % 4 + 1) == 0 or n == x % 7}
        for x in range(lines)
    }
    asked = tuple(line(f"{x}", f"S{x}", 1 + x % 3) for x in range(lines))
    return request(*asked), snapshot(places, stock)


def test_a_large_order_is_covered_whole_by_few_shipments() -> None:
    asked, facts = big_case(lines=60, nodes=12)

    decision = decide(asked, facts, policy())

    plan = plan_of(decision)
    assert plan.missing == ()
    assert sum(x.quantity for s in plan.shipments for x in s.assignments) == 120
    assert len(plan.shipments) == 1
    assert decision.runner_up_cost_micros is None
    assert all(x.cost_micros is not None for x in decision.scores)


def test_the_search_finds_the_exact_optimum_of_an_order_just_beyond_the_exact_size() -> None:
    nodes = (
        node("HALF1", cost_per_order=Decimal(1)),
        node("HALF2", cost_per_order=Decimal(1)),
        node("MOST", cost_per_order=Decimal(9)),
        node("ONE", cost_per_order=Decimal(1)),
    )
    stock: dict[str, dict[str, int]] = {}
    for n in range(10):
        stock[f"S{n}"] = {"HALF1" if n < 5 else "HALF2": 9}
        if n != 4:
            stock[f"S{n}"]["MOST"] = 9
        else:
            stock[f"S{n}"]["ONE"] = 9
    asked = request(*(line(f"{n}", f"S{n}") for n in range(10)))

    plan = plan_of(decide(asked, snapshot(nodes, stock), policy()))

    assert set(sent(plan)) == {"HALF1", "HALF2"}
    assert plan.cost_micros == 2 * 6_500_000 + 10 * 500_000


def test_a_large_order_keeps_within_stock_capacity_and_the_number_of_shipments() -> None:
    nodes = tuple(node(f"N{n}", daily_units=4) for n in range(4))
    stock = {"A": {f"N{n}": 9 for n in range(4)}}
    asked = request(*(line(f"{n}", "A", 1) for n in range(20)))

    plan = plan_of(decide(asked, snapshot(nodes, stock), policy(horizon_days=1)))

    assert [sum(x.quantity for x in s.assignments) for s in plan.shipments] == [4, 4, 4, 4]
    assert len(plan.missing) == 4
    assert missing_of(asked, snapshot(nodes[:1], {"A": {"N0": 9}}), policy(max_shipments=1))


def test_lead_time_counts_in_a_large_order() -> None:
    maker = node("M", NodeKind.SUPPLIER)
    made = Product(sku="B", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=3)
    facts = snapshot(
        (maker, node("N1")), {"A": {"M": 99, "N1": 99}, "B": {"M": 0}}, products={"B": made}
    )
    asked = request(*(line(f"{n}", "A") for n in range(9)), line("b", "B"), line("c", "B"))

    shipments = plan_of(decide(asked, facts, policy())).shipments

    assert [(x.node_id, x.work_date) for x in shipments] == [("M", "2026-03-05")]


def test_the_paragraph_says_why_and_why_not() -> None:
    nodes = (*two_nodes().nodes, *(node(f"X{n}", active=False) for n in range(5)))
    facts = two_nodes().model_copy(update={"nodes": nodes})
    stock = {**facts.availability, "A": {x.node_id: 5 for x in nodes}}
    asked = request(line("1", "A", 2), line("2", "D"))

    text = explain(decide(asked, facts.model_copy(update={"availability": stock}), policy()), asked)

    assert text == (
        "N1 sends 2 x A by ground, 0 km, out 2026-03-02 17:00 and there by 2026-03-04 20:00 UTC, "
        "for 7.50. Together 7.50. Missing: 1 of 1 x D (no stock). "
        "Not chosen: N2 could serve 1 line(s) for 9.50; X0, X1, X2 and 2 more: inactive. "
        "The next best plan costs 2.00 more."
    )
    nothing = decide(asked, facts, policy()).model_copy(update={"chosen": None})
    assert explain(nothing, asked) == "No plan was made."


def test_an_explanation_without_others_names_none() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 5}})

    assert "Not chosen" not in explain(
        decide(request(line("1", "A")), facts, policy()), request(line("1", "A"))
    )


def test_a_snapshots_id_is_its_content() -> None:
    facts = two_nodes(products={"A": Product(sku="A")})
    shuffled = facts.model_copy(
        update={
            "nodes": tuple(reversed(facts.nodes)),
            "availability": dict(reversed(facts.availability.items())),
        }
    )

    assert snapshot_id(shuffled) == snapshot_id(facts)
    assert snapshot_id(facts.model_copy(update={"base_currency": "EUR"})) != snapshot_id(facts)
    named = facts.model_copy(update={"network_version": "7"})
    other = named.model_copy(update={"network_version": "8"})
    assert snapshot_id(named) not in {snapshot_id(facts), snapshot_id(other)}
    assert len(snapshot_id(named)) == 64


def test_a_decision_names_the_content_it_looked_at() -> None:
    full = (
        CapacityLeft(node_id="N1", work_date="2026-03-02", units=1, orders=9),
        CapacityLeft(node_id="N2", work_date="2026-03-02", units=1, orders=9),
        CapacityLeft(node_id="gone", work_date="2026-03-02", units=1, orders=9),
    )
    coming = tuple(
        InboundSupply(node_id=f"N{n}", sku=sku, quantity=4, due=at(9, day=5))
        for n, sku in [(1, "B"), (1, "C"), (2, "A")]
    )
    products = {"A": Product(sku="A"), "B": Product(sku="B"), "X": Product(sku="X")}
    facts = two_nodes(capacity=full, inbound=coming, products=products)
    asked = request(line("1", "B"))

    recorded = snapshot_of(facts_of(facts), asked)

    assert recorded.availability == {"B": {"N1": 5}}
    assert recorded.products == {"B": products["B"]}
    assert recorded.capacity == full[:1]
    assert recorded.inbound == coming[:1]
    assert decide(asked, facts, policy()).snapshot_id == snapshot_id(recorded)
    assert decide(asked, recorded, policy()) == decide(asked, facts, policy())
    mine = asked.model_copy(update={"own_units": {"B": {"N2": 1}}})
    assert snapshot_of(facts_of(facts), mine).capacity == full[:2]
    assert snapshot_of(facts_of(facts)).capacity == full[:2]
    assert Snapshot.model_validate_json(recorded.model_dump_json()) == recorded


def test_a_policy_is_named_by_its_content() -> None:
    assert policy_id(policy()) == policy_id(policy())
    assert policy_id(policy()) != policy_id(policy(max_shipments=2))
    assert policy_id(policy()).startswith("test@")
    assert decide(request(line("1", "A")), two_nodes(), policy()).policy_version == policy_id(
        policy()
    )


def test_a_node_that_comes_back_in_time_may_serve() -> None:
    back: Node = node("N1", offline_until=MONDAY - timedelta(minutes=1), place=HERE)

    assert missing_of(request(line("1", "A")), snapshot((back,), {"A": {"N1": 1}})) == []


def test_inbound_units_make_a_later_date_possible_when_nothing_on_hand_fits() -> None:
    coming = (
        InboundSupply(node_id="N1", sku="A", quantity=4, due=at(10, day=4)),
        InboundSupply(node_id="N1", sku="A", quantity=9, due=at(10, day=6)),
        InboundSupply(node_id="N1", sku="A", quantity=9, due=at(10, day=1)),
        InboundSupply(node_id="gone", sku="A", quantity=9, due=at(10, day=1)),
    )
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 2, "N2": 1}}, inbound=coming[:2])
    asked = request(line("1", "A", 5))
    always = policy(inbound="always")

    later = plan_of(decide(asked, facts, always)).shipments[0]
    assert (later.work_date, later.order_by) == ("2026-03-04", at(14, day=4))
    assert missing_of(asked, facts) == [("1", 2, "not enough units")]
    assert missing_of(asked, facts, policy(inbound="never")) == [("1", 2, "not enough units")]
    offer = asked.model_copy(update={"purpose": Purpose.CHECKOUT})
    assert missing_of(offer, facts) == []
    assert missing_of(request(line("1", "A", 2)), facts, always) == []
    overdue = snapshot((node("N1"),), {"A": {"N1": 2}}, inbound=coming[2:])
    assert plan_of(decide(asked, overdue, always)).shipments[0].work_date == "2026-03-02"
    assert missing_of(request(line("1", "B", 2)), overdue, always) == [("1", 2, "no stock")]


def test_a_kit_takes_all_its_components_at_one_node() -> None:
    parts = (KitComponent(sku="A", quantity=2), KitComponent(sku="B", quantity=1))
    products = {
        "KIT": Product(sku="KIT", components=parts),
        "A": Product(sku="A", weight_grams=500),
        "HEAVY": Product(sku="HEAVY", weight_grams=7_000, components=parts),
    }
    facts = two_nodes(products=products, services=(service(per_kg=Decimal(1)),))

    plan = plan_of(decide(request(line("1", "KIT", 2)), facts, policy()))

    assert sent(plan) == {"N1": {"1": 2}}
    assert [(x.sku, x.quantity) for x in plan.shipments[0].assignments[0].parts] == [
        ("A", 4),
        ("B", 2),
    ]
    assert plan.cost_micros == 7_500_000 + 2_000_000
    heavy = plan_of(decide(request(line("1", "HEAVY", 1)), facts, policy()))
    assert heavy.cost_micros == 7_000_000 + 7_000_000
    assert missing_of(request(line("1", "KIT", 6)), facts) == [("1", 4, "not enough units")]
    gone = two_nodes(products=products).model_copy(update={"availability": {"B": {"N1": 5}}})
    assert missing_of(request(line("1", "KIT")), gone) == [("1", 1, "no stock")]
    both = request(line("1", "KIT", 2), line("2", "A", 2))
    assert missing_of(both, facts) == []


def test_a_kit_no_node_can_make_whole_comes_in_whole_kits() -> None:
    parts = (KitComponent(sku="A", quantity=2), KitComponent(sku="B", quantity=1))
    stock = {"A": {"N1": 5, "N2": 4}, "B": {"N1": 5, "N2": 1}}
    products = {"KIT": Product(sku="KIT", components=parts)}
    facts = snapshot((node("N1"), node("N2")), stock, products=products)

    plan = plan_of(decide(request(line("1", "KIT", 3), line("2", "A", 1)), facts, policy()))

    assert sent(plan) == {"N1": {"1": 2, "2": 1}, "N2": {"1": 1}}


def test_a_plan_in_pieces_is_said_to_be_proven_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, facts = big_case(lines=12, nodes=6)
    asked = asked.model_copy(update={"lines": (*asked.lines, line("many", "S0", 10))})
    best = decide(asked, facts, policy())
    assert best.is_proven
    assert best.bound_micros == plan_of(best).cost_micros

    def blind(relaxation: Relaxation, _: int) -> Bound:
        return Bound(0.0, np.ones(len(relaxation.fixed), dtype=np.bool_))

    monkeypatch.setattr(improve, "bound_of", blind)
    assert decide(asked, facts, policy()) == best
    for most in (0, 30, 50):
        monkeypatch.setattr(improve, "MOST_COLUMNS", most)
        found = decide(asked, facts, policy())
        assert not found.is_proven
        assert found.plan == best.plan


def test_a_bound_drops_the_rows_that_no_better_plan_uses() -> None:
    relaxation = Relaxation(
        fixed=np.array([10.0, 10.0, 900.0]),
        costs=np.array([[1.0, 50.0], [50.0, 1.0], [5.0, 5.0]]),
        shares=np.ones((3, 2)),
        targets=np.ones(2),
    )

    found = bound_of(relaxation, 22)

    assert 20 < found.cost <= 22
    assert found.rows.tolist() == [True, True, False]


def test_an_answer_of_the_solver_that_cannot_be_carried_out_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = snapshot((node("N1"), node("N2")), {"A": {"N1": 3, "N2": 3}, "B": {"N1": 2, "N2": 2}})
    asked = request(line("1", "A", 5), line("2", "B", 2), line("3", "A", 1))
    best = decide(asked, facts, policy())

    def everything(model: Model) -> Answer:
        return Answer(np.array(model.uppers), True, np.zeros(0))

    monkeypatch.setattr(Model, "solve", everything)
    found = decide(asked, facts, policy())

    assert best.is_proven
    assert not found.is_proven
    assert missing_of(asked, facts) == []


def test_a_node_that_is_full_after_one_line_serves_it_once() -> None:
    nodes = (
        node("N1", daily_units=2),
        node("N2", cost_per_order=Decimal(9), hours=WorkingHours(days=(0, 1, 2))),
    )
    facts = snapshot(nodes, {"A": {"N1": 4, "N2": 4}, "B": {"N1": 4, "N2": 4}})
    asked = request(line("1", "A", 2), line("2", "B", 2))
    rules = policy(horizon_days=1)

    assert sent(plan_of(decide(asked, facts, rules))) == {"N2": {"1": 2, "2": 2}}
    dear = facts.model_copy(
        update={"nodes": (nodes[0], nodes[1].model_copy(update={"daily_units": 2}))}
    )
    assert sent(plan_of(decide(asked, dear, rules))) == {"N1": {"1": 2}, "N2": {"2": 2}}


def test_fewer_shipments_than_allowed_may_be_all_there_is() -> None:
    cheap = tuple(node(f"C{n}", cost_per_order=Decimal(0), services=("post",)) for n in range(3))
    stock = {f"S{n}": {f"C{n}": 1, "ALL": 1} for n in range(3)}
    post = service("post", base=Decimal("0.10"))
    facts = snapshot(
        (*cheap, node("ALL", cost_per_order=Decimal(20))), stock, services=(service(), post)
    )
    asked = request(*(line(f"{n}", f"S{n}") for n in range(3)))

    assert len(plan_of(decide(asked, facts, policy())).shipments) == 3
    few = policy(max_shipments=2, relax=())
    assert set(sent(plan_of(decide(asked, facts, few)))) == {"ALL"}


ONE_DAY_ONLY = WorkingHours(
    days=(0,),
    holidays=tuple((MONDAY + timedelta(days=7 * n)).date() for n in range(1, 150)),
)


def test_a_node_that_works_on_one_day_only_sends_what_that_day_takes() -> None:
    once = node("N1", hours=ONE_DAY_ONLY, daily_units=3)
    facts = snapshot((once,), {"A": {"N1": 9}})
    full = CapacityLeft(node_id="N1", work_date="2026-03-02", units=0, orders=0)

    assert missing_of(request(line("1", "A", 5)), facts) == [("1", 2, "not enough units")]
    assert missing_of(request(line("1", "A", 5)), facts, policy(allow_line_split=False)) == [
        ("1", 5, "not enough units")
    ]
    closed = facts.model_copy(update={"capacity": (full,)})
    assert missing_of(request(line("1", "A", 5)), closed) == [("1", 5, "no capacity")]
    early = facts.model_copy(update={"services": (service(pickup_at=time(9)),)})
    assert missing_of(request(line("1", "A", 1)), early) == [("1", 1, "not enough units")]


def test_pieces_go_by_the_service_that_no_other_beats() -> None:
    nodes = tuple(node(f"N{n}", services=("ground", "air")) for n in range(2))
    facts = snapshot(nodes, {"A": {"N0": 3, "N1": 3}}, services=ALL_SERVICES)

    plan = plan_of(decide(request(line("1", "A", 5)), facts, policy()))

    assert {x.service_id for x in plan.shipments} == {"ground"}
    assert sum(x.quantity for s in plan.shipments for x in s.assignments) == 5


def test_without_carriers_nothing_is_sent() -> None:
    facts = snapshot((node("N1"),), {"A": {"N1": 9}}, services=())

    assert missing_of(request(line("1", "A")), facts) == [("1", 1, "no carrier service")]


def test_a_pickup_store_without_stock_misses_what_others_have() -> None:
    stores = (node("S1", offers_pickup=True), node("A1"))
    pickup = group(method=Method.PICKUP, node_id="S1", destination=None)
    facts = snapshot(stores, {"A": {"A1": 3}})

    assert missing_of(request(line("1", "A"), groups=(pickup,)), facts) == [
        ("1", 1, "not the pickup store")
    ]


def test_own_units_and_masks_of_nodes_that_are_gone_change_nothing() -> None:
    maker = node("M", NodeKind.SUPPLIER)
    made = Product(sku="B", supply_mode=SupplyMode.LEAD_TIME, lead_time_days=3)
    facts = snapshot((maker,), {"B": {"M": 0}}, products={"B": made})
    masked = (Exclusion(node_id="M", sku="B", reason="line stopped"),)
    asked = request(line("1", "B"), exclusions=masked, own_units={"B": {"gone": 4}})

    assert missing_of(asked, facts) == [("1", 1, "no stock")]


def test_lines_of_one_product_share_what_a_busy_node_has() -> None:
    facts = snapshot((node("N1", daily_units=5),), {"A": {"N1": 5}, "B": {"N1": 1}})
    rules = policy(allow_line_split=False)

    assert missing_of(request(line("1", "A", 3), line("2", "A", 3)), facts, rules) == [
        ("2", 3, "not enough units")
    ]


def test_what_was_not_asked_of_a_node_for_a_product_is_told() -> None:
    # given
    out = tuple(Exclusion(node_id=f"N{n:02}", sku="A", reason="rejected") for n in range(12))
    asked = request(line("1", "A"), exclusions=(*out, Exclusion(node_id="M", sku="Z", reason="x")))
    # when
    told = explain(decide(asked, two_nodes(), policy()), asked)
    # then
    assert "Not asked: N00 for A (rejected); N01 for A (rejected)" in told
    assert told.count("(rejected)") == 10
    assert "; and 2 more." in told
    assert "for Z" not in told
    few = asked.model_copy(update={"exclusions": out[:1]})
    assert "Not asked: N00 for A (rejected). The" in explain(
        decide(few, two_nodes(), policy()), few
    )


def test_caches_that_are_full_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first = decide(request(line("1", "A")), two_nodes(products={"A": Product(sku="A")}), policy())
    monkeypatch.setattr(kernel_facts, "_MOST_DOCUMENTS", 0)
    monkeypatch.setattr(timetable, "_MOST_STRETCHES", 0)

    again = decide(request(line("1", "A")), two_nodes(products={"A": Product(sku="A")}), policy())

    assert again == first


def test_branching_that_takes_too_long_gives_way_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "MOST_WORK", 0)

    decision = decide(request(line("1", "A", 2), line("2", "B")), two_nodes(), policy())

    assert sent(plan_of(decision)) == {"N1": {"1": 2, "2": 1}}
    assert decision.is_proven
    assert decision.runner_up_cost_micros is None


def test_starting_warm_decides_once() -> None:
    warm()

    assert decide(request(line("1", "A")), two_nodes(), policy()).kernel_version == KERNEL_VERSION


def test_capacity_of_dates_that_no_decision_reaches_changes_nothing() -> None:
    rows = tuple(
        CapacityLeft(node_id="N1", work_date=day, units=0, orders=0)
        for day in ("2020-01-01", "2040-01-01")
    )
    taken = two_nodes(capacity=rows)

    assert plan_of(decide(request(line("1", "A")), taken, policy())) == plan_of(
        decide(request(line("1", "A")), two_nodes(), policy())
    )


def test_a_node_that_works_one_day_in_a_long_while_is_found() -> None:
    closed = tuple((MONDAY + timedelta(days=n)).date() for n in range(100))
    late = node("N1", hours=WorkingHours(days=(0,), holidays=closed))
    facts = snapshot((late,), {"A": {"N1": 5}})

    shipment = plan_of(decide(request(line("1", "A")), facts, policy())).shipments[0]

    assert shipment.work_date == "2026-06-15"


def test_a_carrier_that_takes_months_still_delivers() -> None:
    slow = service(transit_days=600)
    facts = snapshot((node("N1"),), {"A": {"N1": 5}}, services=(slow,))

    shipment = plan_of(decide(request(line("1", "A")), facts, policy())).shipments[0]

    assert shipment.deliver_at == at(20) + timedelta(days=600)
