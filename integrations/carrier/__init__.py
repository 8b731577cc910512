from integrations.carrier import easypost, reference, ups
from integrations.carrier.port import Carrier
from integrations.vendor import Vendor

VENDORS: dict[str, Vendor[Carrier]] = {
    "reference": reference.VENDOR,
    "easypost": easypost.VENDOR,
    "ups": ups.VENDOR,
}
