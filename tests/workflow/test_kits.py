"""Orders of kits: their components are reserved, sent from one node and delivered."""

from datetime import UTC, datetime

from domain.catalogue import KitComponent, Product
from store import network
from store.engine import transaction
from tests.workflow.world import PRODUCTS, World, document, sample_network

# One tea and two cups.
SET = Product(
    sku="SET",
    components=(KitComponent(sku="TEA", quantity=1), KitComponent(sku="CUP", quantity=2)),
)


def prepare(world: World) -> None:
    world.prepare()
    with transaction(world.engine) as session:
        network.import_network(session, sample_network(), (*PRODUCTS, SET), datetime.now(UTC))


def kits(quantity: int) -> list[dict[str, object]]:
    return [{"line_id": "1", "sku": "SET", "quantity": quantity}]


async def test_a_kits_components_are_reserved_shipped_and_delivered_from_one_node(
    world: World,
) -> None:
    # given: the nearer node has only a part of the kit
    prepare(world)
    world.stock(dc_1__TEA=5, dc_2__TEA=5, dc_2__CUP=5)
    # when
    order = await world.at_node(document(lines=kits(2)))
    # then
    [fulfillment] = world.page().fulfillments
    assert fulfillment.node_id == "dc-2"
    assert [(x.line_id, x.sku, x.quantity) for x in fulfillment.asked] == [
        ("1-k1", "TEA", 2),
        ("1-k2", "CUP", 4),
    ]
    # when
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 6, 0)
    assert world.quantities() == {"1-k1": {"delivered": 2}, "1-k2": {"delivered": 4}}
    assert world.sellable("TEA") == {"dc-1": 5, "dc-2": 3}
    assert world.sellable("CUP") == {"dc-2": 1}
    world.nothing_is_astray()


async def test_a_kit_that_lacks_a_component_waits_whole_and_is_delivered_when_it_comes(
    world: World,
) -> None:
    # given
    prepare(world)
    world.stock(dc_1__TEA=1, dc_1__CUP=1)
    # when
    order = await world.submit(document(lines=kits(1)))
    await world.until_shown(order, "backordered")
    # then
    assert world.quantities() == {"1-k1": {"backordered": 1}, "1-k2": {"backordered": 2}}
    assert world.page().fulfillments == ()
    assert world.sellable("TEA") == {"dc-1": 1}
    # when: with what came the kit is whole, and is granted whole, for one parcel
    world.stock(dc_1__CUP=1)
    whole = {"1-k1": {"reserved": 1}, "1-k2": {"reserved": 2}}
    await world.until(lambda: world.quantities() == whole, "the kit is granted")
    await world.skip(hours=2)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 3, 0)
    assert world.quantities() == {"1-k1": {"delivered": 1}, "1-k2": {"delivered": 2}}
    assert (world.sellable("TEA"), world.sellable("CUP")) == ({}, {})
    world.nothing_is_astray()


async def test_one_of_two_kits_is_cancelled_with_all_its_components(world: World) -> None:
    # given
    prepare(world)
    world.stock(dc_1__TEA=2, dc_1__CUP=4)
    order = await world.reserved(document(lines=kits(2)))
    # when
    await world.cancel(order, lines={"1-k1": 1, "1-k2": 2})
    # then
    half = {"1-k1": {"reserved": 1, "cancelled": 1}, "1-k2": {"reserved": 2, "cancelled": 2}}
    await world.until(lambda: world.quantities() == half, "one kit is cancelled")
    assert (world.sellable("TEA"), world.sellable("CUP")) == ({"dc-1": 1}, {"dc-1": 2})


async def test_an_amendment_to_fewer_kits_cancels_their_components(world: World) -> None:
    # given
    prepare(world)
    world.stock(dc_1__TEA=2, dc_1__CUP=4)
    order = await world.reserved(document(lines=kits(2)))
    # when
    accepted = await world.submit(document(lines=kits(1), version=2))
    # then
    assert accepted.id == order.id
    await world.until(
        lambda: (world.sellable("TEA"), world.sellable("CUP")) == ({"dc-1": 1}, {"dc-1": 2}),
        "one kit is given back",
    )
