from integrations.vendor import Vendor
from integrations.wms import reference
from integrations.wms.port import WarehouseSystem

VENDORS: dict[str, Vendor[WarehouseSystem]] = {"reference": reference.VENDOR}
