from integrations.pos import reference, square
from integrations.pos.port import StoreSystem
from integrations.vendor import Vendor

VENDORS: dict[str, Vendor[StoreSystem]] = {
    "reference": reference.VENDOR,
    "square": square.VENDOR,
}
