from integrations.threepl import reference, shipbob
from integrations.threepl.port import ThirdPartyWarehouse
from integrations.vendor import Vendor

VENDORS: dict[str, Vendor[ThirdPartyWarehouse]] = {
    "reference": reference.VENDOR,
    "shipbob": shipbob.VENDOR,
}
