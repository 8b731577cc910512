"""Orders that stores take at Square's tills, for what is not carried out."""

from integrations.capture.port import CaptureVendor
from integrations.capture.square.orders import translate
from integrations.capture.square.source import SquareOrders
from integrations.pos.square.webhooks import verify

VENDOR = CaptureVendor(verify=verify, translate=translate, source=SquareOrders)
