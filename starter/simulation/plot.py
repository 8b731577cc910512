"""The drawing of a simulation: cost and its parts, shipments an order, load by node."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from domain.errors import FinalError
from domain.routing_simulation import COLUMNS, Outcome
from domain.simulation_measures import MEASURES, Comparison, Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NODES = 12
_MOST_SHIPMENTS = 4
_LONGEST_LABEL = 22


def draw(
    path: Path,
    labels: Sequence[str],
    outcomes: Sequence[Outcome],
    comparison: Comparison,
    currency: str,
) -> None:
    """A PNG. Raises FinalError when it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    costs, splits, loads = figure.subplots(1, 3, width_ratios=(2, 2, 3))
    short = [_short(label) for label in labels]
    _draw_costs(costs, short, comparison, currency)
    _draw_splits(splits, short, outcomes)
    _draw_loads(loads, short, outcomes)
    figure.suptitle(f"{len(outcomes[0].columns):,} orders under {len(labels)} policies")
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise FinalError(f"{path}: cannot be written: {error}") from error


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 3]}..."


def _of(comparison: Comparison, key: str) -> list[Estimate]:
    row = [measure.key for measure in MEASURES].index(key)
    return [values[row] for values in comparison.values]


def _draw_costs(axes: "Axes", labels: Sequence[str], found: Comparison, currency: str) -> None:
    shipping = [one.value or 0.0 for one in _of(found, "shipping_per_order")]
    handling = [one.value or 0.0 for one in _of(found, "handling_per_order")]
    total = _of(found, "cost_per_order")
    below = [(one.value or 0.0) - (one.low or one.value or 0.0) for one in total]
    above = [(one.high or one.value or 0.0) - (one.value or 0.0) for one in total]
    places = np.arange(len(labels))
    axes.bar(places, shipping, label="shipping")
    axes.bar(places, handling, bottom=shipping, yerr=(below, above), capsize=5, label="handling")
    axes.set_xticks(places, labels, rotation=20, ha="right")
    axes.set_title("Cost an order, 95 % interval")
    axes.set_ylabel(currency)
    axes.margins(y=0.2)
    axes.legend(loc="upper right", ncols=2)


def _draw_splits(axes: "Axes", labels: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    shipments = [one.columns[:, COLUMNS.index("shipments")] for one in outcomes]
    places = np.arange(_MOST_SHIPMENTS + 1)
    width = 0.8 / len(labels)
    for number, (label, each) in enumerate(zip(labels, shipments, strict=True)):
        counts = np.bincount(np.minimum(each, _MOST_SHIPMENTS), minlength=_MOST_SHIPMENTS + 1)
        shares = 100 * counts / max(1, len(each))
        axes.bar(places + (number - (len(labels) - 1) / 2) * width, shares, width, label=label)
    axes.set_xticks(places, ["none", *map(str, places[1:-1]), f"{_MOST_SHIPMENTS}+"])
    axes.set_title("Shipments an order")
    axes.set_ylabel("% of orders")
    axes.legend()


def _draw_loads(axes: "Axes", labels: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    by_node = [{x.node_id: x.shipments for x in one.loads} for one in outcomes]
    total: dict[str, int] = {}
    for nodes in by_node:
        for node_id, shipments in nodes.items():
            total[node_id] = total.get(node_id, 0) + shipments
    busiest = sorted(total, key=lambda x: (-total[x], x))[:_NODES]
    places = np.arange(len(busiest))
    height = 0.8 / len(labels)
    for number, (label, nodes) in enumerate(zip(labels, by_node, strict=True)):
        shift = (number - (len(labels) - 1) / 2) * height
        axes.barh(places + shift, [nodes.get(x, 0) for x in busiest], height, label=label)
    axes.set_yticks(places, [_short(node_id) for node_id in busiest])
    axes.invert_yaxis()
    axes.set_title("Shipments by node")
    axes.legend()
