"""A state of a fulfillment being changed: units moved between lines and packages."""

from collections.abc import Iterable
from dataclasses import dataclass

from domain.fulfillment_state import AT_NODE, FulfillmentState, LineState
from domain.fulfillments import ON_THE_WAY, FulfillmentStatus, Package, PackageStatus


@dataclass(slots=True)
class Draft:
    """A state being changed."""

    state: FulfillmentState
    lines: dict[str, LineState]
    packages: dict[str, Package]
    trouble: str | None = None

    @classmethod
    def of(cls, state: FulfillmentState) -> "Draft":
        """A draft that says what the state says."""
        lines = {line.line_id: line for line in state.lines}
        return cls(state, lines, {x.package_id: x for x in state.packages})

    def set(self, **changes: object) -> None:
        """Change fields of the state other than lines and packages."""
        self.state = self.state.model_copy(update=changes)

    def freeze(self) -> FulfillmentState:
        """The changed state, one revision on."""
        return self.state.model_copy(
            update={
                "lines": tuple(self.lines.values()),
                "packages": tuple(self.packages.values()),
                "revision": self.state.revision + 1,
            }
        )

    def shipped(self, line_id: str) -> int:
        """Units of the line that left the node."""
        there = (x for x in self.packages.values() if x.status in ON_THE_WAY)
        return contents(there, line_id)

    def unpacked(self, line_id: str) -> int:
        """Units of the line in no package; below zero where packages hold too many."""
        return self.lines[line_id].expected - contents(self.packages.values(), line_id)

    def at_node(self, line_id: str) -> int:
        """Units that have not left the node, and so can still be short or cancelled."""
        return self.lines[line_id].expected - self.shipped(line_id)

    def reach(self, status: FulfillmentStatus) -> None:
        """The node is at least so far."""
        self.set(node_status=max(self.state.node_status, status, key=AT_NODE.index))

    def give_back(self, line_id: str, quantity: int, reason: str) -> None:
        """Return units to the order, at most what is still at the node."""
        quantity = min(quantity, self.at_node(line_id))
        if quantity > 0:
            line = self.lines[line_id]
            given = {**line.given_back, reason: line.given_back.get(reason, 0) + quantity}
            self.lines[line_id] = line.model_copy(update={"given_back": given})
            self._trim(line_id)

    def cancel(self, line_id: str, quantity: int) -> None:
        """Cancel units, at most what is still at the node."""
        quantity = min(quantity, self.at_node(line_id))
        line = self.lines[line_id]
        self.lines[line_id] = line.model_copy(update={"cancelled": line.cancelled + quantity})
        self._trim(line_id)

    def cancel_lines(self, told: dict[str, int] | None) -> None:
        """Cancel the told units of each line, or with None all that are still at the node."""
        for line_id in list(self.lines):
            self.cancel(line_id, self.at_node(line_id) if told is None else told.get(line_id, 0))

    def set_status(self, package_id: str, status: PackageStatus) -> None:
        """The package is now there."""
        changed = self.packages[package_id].model_copy(update={"status": status})
        self.packages[package_id] = changed

    def _trim(self, line_id: str) -> None:
        """Take units that are no longer expected out of packages still at the node."""
        excess = -self.unpacked(line_id)
        for package in reversed(list(self.packages.values())):
            there = contents([package], line_id)
            if excess > 0 and there and package.status not in ON_THE_WAY:
                taken = min(excess, there)
                excess -= taken
                self.take_out(package, line_id, taken)

    def take_out(self, package: Package, line_id: str, quantity: int) -> None:
        """Take units out of a package; one without units is gone."""
        lines = tuple(
            x if x.line_id != line_id else x.model_copy(update={"quantity": x.quantity - quantity})
            for x in package.lines
            if x.line_id != line_id or x.quantity > quantity
        )
        if lines:
            changed = package.model_copy(update={"lines": lines})
            self.packages[package.package_id] = changed
        else:
            del self.packages[package.package_id]


def contents(packages: Iterable[Package], line_id: str) -> int:
    """Units of a line in those packages."""
    return sum(x.quantity for package in packages for x in package.lines if x.line_id == line_id)


def completed(known: Package, told: Package) -> Package:
    """Contents and status are told once; label, size and weight may follow."""
    news = told.model_dump(exclude={"package_id", "lines", "status"}, exclude_defaults=True)
    return known.model_copy(update=news)
