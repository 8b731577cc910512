"""The names of the input formats, apart from their loaders so that they load fast."""

from enum import StrEnum


class Format(StrEnum):
    """The input formats `doms submit` reads."""

    AUTO = "auto"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    OLIST = "olist"
