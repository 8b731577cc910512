from integrations.capture import generic, square
from integrations.capture.port import CaptureVendor

VENDORS: dict[str, CaptureVendor] = {"generic": generic.VENDOR, "square": square.VENDOR}
