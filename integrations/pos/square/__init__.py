"""Square, a point of sale."""

from integrations.pos.port import StoreSystem
from integrations.pos.square.client import Square
from integrations.pos.square.webhooks import translate, verify
from integrations.vendor import Vendor

VENDOR: Vendor[StoreSystem] = Vendor(
    connect=Square, verify=verify, translate=translate, is_polled=True, tells_stock=True
)
