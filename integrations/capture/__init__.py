from integrations.capture import generic, shopify, square
from integrations.capture.port import CaptureVendor

VENDORS: dict[str, CaptureVendor] = {
    "generic": generic.VENDOR,
    "shopify": shopify.VENDOR,
    "square": square.VENDOR,
}
