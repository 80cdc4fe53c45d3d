"""Bills of a biller that speaks the BBPS contract, fetched one consumer after another.

Paths and fields are those of :mod:`mock_psp.bbps`; what is fetched is only read.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fewseconds.errors import HarnessError, UsageError
from fewseconds.identity import Bill

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FETCH: Final = "/bills/fetch"
TIMEOUT_S: Final = 30
"""A platform waits that long for a biller (docs.setu.co, BBPS)."""


def fetched(
    url: str, consumers: Iterable[str], headers: Mapping[str, str], wanted: int
) -> tuple[Bill, ...]:
    """The open bills of ``consumers``, at most ``wanted``; consumers who owe nothing are passed by.

    Raises HarnessError if the biller does not answer, UsageError if it refuses us or answers
    something else than the contract has.
    """
    found: list[Bill] = []
    for number, details in _answers(url, consumers, headers):
        for told in details["bills"] if details["billFetchStatus"] == "AVAILABLE" else ():
            if len(found) < wanted:
                found.append(_bill(len(found), url, number, told))
        if len(found) >= wanted:
            break
    return tuple(found)


def _answers(
    url: str, consumers: Iterable[str], headers: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    path = parts.path.rstrip("/") + FETCH
    try:
        for number in consumers:
            named = [{"attributeName": "consumerNumber", "attributeValue": number}]
            body = json.dumps({"customerIdentifiers": named})
            sent = {"content-type": "application/json", **headers}
            connection.request("POST", path, body, sent)
            response = connection.getresponse()
            yield number, _read(url, number, response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise HarnessError(f"{url}{FETCH}: no answer: {type(error).__name__}") from None
    finally:
        connection.close()


def _read(url: str, number: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
        if status == http.HTTPStatus.OK:
            details: dict[str, Any] = told["data"]["billDetails"]
            if details["billFetchStatus"] == "AVAILABLE":
                iter(details["bills"])
            return details
        code = str(told["error"]["code"])
    except (ValueError, KeyError, TypeError):
        code = ""
    if code == "customer-not-found":
        raise UsageError(f"{url}{FETCH}: knows no consumer {number!r}; give numbers that it has")
    if status in (401, 403):
        raise UsageError(f"{url}{FETCH}: answers {status}; put its token under [bbps]")
    raise UsageError(f"{url}{FETCH}: answers {status} {code!r}, which the BBPS contract has not")


def _bill(index: int, url: str, number: str, told: dict[str, Any]) -> Bill:
    try:
        amount = told["aggregates"]["total"]["amount"]
        due_on = dt.date.fromisoformat(str(told["dueDate"])[:10])
        paise = amount["value"]
        if isinstance(paise, bool) or not isinstance(paise, int) or paise <= 0:
            raise ValueError(paise)
        return Bill(index, str(told["billerBillID"]), number, paise, 0, due_on, due_on)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{url}{FETCH}: the bill of {number!r} cannot be read: {error!r}"
        raise UsageError(message) from None
