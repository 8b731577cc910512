import httpx
import pytest

from domain.network import Connection, ConnectionClass
from integrations.checking import check_connection
from integrations.http import open_client
from tests.contract import easypost_account, ups_account


def answering(response: httpx.Response | Exception) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    return open_client(transport=httpx.MockTransport(answer))


def own(**changes: object) -> Connection:
    fields = {
        "connection_id": "wms-1",
        "kind": ConnectionClass.WMS,
        "vendor": "reference",
        "base_url": "http://wms.test",
    }
    return Connection.model_validate(fields | changes)


def test_a_connection_that_works_says_what_answered() -> None:
    secrets = easypost_account.SECRETS
    found = check_connection(
        easypost_account.CONNECTION, secrets, answering(httpx.Response(200, json={}))
    )

    assert (found.is_well, found.text) == (True, "EasyPost takes the key")


@pytest.mark.parametrize(
    ("connection", "answer", "text"),
    [
        (own(vendor="nobody"), httpx.Response(200), "no vendor 'nobody' of class 'wms' fits here"),
        (own(base_url=""), httpx.Response(200), "base_url is empty"),
        (own(), httpx.Response(403, json={"message": "no"}), "/healthz answered 403: no"),
        (own(), httpx.ConnectError("refused"), "cannot be reached: refused"),
        (own(settings={"api_key_env": "K"}), httpx.Response(200), "set the variable K"),
        (own(secret_env="HOOK"), httpx.Response(200, json={}), "answers, but its webhooks cannot"),
        (ups_account.CONNECTION, httpx.Response(200), "set the variable UPS_CLIENT_ID"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    connection: Connection, answer: httpx.Response | Exception, text: str
) -> None:
    found = check_connection(connection, {}, answering(answer))

    assert not found.is_well
    assert text in found.text
    assert "\n" not in found.text


def test_a_shop_that_calls_doms_needs_only_a_secret() -> None:
    shop = own(kind=ConnectionClass.CAPTURE, vendor="generic")
    client = answering(httpx.Response(500))

    assert not check_connection(shop, {}, client).is_well
    assert check_connection(shop, {}, client, common_secret="whsec_x").is_well
