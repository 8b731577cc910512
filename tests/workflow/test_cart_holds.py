"""An order and its cart's hold: taken over without a gap, or given back."""

from datetime import UTC, datetime, timedelta

from store import holds, timeline
from store.engine import reading, transaction
from store.holds import CartHold, HoldItem
from tests.workflow.world import World, document


def hold(world: World, node_id: str, quantity: int, hold_id: str = "cart-1") -> None:
    item = HoldItem(line_id="1", node_id=node_id, sku="TEA", quantity=quantity)
    with transaction(world.engine) as session:
        lasting = timedelta(minutes=15)
        holds.hold(session, hold_id, [item], lasting=lasting, now=datetime.now(UTC))


def held(world: World, hold_id: str = "cart-1") -> CartHold:
    with reading(world.engine) as session:
        return holds.load(session, hold_id)


def story(world: World, order_id: str) -> list[str]:
    with reading(world.engine) as session:
        return [entry.text for entry in timeline.timeline(session, order_id)]


async def test_an_order_gets_the_units_its_cart_holds_though_nobody_else_could(
    world: World,
) -> None:
    # given: every unit there is lies in the cart
    world.prepare()
    world.stock(dc_1__TEA=2)
    hold(world, "dc-1", 2)
    assert world.sellable() == {}
    # when
    order = await world.reserved(document(reservation_id="cart-1"))
    # then
    assert held(world).ended == "used"
    assert "The cart's reservation is kept for this order" in story(world, "W-1")
    # when
    await world.skip(minutes=31)
    await world.until_fulfillment("W-1-1", "acknowledged")
    await world.ship_and_deliver("W-1-1")
    # then
    assert await world.result(order) == ("completed", 2, 0)
    world.nothing_is_astray()


async def test_an_order_that_is_cancelled_while_it_waits_for_approval_gives_its_hold_back(
    world: World,
) -> None:
    # given
    world.prepare(process={"approvals": [{"level": 1, "role": "manager"}]})
    world.stock(dc_1__TEA=2)
    hold(world, "dc-1", 2)
    order = await world.submit(document(order_type="b2b", reservation_id="cart-1"))
    await world.until_shown(order, "pending_approval")
    assert held(world).order_id == "W-1"
    # when
    await world.skip(minutes=60)
    assert held(world).ended is None
    await world.cancel(order)
    await order.result()
    # then
    assert held(world).ended == "released"
    assert world.sellable() == {"dc-1": 2}
    world.nothing_is_astray()


async def test_an_order_that_cannot_use_what_its_cart_holds_waits_without_it(
    world: World,
) -> None:
    # given: the cart holds tea, and the order came to want cups
    world.prepare()
    world.stock(dc_1__TEA=1)
    hold(world, "dc-1", 1)
    lines = [{"line_id": "1", "sku": "CUP", "quantity": 1}]
    # when
    order = await world.submit(document(lines=lines, reservation_id="cart-1"))
    await world.until_shown(order, "backordered")
    # then
    await world.until(lambda: held(world).ended == "released", "the hold is given back")
    assert world.sellable() == {"dc-1": 1}
