"""`doms promise`: what can be promised for some items."""

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from starter.cli_common import (
    JsonOption,
    UrlOption,
    connect,
    moment,
    read_document,
    say,
    show,
    table,
)


def promise(
    file: Annotated[Path, typer.Argument(help="JSON as POST /v1/promises takes it; - is input.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask what can be promised for some items: every way to get them, dates, nodes and cost."""
    document = read_document(file)
    with connect(url) as api:
        answer = api.post("/v1/promises", document)
    show(answer, as_json, _print_promise)


def _rounded(cost: str | None, currency: str | None) -> str | None:
    """The cost as that currency is paid; exact costs are in the JSON."""
    if cost is None or currency is None:
        return cost
    from domain.money import minor_units

    smallest = Decimal(1).scaleb(-minor_units(currency))
    return f"{Decimal(cost).quantize(smallest, ROUND_HALF_UP)} {currency}"


def _print_promise(answer: dict[str, Any]) -> None:
    say(f"promise {answer['promise_id']}")
    table(
        ("option", "ships", "delivers", "order by", "cost", "from", "missing"),
        (
            (
                option.get("option_id") or option.get("service_level"),
                option.get("ship_at"),
                option.get("deliver_at"),
                option.get("order_by"),
                _rounded(option.get("cost"), answer.get("currency")),
                [shipment.get("node_id") for shipment in option.get("shipments") or ()],
                [missing.get("sku") for missing in option.get("missing") or ()],
            )
            for option in answer["options"]
        ),
    )
    held = answer.get("hold")
    if held is not None:
        say(f"held as {held['reservation_id']} until {moment(held['expires_at'])}")
