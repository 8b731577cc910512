"""From a configured connection to a working client of its vendor."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx

from domain.errors import UnknownReferenceError
from domain.network import Connection, ConnectionClass
from integrations import capture, carrier, pos, threepl, wms
from integrations.capture.port import CaptureVendor
from integrations.carrier.port import Carrier
from integrations.http import shared_client
from integrations.node_system import NodeSystem
from integrations.threepl.port import ThirdPartyWarehouse
from integrations.vendor import Secrets, Vendor

Found = TypeVar("Found")

_NODE_SYSTEMS: Mapping[ConnectionClass, Mapping[str, Vendor[NodeSystem]]] = {
    ConnectionClass.WMS: wms.VENDORS,
    ConnectionClass.POS: pos.VENDORS,
    ConnectionClass.THREEPL: threepl.VENDORS,
}
_ALL: Mapping[ConnectionClass, Mapping[str, Vendor[Any]]] = {
    **_NODE_SYSTEMS,
    ConnectionClass.CARRIER: carrier.VENDORS,
}


def vendor_of(connection: Connection) -> Vendor[Any]:
    """The vendor that a connection names. Raises UnknownReferenceError with the known ones."""
    return _named(connection, _ALL)


def capture_vendor_of(connection: Connection) -> CaptureVendor:
    """The vendor that a capture connection names. Raises UnknownReferenceError."""
    return _named(connection, {ConnectionClass.CAPTURE: capture.VENDORS})


class NodeSystems:
    """Clients of node systems, one per connection, rebuilt when the connection's row changes.

    `secrets` holds values by the name of their environment variable, such as `os.environ`.
    """

    def __init__(self, secrets: Secrets, *, client: httpx.Client | None = None) -> None:
        """Use the process's shared HTTP client unless told otherwise."""
        self._secrets = secrets
        self._client = client
        self._known: dict[str, tuple[Connection, NodeSystem]] = {}

    def get(self, connection: Connection) -> NodeSystem:
        """The client of a WMS, POS or 3PL. Raises UnknownReferenceError for another class."""
        known = self._known.get(connection.connection_id)
        if known is not None and known[0] == connection:
            return known[1]
        vendor = _named(connection, _NODE_SYSTEMS)
        system = vendor.connect(connection, self._secrets, self._client or shared_client())
        self._known[connection.connection_id] = (connection, system)
        return system

    def threepl(self, connection: Connection) -> ThirdPartyWarehouse:
        """The client of a third-party warehouse, which also tracks its own parcels."""
        vendor = _named(connection, {ConnectionClass.THREEPL: threepl.VENDORS})
        return vendor.connect(connection, self._secrets, self._client or shared_client())


class Carriers:
    """Clients of carriers, one per connection, rebuilt when the connection's row changes."""

    def __init__(self, secrets: Secrets, *, client: httpx.Client | None = None) -> None:
        """Use the process's shared HTTP client unless told otherwise."""
        self._secrets = secrets
        self._client = client
        self._known: dict[str, tuple[Connection, Carrier]] = {}

    def get(self, connection: Connection) -> Carrier:
        """The client of a carrier. Raises UnknownReferenceError for another class."""
        known = self._known.get(connection.connection_id)
        if known is not None and known[0] == connection:
            return known[1]
        vendor = _named(connection, {ConnectionClass.CARRIER: carrier.VENDORS})
        client = vendor.connect(connection, self._secrets, self._client or shared_client())
        self._known[connection.connection_id] = (connection, client)
        return client


def _named(connection: Connection, tables: Mapping[ConnectionClass, Mapping[str, Found]]) -> Found:
    vendors = tables.get(connection.kind, {})
    vendor = vendors.get(connection.vendor)
    if vendor is None:
        raise UnknownReferenceError(
            f"connection {connection.connection_id}: no vendor '{connection.vendor}' of class"
            f" '{connection.kind}' fits here; known: {', '.join(sorted(vendors)) or 'none'}"
        )
    return vendor
