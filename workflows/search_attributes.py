"""The search attributes of DESIGN section 6: plain text in the server, so nothing personal."""

from temporalio.common import SearchAttributeKey

ORDER_STATUS = SearchAttributeKey.for_keyword("OrderStatus")
FULFILLMENT_STATUS = SearchAttributeKey.for_keyword("FulfillmentStatus")
ORDER_TYPE = SearchAttributeKey.for_keyword("OrderType")
CHANNEL = SearchAttributeKey.for_keyword("Channel")
BRAND = SearchAttributeKey.for_keyword("Brand")
REGION = SearchAttributeKey.for_keyword("Region")
CUSTOMER_ID = SearchAttributeKey.for_keyword("CustomerId")
PENDING_APPROVAL = SearchAttributeKey.for_keyword("PendingApproval")
BLOCKED_STEP = SearchAttributeKey.for_keyword("BlockedStep")
FULFILLMENT_NODES = SearchAttributeKey.for_keyword_list("FulfillmentNodes")
CARRIERS = SearchAttributeKey.for_keyword_list("Carriers")
PROMISE_DATE = SearchAttributeKey.for_datetime("PromiseDate")
SLA_DUE_AT = SearchAttributeKey.for_datetime("SlaDueAt")
ORDER_VALUE = SearchAttributeKey.for_float("OrderValue")
AT_RISK = SearchAttributeKey.for_bool("AtRisk")

SEARCH_ATTRIBUTES: dict[str, str] = {
    "OrderStatus": "Keyword",
    "FulfillmentStatus": "Keyword",
    "OrderType": "Keyword",
    "Channel": "Keyword",
    "Brand": "Keyword",
    "Region": "Keyword",
    "CustomerId": "Keyword",
    "PendingApproval": "Keyword",
    "BlockedStep": "Keyword",
    "FulfillmentNodes": "KeywordList",
    "Carriers": "KeywordList",
    "PromiseDate": "Datetime",
    "SlaDueAt": "Datetime",
    "OrderValue": "Double",
    "AtRisk": "Bool",
}
"""Name -> type, as `temporal operator search-attribute create` spells it."""
