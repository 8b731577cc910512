"""Real orders of a public data set, from its own files to delivery."""

from pathlib import Path

import pytest

from tests.e2e.system import Doms

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "olist"
ORDERS = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"the Olist data set is not at {DATA.parent.name}/{DATA.name}"
    ),
]


def test_real_orders_are_submitted_and_all_delivered(doms: Doms) -> None:
    # when
    command = ("submit", "--format", "olist", str(DATA), "--limit", str(ORDERS), "--wait", "--json")
    ran = doms.run(*command)
    # then
    assert ran.status == 0, ran.err[-3_000:]
    told = ran.last_json
    assert (told["read"], told["accepted"], told["refused"]) == (ORDERS, ORDERS, 0)
    assert told["by_stage"] == {"completed": ORDERS}
    ids = [row[0] for row in doms.sql("SELECT order_id FROM orders WHERE source = 'olist'")]
    assert len(ids) == ORDERS
    doms.nothing_is_astray(*ids)
    left = doms.sql(
        "SELECT sum(usable), sum(reserved + released) FROM positions WHERE sku IN"
        " (SELECT sku FROM order_lines l JOIN orders o ON o.order_id = l.order_id"
        "  WHERE o.source = 'olist')"
    )
    assert left == [(0, 0)], "the stock was made from these orders, and all of it left"


def test_the_same_command_again_takes_nothing_twice(doms: Doms) -> None:
    # given
    before = doms.sql("SELECT count(*), sum(ordered) FROM order_lines")
    stock = doms.sql("SELECT sum(usable) FROM positions")
    # when
    ran = doms.run("submit", "--format", "olist", str(DATA), "--limit", "5", "--json")
    # then
    assert ran.status == 0, ran.err[-3_000:]
    assert (ran.last_json["accepted"], ran.last_json["refused"]) == (0, 0)
    assert doms.sql("SELECT count(*), sum(ordered) FROM order_lines") == before
    assert doms.sql("SELECT sum(usable) FROM positions") == stock
