from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from domain.errors import ConflictError
from store import inventory
from store.engine import transaction
from store.operations import Claim, claim, content_hash, finish, forget
from tests.integration.store.builders import NOW, a_count, a_world, everything


def test_the_same_key_and_content_again_answers_what_the_first_call_did(engine: Engine) -> None:
    with transaction(engine) as session:
        assert claim(session, "k", "adjust", NOW, content={"delta": 3, "sku": "X"}).is_new
        finish(session, "k", ["done"])
    with transaction(engine) as session:
        again = claim(session, "k", "adjust", NOW, content={"sku": "X", "delta": 3})
    assert again == Claim(is_new=False, result=["done"])


@pytest.mark.parametrize("kind", ["adjust", "receive"])
def test_a_key_used_for_something_else_is_refused_and_changes_nothing(
    engine: Engine, kind: str
) -> None:
    with transaction(engine) as session:
        claim(session, "k", "adjust", NOW, content={"delta": 3})
    before = everything(engine)
    with pytest.raises(ConflictError), transaction(engine) as session:
        claim(session, "k", kind, NOW, content={"delta": 4 if kind == "adjust" else 3})
    assert everything(engine) == before


def test_a_key_kept_before_contents_were_fits_any_content(engine: Engine) -> None:
    with transaction(engine) as session:
        claim(session, "k", "adjust", NOW, "done", content={"delta": 3})
        session.execute(text("UPDATE operations SET content = NULL"))
    with transaction(engine) as session:
        assert claim(session, "k", "adjust", NOW, content={"delta": 4}).result == "done"


def test_a_call_whose_content_cannot_differ_fits_any_content(engine: Engine) -> None:
    with transaction(engine) as session:
        claim(session, "k", "adjust", NOW, "done", content={"delta": 3})
    with transaction(engine) as session:
        assert claim(session, "k", "adjust", NOW).result == "done"


def test_a_forgotten_key_is_free_for_another_content(engine: Engine) -> None:
    with transaction(engine) as session:
        claim(session, "k", "adjust", NOW, content={"delta": 3})
        forget(session, "k")
        assert claim(session, "k", "adjust", NOW, content={"delta": 4}).is_new


def test_times_and_decimals_count_as_their_text() -> None:
    assert content_hash([NOW, Decimal("1.0")]) == content_hash([NOW, Decimal("1.0")])
    assert content_hash([NOW]) != content_hash([NOW + timedelta(seconds=1)])
    assert content_hash([Decimal("1.0")]) != content_hash([Decimal("1.00")])


def test_a_feed_id_stands_for_one_count_whatever_the_order_of_its_rows(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    rows = [a_count("A", "X", 7, 0), a_count("A", "Y", 2, 0)]
    with transaction(engine) as session:
        inventory.set_stock(session, rows, key="feed", now=NOW)
    before = everything(engine)
    with transaction(engine) as session:
        inventory.set_stock(session, rows[::-1], key="feed", now=NOW)
    assert everything(engine) == before
    with pytest.raises(ConflictError), transaction(engine) as session:
        inventory.set_stock(session, [rows[0]], key="feed", now=NOW)
    assert everything(engine) == before


def test_an_adjustment_or_arrival_under_a_used_key_must_say_the_same(engine: Engine) -> None:
    a_world(engine, {("A", "X"): 10})
    with transaction(engine) as session:
        inventory.adjust(session, "A", "X", "usable", 2, key="a", now=NOW, reason="found")
        inventory.receive(session, "A", "X", 2, key="r", now=NOW)
        inventory.keep_back(session, "A", "X", safety_stock=1, protected={}, key="k", now=NOW)
    before = everything(engine)
    changes: list[Callable[[Session], object]] = [
        lambda s: inventory.adjust(s, "A", "X", "usable", 3, key="a", now=NOW, reason="found"),
        lambda s: inventory.receive(s, "B", "X", 2, key="r", now=NOW),
        lambda s: inventory.keep_back(s, "A", "X", safety_stock=2, protected={}, key="k", now=NOW),
    ]
    for change in changes:
        with pytest.raises(ConflictError), transaction(engine) as session:
            change(session)
        assert everything(engine) == before
