from typing import Any

import pytest
from sqlalchemy import Engine

from domain.errors import UnknownReferenceError
from domain.events import LineProgress
from domain.fulfillments import FulfillmentStatus, Package, PackageLine, PackageStatus
from domain.plans import FulfillmentView
from domain.stages import Attention, Choice
from store import fulfillments, network
from store.columns import statement
from store.engine import reading, transaction
from tests.integration.store.builders import (
    NOW,
    a_network,
    a_node,
    a_world,
    at,
    everything,
    fulfillments_of_plan,
    released_order,
)


def a_view(
    order_id: str, revision: int, lines: dict[str, dict[str, int]] | None = None, **changes: Any
) -> FulfillmentView:
    facts: dict[str, Any] = {
        "fulfillment_id": f"{order_id}-1",
        "order_id": order_id,
        "revision": revision,
        "status": FulfillmentStatus.PICKING,
        "lines": tuple(
            LineProgress(line_id=line_id, **progress) for line_id, progress in (lines or {}).items()
        ),
    }
    return FulfillmentView(**{**facts, **changes})


def a_package(number: int, tracking: str | None = None, **changes: Any) -> Package:
    return Package(
        package_id=f"P-{number}",
        lines=(PackageLine(line_id="1", quantity=1),),
        tracking_number=tracking,
        **changes,
    )


def record(engine: Engine, view: FulfillmentView, minutes: float = 0) -> bool:
    with transaction(engine) as session:
        return fulfillments.record_fulfillment(session, view, at(minutes))


def label(engine: Engine, package: Package, key: str, connection_id: str | None = None) -> Package:
    with transaction(engine) as session:
        return fulfillments.save_label(session, "W-1-1", package, key, connection_id)


def tracked(engine: Engine, connection_id: str, number: str) -> str | None:
    with reading(engine) as session:
        return fulfillments.find_by_tracking(session, connection_id, number)


