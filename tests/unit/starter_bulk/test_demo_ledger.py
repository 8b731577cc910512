from typing import Any

from starter.commands.demo_ledger import duplicate_shipments, read_ledger

ORDERED = {("A", "1"): 2}


def entry(kind: str, reference: str = "A-1", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "reference": reference, **more}


def shipped(reference: str, picked: int) -> list[dict[str, Any]]:
    return [
        entry("order_picked", reference, lines=[{"line_id": "1", "picked": picked}]),
        entry("order_handed_over", reference),
    ]


def test_an_order_shipped_in_two_parts_is_no_duplicate() -> None:
    assert duplicate_shipments([*shipped("A-1", 1), *shipped("A-2", 1)], ORDERED) == 0


def test_a_fulfillment_that_left_twice_is_a_duplicate() -> None:
    entries = [*shipped("A-1", 1), entry("order_handed_over")]

    assert duplicate_shipments(entries, ORDERED) == 1


def test_a_package_picked_up_under_two_labels_is_a_duplicate() -> None:
    entries = [
        entry("label_bought", package_reference="A-1/p1", tracking_number=number)
        for number in ("T1", "T2", "T3")
    ] + [entry("parcel_picked_up", tracking_number=number) for number in ("T1", "T3")]

    assert duplicate_shipments(entries, ORDERED) == 1


def test_more_units_than_ordered_are_a_duplicate() -> None:
    assert duplicate_shipments([*shipped("A-1", 2), *shipped("A-2", 1)], ORDERED) == 1


def test_a_second_shipment_for_a_lost_one_is_none() -> None:
    entries = [*shipped("A-1", 2), entry("parcel_lost"), *shipped("A-2", 2)]

    assert duplicate_shipments(entries, ORDERED) == 0


def test_what_was_picked_but_never_left_does_not_count() -> None:
    picked = entry("order_picked", "A-2", lines=[{"line_id": "1", "picked": 2}])

    assert duplicate_shipments([*shipped("A-1", 2), picked], ORDERED) == 0


def test_a_long_ledger_is_read_page_by_page() -> None:
    known = [{"id": n} for n in range(1, 2_501)]
    asked: list[str] = []

    def get(path: str) -> Any:
        asked.append(path)
        after = int(path.partition("after=")[2].partition("&")[0])
        return {"entries": known[after : after + 1_000]}

    assert list(read_ledger(get)) == known
    assert asked == [f"/ledger?after={after}&limit=1000" for after in (0, 1_000, 2_000)]
