"""Orders of a Shopify shop, by webhook and by asking."""

from integrations.capture.port import CaptureVendor
from integrations.capture.shopify.orders import translate
from integrations.capture.shopify.source import ShopifyOrders
from integrations.capture.shopify.webhooks import verify

VENDOR = CaptureVendor(
    verify=verify, translate=translate, source=ShopifyOrders, takes_webhooks=True
)
