from integrations.capture import generic
from integrations.capture.port import CaptureVendor

VENDORS: dict[str, CaptureVendor] = {"generic": generic.VENDOR}
