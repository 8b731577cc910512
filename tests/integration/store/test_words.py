"""What was said about an order: kept apart from what its workflow knows, joined to be shown."""

from datetime import timedelta

from sqlalchemy import Engine

from domain.plans import TimelineEntry
from domain.stages import Attention, Choice, Hold
from store import words
from store.engine import reading, transaction
from tests.integration.store.builders import NOW


def said(engine: Engine, key: str, text: str, *, in_story: bool = True) -> None:
    with transaction(engine) as session:
        words.keep(
            session,
            "W-1",
            key,
            text,
            about="pick",
            said_by="wms",
            at=NOW + timedelta(minutes=1),
            in_story=in_story,
        )


def known(engine: Engine, order_id: str = "W-1") -> dict[str, words.Words]:
    with reading(engine) as session:
        return words.of_order(session, order_id)


def test_free_text_is_kept_and_a_code_is_passed_on(engine: Engine) -> None:
    with transaction(engine) as session:
        told = [
            words.apart(session, "W-1", key, text, about="cancel", said_by="mia", at=NOW)
            for key, text in (("request/1", "she moved"), ("request/2", "fraud"), ("request/3", ""))
        ]
    assert told == ["", "fraud", ""]
    assert {key: one.text for key, one in known(engine).items()} == {"request/1": "she moved"}
    assert known(engine, "W-2") == {}


def test_later_words_under_a_key_take_the_place_of_the_first(engine: Engine) -> None:
    said(engine, "pick-1", "busy", in_story=False)
    said(engine, "pick-1", "no such street")
    assert [(x.text, x.in_story) for x in known(engine).values()] == [("no such street", True)]
    with reading(engine) as session:
        assert words.text_of(session, "W-1", "pick-1") == "no such street"
        assert words.text_of(session, "W-1", "pick-2") == ""


def test_a_question_is_shown_with_the_words_it_refers_to(engine: Engine) -> None:
    said(engine, "pick-1", "no such street")
    asked = Attention(
        park_id="pick-1",
        step="pick",
        reason=f"wms refused{words.reference('pick-1')}",
        choices=(Choice.RETRY,),
        since=NOW,
    )
    shown = words.told_attention(asked, known(engine))
    assert shown is not None
    assert shown.reason == "wms refused: no such street"
    assert words.told_attention(asked, {}) == asked
    assert words.told_attention(None, known(engine)) is None


def test_a_hold_is_shown_with_the_reason_of_its_request(engine: Engine) -> None:
    said(engine, words.of_request("h-1"), "an odd address")
    hold = Hold(hold_id="fraud-1", type="fraud", owner="mia", request_id="h-1")
    assert words.told_hold(hold, known(engine)).reason == "an odd address"
    own = hold.model_copy(update={"reason": "fraud"})
    assert words.told_hold(own, known(engine)) == own
    assert words.told_hold(hold, {}) == hold


def test_the_story_tells_what_was_said_when_it_was_said(engine: Engine) -> None:
    before, after = (
        TimelineEntry(key=f"k{minutes}", at=NOW + timedelta(minutes=minutes), kind="x", text="x")
        for minutes in (0, 2)
    )
    said(engine, "pick-1", "no such street")
    said(engine, "pick-2", "busy", in_story=False)
    story = words.in_story([before, after], known(engine))
    assert [entry.text for entry in story] == ["x", "wms, pick: no such street", "x"]
    assert words.in_story([before, after], {}) == (before, after)
