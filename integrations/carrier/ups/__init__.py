"""UPS, spoken to directly."""

from integrations.carrier.port import Carrier
from integrations.carrier.ups.client import Ups
from integrations.carrier.ups.tracking import translate, verify
from integrations.vendor import Vendor

VENDOR: Vendor[Carrier] = Vendor(connect=Ups, verify=verify, translate=translate, is_polled=True)
