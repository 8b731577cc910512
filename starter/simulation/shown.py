"""A simulation's results for a program and for a person."""

from collections.abc import Sequence
from typing import Any

from domain.simulation_measures import MEASURES, Comparison, Estimate, Measure
from starter.cli_common import say, table

_NODES_SHOWN = 10
_LEFT_OUT_SHOWN = 10


def measures_json(estimates: tuple[Estimate, ...]) -> dict[str, Any]:
    """Key of each measure -> value and its interval; null where there is nothing to measure."""
    return {
        measure.key: {
            "value": _rounded(one.value),
            "interval_95": None if one.low is None else [_rounded(one.low), _rounded(one.high)],
        }
        for measure, one in zip(MEASURES, estimates, strict=True)
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)


def print_answer(answer: dict[str, Any], comparison: Comparison) -> None:
    """Tables of the measures, of the differences and of the busiest nodes; then the notes."""
    labels = [one["label"] for one in answer["policies"]]
    title = f"{answer['orders']} orders, money in {answer['currency']} (95 % interval)"
    _print_measures(title, labels, comparison.values, signed=False)
    if len(labels) > 1:
        say("")
        title = f"Difference from {labels[0]}, order by order (95 % interval)"
        _print_measures(title, labels[1:], comparison.differences[1:], signed=True)
    say("")
    _print_loads(answer)
    _print_notes(answer)


def _print_measures(
    title: str,
    labels: Sequence[str],
    estimates: Sequence[Sequence[Estimate]],
    *,
    signed: bool,
) -> None:
    rows = [
        (measure.label, *(estimate_text(measure, x[row], signed=signed) for x in estimates))
        for row, measure in enumerate(MEASURES)
    ]
    table(("", *labels), rows, title=title)


def _print_loads(answer: dict[str, Any]) -> None:
    policies = answer["policies"]
    by_node = [{x["node_id"]: x for x in one["nodes"]} for one in policies]
    total: dict[str, int] = {}
    for nodes in by_node:
        for node_id, load in nodes.items():
            total[node_id] = total.get(node_id, 0) + load["shipments"]
    busiest = sorted(total, key=lambda x: (-total[x], x))
    table(
        ("node", *(one["label"] for one in policies)),
        [(x, *(_load(nodes.get(x)) for nodes in by_node)) for x in busiest[:_NODES_SHOWN]],
        title="Shipments by node (use of its busiest day)",
    )
    if len(busiest) > _NODES_SHOWN:
        say(f"... {len(busiest) - _NODES_SHOWN} more nodes: --json has them")


def _load(load: dict[str, Any] | None) -> str:
    return "0" if load is None else f"{load['shipments']:,} ({load['busiest_use']:.0%})"


def _print_notes(answer: dict[str, Any]) -> None:
    for one in answer["policies"]:
        if one["missing"]:
            why = ", ".join(f"{units} {reason}" for reason, units in one["missing"].items())
            say(f"units missing at first under {one['label']}: {why}")
    for note in answer["notes"]:
        say(f"note: {note}")
    for one in answer["left_out"][:_LEFT_OUT_SHOWN]:
        say(f"left out, {one['where']}: {one['why']}")
    if len(answer["left_out"]) > _LEFT_OUT_SHOWN:
        say(f"... {len(answer['left_out']) - _LEFT_OUT_SHOWN} more orders left out")
    for what in ("plot", "decisions"):
        if answer[what]:
            say(f"{what}: {answer[what]}")


def estimate_text(measure: Measure, one: Estimate, *, signed: bool) -> str:
    """The value with its interval; without one that says no more."""
    if one.value is None:
        return "-"
    text = _number(measure, one.value, signed=signed)
    if one.low is None or one.high is None:
        return text
    low, high = (_number(measure, x, signed=signed) for x in (one.low, one.high))
    return text if low == text == high else f"{text} ({low} to {high})"


def _number(measure: Measure, number: float, *, signed: bool) -> str:
    digits = 0 if measure.key == "distance_km" else 3 if measure.form == "number" else 2
    kind = "%" if measure.form == "share" else "f"
    text = f"{number:+,.{digits}{kind}}"
    if not any(digit in text for digit in "123456789"):
        return text[1:]
    return text if signed else text.removeprefix("+")
