"""An order's whole life, in each of the ways that goods reach a customer."""

from domain.fulfillments import Package, PackageLine, PackageStatus
from domain.stages import Stage
from tests.workflow.world import World, document
from workflows.messages import OrderResult


async def test_an_order_is_promised_reserved_released_shipped_and_delivered(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    # when
    order = await world.submit(document())
    await world.until_shown(order, "reserved")
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    result = await order.result()
    # then
    assert (result.stage, result.delivered_units, result.cancelled_units) == (Stage.COMPLETED, 2, 0)
    page = world.page()
    assert page.closed
    assert page.stage == "completed"
    assert world.sellable() == {"dc-1": 3}
    assert list(world.wms.released) == ["W-1-1"]
    assert len(world.carrier.bought) == 1
    world.books_are_right()


async def test_nothing_is_released_before_the_remorse_window_is_over(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.reserved(document())
    # when
    await world.skip(minutes=29)
    # then
    assert (await world.report(order)).view.displayed == "reserved"
    assert world.wms.released == {}
    assert world.sellable() == {"dc-1": 3}
    # when
    await world.skip(minutes=2)
    # then
    await world.until_fulfillment("W-1-1", "acknowledged")


async def test_an_order_is_split_over_two_nodes_when_no_node_has_all(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=1, dc_2__CUP=4)
    lines = [
        {"line_id": "1", "sku": "TEA", "quantity": 1},
        {"line_id": "2", "sku": "CUP", "quantity": 3},
    ]
    # when
    order = await world.at_node(document(lines=lines))
    await world.until_fulfillment("W-1-2", "acknowledged")
    # then
    nodes = {x.fulfillment_id: x.node_id for x in world.page().fulfillments}
    assert sorted(nodes.values()) == ["dc-1", "dc-2"]
    # when
    await world.ship_and_deliver("W-1-1")
    await world.ship_and_deliver("W-1-2")
    # then
    assert await world.result(order) == ("completed", 4, 0)
    assert world.quantities() == {"1": {"delivered": 1}, "2": {"delivered": 3}}
    assert world.statuses() == {"W-1-1": "delivered", "W-1-2": "delivered"}
    assert (world.sellable("TEA"), world.sellable("CUP")) == ({}, {"dc-2": 1})
    assert sorted(world.wms.handovers) == ["W-1-1", "W-1-2"]
    assert sorted(world.carrier.bought) == ["W-1-1/P1/label", "W-1-2/P1/label"]
    world.nothing_is_astray()


async def test_one_order_is_shipped_and_picked_up(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=2, store_1__CUP=1)
    order_document = document(
        lines=[
            {"line_id": "1", "sku": "TEA", "quantity": 2},
            {"line_id": "2", "sku": "CUP", "quantity": 1, "ship_group": "2"},
        ]
    )
    order_document["ship_groups"].append({"id": "2", "method": "pickup", "node_id": "store-1"})
    # when
    order = await world.submit(order_document)
    await world.until_planned()
    await world.skip(minutes=31)
    await world.until(lambda: len(world.page().fulfillments) == 2, "both are released")
    by_node = {x.node_id: x.fulfillment_id for x in world.page().fulfillments}
    await world.until_fulfillment(by_node["dc-1"], "acknowledged")
    await world.ship_and_deliver(by_node["dc-1"])
    await world.until(lambda: by_node["store-1"] in world.pos.released, "the store has it")
    for report in ("acknowledged", "picked", "ready_for_pickup", "collected"):
        await world.node_says(by_node["store-1"], report)
    # then
    assert await world.result(order) == ("completed", 3, 0)
    assert set(world.statuses().values()) == {"delivered", "collected"}
    assert world.quantities() == {"1": {"delivered": 2}, "2": {"delivered": 1}}
    assert len(world.carrier.bought) == 1
    assert world.sellable("CUP") == {}
    world.nothing_is_astray()


async def test_a_third_party_ships_itself_in_several_packages(world: World) -> None:
    # given
    world.prepare()
    world.stock(threepl_1__TEA=3)
    # when
    order = await world.at_node(document(lines=[{"line_id": "1", "sku": "TEA", "quantity": 3}]))
    parcels = tuple(
        Package(
            package_id=f"box-{number}",
            lines=(PackageLine(line_id="1", quantity=units),),
            carrier="Their Own",
            tracking_number=f"own-{number}",
        )
        for number, units in ((1, 2), (2, 1))
    )
    await world.node_says("W-1-1", "packed", packages=parcels)
    await world.node_says("W-1-1", "handed_over", packages=parcels[:1])
    await world.carrier_says("W-1-1", "delivered", tracking="own-1")
    await world.until(lambda: world.quantities() == {"1": {"picked": 1, "delivered": 2}}, "one box")
    # then
    assert world.statuses() == {"W-1-1": "packed"}
    # when
    await world.node_says("W-1-1", "handed_over", packages=parcels[1:])
    await world.carrier_says("W-1-1", "delivered", tracking="own-2")
    # then
    assert await world.result(order) == ("completed", 3, 0)
    (fulfillment,) = world.page().fulfillments
    assert {(x.package_id, x.tracking_number, x.status) for x in fulfillment.packages} == {
        ("box-1", "own-1", PackageStatus.DELIVERED),
        ("box-2", "own-2", PackageStatus.DELIVERED),
    }
    assert world.carrier.bought == {}
    assert world.sellable() == {}
    attributes = await world.attributes("order-W-1")
    assert attributes["Carriers"] == ["Their Own"]
    assert attributes["FulfillmentNodes"] == ["threepl-1"]
    world.nothing_is_astray()


async def test_people_of_a_store_without_a_system_ship_an_order(world: World) -> None:
    # given
    world.prepare()
    world.stock(store_2__TEA=2)
    # when
    order = await world.at_node(document(), status="released")
    for report in ("acknowledged", "picked", "packed"):
        await world.node_says("W-1-1", report)
    await world.until_label("W-1-1")
    await world.node_says("W-1-1", "handed_over")
    await world.until_fulfillment("W-1-1", "shipped")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.wms.handovers == world.pos.handovers == []
    assert list(world.carrier.bought) == ["W-1-1/P1/label"]
    assert world.sellable() == {}
    world.nothing_is_astray()


async def test_reports_that_come_twice_and_in_the_wrong_order_count_once(world: World) -> None:
    # given
    world.prepare()
    world.stock(dc_1__TEA=5)
    order = await world.at_node(document())
    # when
    await world.node_says("W-1-1", "packed", event_id="packed-1")
    await world.until_label("W-1-1")
    for _ in range(2):
        await world.carrier_says("W-1-1", "out_for_delivery")
        await world.node_says("W-1-1", "handed_over", event_id="left-1")
        await world.node_says("W-1-1", "picked", event_id="picked-1")
        await world.node_says("W-1-1", "packed", event_id="packed-1")
    await world.carrier_says("W-1-1", "delivered")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    assert world.sellable() == {"dc-1": 3}
    assert len(world.carrier.bought) == 1
    assert world.position("dc-1").usable == 3
    world.nothing_is_astray()


async def pickup(world: World) -> None:
    world.prepare()
    world.stock(store_2__TEA=2)
    groups = [{"id": "1", "method": "pickup", "node_id": "store-2"}]
    await world.at_node(document(ship_groups=groups), status="released")
    await world.node_says("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "ready_for_pickup")
    await world.until_fulfillment("W-1-1", "ready_for_pickup")


async def test_a_pickup_is_collected(world: World) -> None:
    # given
    await pickup(world)
    await world.skip(days=6)
    # when
    await world.node_says("W-1-1", "collected")
    # then
    order = world.client.get_workflow_handle("order-W-1", result_type=OrderResult)
    assert await world.result(order) == ("completed", 2, 0)
    assert world.statuses() == {"W-1-1": "collected"}
    assert world.carrier.bought == {}
    assert world.sellable() == {}
    world.nothing_is_astray()


async def test_a_pickup_nobody_comes_for_goes_back_on_the_shelf(world: World) -> None:
    # given
    world.prepare()
    world.stock(store_1__TEA=2)
    groups = [{"id": "1", "method": "pickup", "node_id": "store-1"}]
    order = await world.at_node(document(ship_groups=groups), status="released")
    await world.node_says("W-1-1", "acknowledged")
    await world.node_says("W-1-1", "ready_for_pickup")
    await world.until_fulfillment("W-1-1", "ready_for_pickup")
    # when
    await world.skip(days=8)
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.statuses() == {"W-1-1": "pickup_expired"}
    assert world.pos.expired == ["W-1-1"]
    assert world.sellable() == {"store-1": 2}
    world.nothing_is_astray()


async def test_a_store_that_cannot_be_told_of_an_expired_pickup_does_not_stop_the_order(
    world: World,
) -> None:
    # given
    world.prepare()
    world.stock(store_1__TEA=2)
    groups = [{"id": "1", "method": "pickup", "node_id": "store-1"}]
    order = await world.at_node(document(ship_groups=groups), status="released")
    await world.node_says("W-1-1", "ready_for_pickup")
    await world.until_fulfillment("W-1-1", "ready_for_pickup")
    world.pos.refusal_of_expiry = "unknown order"
    # when
    await world.skip(days=8)
    park_id = await world.until_asked("W-1-1", "pickup_expired")
    await world.choose(world.child("W-1-1"), park_id, "skip")
    # then
    assert await world.result(order) == ("cancelled", 0, 2)
    assert world.sellable() == {"store-1": 2}
    world.nothing_is_astray()
