"""A store's point of sale behind the reference API (docs/simulators.md)."""

from integrations.pos.port import StoreSystem
from integrations.reference import ReferenceNodeSystem, translate_node
from integrations.standard_webhooks import verify
from integrations.vendor import Vendor

VENDOR: Vendor[StoreSystem] = Vendor(
    connect=ReferenceNodeSystem, verify=verify, translate=translate_node
)