def test_a_released_fulfillment_comes_back_as_it_was_asked(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    plan = released_order(engine, "W-1", ("A", "1", "X", 2))
    with reading(engine) as session:
        found = fulfillments.load_fulfillment(session, "W-1-1")
    assert found.order == fulfillments_of_plan("W-1", plan)[0]
    assert found.view.status is FulfillmentStatus.CREATED
    assert found.view.lines == (LineProgress(line_id="1"),)
    assert found.created_at == found.updated_at == NOW


def test_a_view_is_written_only_if_it_is_newer(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    attention = Attention(
        park_id="p-1", step="pick", reason="silent", choices=(Choice.RETRY,), since=NOW
    )
    newer = a_view("W-1", 2, {"1": {"picked": 2}}, attention=attention, awaits="the node")
    assert record(engine, newer, 3)
    before = everything(engine)
    assert not record(engine, a_view("W-1", 2, {"1": {"picked": 0}}), 4)
    assert not record(engine, a_view("W-1", 1, {"1": {"picked": 1}}), 5)
    assert everything(engine) == before
    with reading(engine) as session:
        assert fulfillments.load_fulfillment(session, "W-1-1").view == newer


def test_the_first_revision_may_be_zero(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    assert record(engine, a_view("W-1", 0))


def test_an_unknown_fulfillment_is_named(engine: Engine) -> None:
    with pytest.raises(UnknownReferenceError, match="no fulfillment 'W-9-1'"):
        record(engine, a_view("W-9", 1))
    with (
        pytest.raises(UnknownReferenceError, match="no fulfillment 'W-1-1'"),
        reading(engine) as session,
    ):
        fulfillments.load_fulfillment(session, "W-1-1")
    with pytest.raises(UnknownReferenceError, match="no fulfillment 'W-1-1'"):
        label(engine, a_package(1, "T-1"), "k")


def test_a_view_that_knows_less_never_takes_a_label_away(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    labelled = a_package(1, "T-1", carrier="Parcels", status=PackageStatus.LABELLED)
    label(engine, labelled, "k")
    record(engine, a_view("W-1", 1, packages=(a_package(1, status=PackageStatus.SHIPPED),)))
    with reading(engine) as session:
        assert fulfillments.packages(session, "W-1-1") == (
            labelled.model_copy(update={"status": PackageStatus.SHIPPED}),
        )


def test_a_label_is_stored_once_for_a_key_and_again_for_another(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    assert label(engine, a_package(1), "first") == a_package(1)
    bought = a_package(1, "T-1")
    assert label(engine, bought, "first") == bought
    before = everything(engine)
    assert label(engine, a_package(1, "T-2"), "first") == bought
    assert everything(engine) == before
    again = a_package(1, "T-3")
    assert label(engine, again, "second") == again
    assert label(engine, a_package(1, "T-4"), "second") == again
    with reading(engine) as session:
        assert fulfillments.packages(session, "W-1-1") == (again,)


def test_packages_keep_their_order(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    boxes = (a_package(10), a_package(9), a_package(1))
    record(engine, a_view("W-1", 1, packages=boxes))
    label(engine, a_package(9, "T-9"), "k")
    with reading(engine) as session:
        found = [x.package_id for x in fulfillments.packages(session, "W-1-1")]
        assert sorted(found) == sorted(x.package_id for x in boxes)
        assert fulfillments.packages(session, "W-9-1") == ()


def test_a_parcel_is_found_by_the_connections_that_may_report_on_it(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    label(engine, a_package(1, "T-1", service="ground"), "first")
    label(engine, a_package(1, "T-2", service="elsewhere"), "second", "other-carrier")
    # The planned service's carrier, the node itself, and where the label was bought.
    assert tracked(engine, "parcels", "T-1") == "W-1-1"
    assert tracked(engine, "wms-1", "T-2") == "W-1-1"
    assert tracked(engine, "other-carrier", "T-2") == "W-1-1"
    assert tracked(engine, "other-carrier", "T-1") is None
    assert tracked(engine, "stranger", "T-1") is None
    assert tracked(engine, "parcels", "T-9") is None


def test_of_two_parcels_with_one_number_the_newer_is_meant(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 1))
    released_order(engine, "W-2", ("A", "1", "X", 1))
    record(engine, a_view("W-1", 1, packages=(a_package(1, "T-1"),)))
    record(engine, a_view("W-2", 1, packages=(a_package(1, "T-1"),)))
    with transaction(engine) as session:
        session.execute(
            statement(
                "UPDATE fulfillments SET created_at = :created_at WHERE order_id = 'W-1'",
                "fulfillments",
            ),
            {"created_at": at(60)},
        )
    assert tracked(engine, "parcels", "T-1") == "W-1-1"


def test_a_nodes_work_is_what_is_open_there_without_the_customers_name(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 9, ("B", "X"): 9})
    with transaction(engine) as session:
        network.import_network(session, a_network(a_node("A", connection_id=None)), (), NOW)
    released_order(engine, "W-1", ("A", "1", "X", 2), ("B", "2", "X", 1))
    released_order(engine, "W-2", ("A", "1", "X", 1))
    record(engine, a_view("W-1", 1, {"1": {"picked": 1}}, packages=(a_package(1),)))
    record(engine, a_view("W-2", 1, status=FulfillmentStatus.DELIVERED, closed=True))
    with reading(engine) as session:
        (task,) = fulfillments.node_work(session, "A")
        assert [x.fulfillment_id for x in fulfillments.node_work(session, "B")] == ["W-1-2"]
        assert fulfillments.node_work(session, "NOWHERE") == []
    assert task.model_dump(exclude={"packages", "since"}, exclude_defaults=True) == {
        "fulfillment_id": "W-1-1",
        "order_id": "W-1",
        "node_id": "A",
        "status": FulfillmentStatus.PICKING,
        "method": "ship",
        "service_id": "ground",
        "lines": ({"line_id": "1", "sku": "X", "quantity": 2, "picked": 1},),
    }
    assert task.packages == (a_package(1),)


def test_a_voided_label_is_shown_as_such_until_the_package_has_another(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 5})
    released_order(engine, "W-1", ("A", "1", "X", 2))
    label(engine, a_package(1, "T-1", shipment_id="S-1"), "first")
    with transaction(engine) as session:
        fulfillments.void_label(session, "W-1-1", "P-1", "S-9")  # another's: nothing changes
    with reading(engine) as session:
        assert fulfillments.packages(session, "W-1-1")[0].status is not PackageStatus.VOIDED
    with transaction(engine) as session:
        fulfillments.void_label(session, "W-1-1", "P-1", "S-1")
    with reading(engine) as session:
        (voided,) = fulfillments.packages(session, "W-1-1")
        assert fulfillments.labels_bought(session, "W-1-1", "P-1") == 1
        assert fulfillments.node_work(session, "A")[0].packages == ()
    assert (voided.status, voided.tracking_number) == (PackageStatus.VOIDED, "T-1")
    # A later record of the package does not bring the voided label back.
    record(engine, a_view("W-1", 5, packages=(a_package(1),)))
    with reading(engine) as session:
        (again,) = fulfillments.packages(session, "W-1-1")
    assert (again.status, again.tracking_number) == (PackageStatus.PACKED, None)
