"""A warehouse management system behind the reference API (docs/simulators.md)."""

from integrations.reference import ReferenceNodeSystem, translate_node
from integrations.standard_webhooks import verify
from integrations.vendor import Vendor
from integrations.wms.port import WarehouseSystem

VENDOR: Vendor[WarehouseSystem] = Vendor(
    connect=ReferenceNodeSystem, verify=verify, translate=translate_node
)
