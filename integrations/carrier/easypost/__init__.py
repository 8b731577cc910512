"""EasyPost: one account that stands for many carriers."""

from integrations.carrier.easypost.client import EasyPost
from integrations.carrier.easypost.tracking import translate, verify
from integrations.carrier.port import Carrier
from integrations.vendor import Vendor

VENDOR: Vendor[Carrier] = Vendor(
    connect=EasyPost, verify=verify, translate=translate, is_polled=True
)
