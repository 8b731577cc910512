"""ShipBob, a third-party warehouse: API of 2026-01."""

from integrations.threepl.port import ThirdPartyWarehouse
from integrations.threepl.shipbob.client import ShipBob
from integrations.threepl.shipbob.webhooks import translate, verify
from integrations.vendor import Vendor

VENDOR: Vendor[ThirdPartyWarehouse] = Vendor(
    connect=ShipBob, verify=verify, translate=translate, is_polled=True, tells_stock=True
)
