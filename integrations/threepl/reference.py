"""A third-party warehouse behind the reference API (docs/simulators.md)."""

from integrations.reference import ReferenceThirdPartyWarehouse, translate_threepl
from integrations.standard_webhooks import verify
from integrations.threepl.port import ThirdPartyWarehouse
from integrations.vendor import Vendor

VENDOR: Vendor[ThirdPartyWarehouse] = Vendor(
    connect=ReferenceThirdPartyWarehouse, verify=verify, translate=translate_threepl
)
