"""What the OpenAPI description says of an operation beside what Litestar sees by itself.

Bodies are read by hand (money is taken at its word), refusals are raised, and keys are checked in
the handlers; none of it shows in a signature. So an operation is told here what it takes, with
which statuses it refuses, and what a caller has to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    RequestBody,
    SecurityScheme,
)

from fewseconds.contracts import TOKEN_HEADER, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM: Final = "application/problem+json"
JSON: Final = "application/json"
TOO_LARGE: Final = 413
PARTIES: Final = (422, 429, 502, 503, 504)
"""A visit that was declined, turned away or never answered by a party behind this one."""
REFERENCE: Final = "#/$defs/"

RUN_TOKEN: Final = "run_token"  # noqa: S105 - the name of a scheme
MERCHANT_KEY: Final = "merchant_key"
PLATFORM_TOKEN: Final = "platform_token"  # noqa: S105 - the name of a scheme
SIGNED: Final = "signed"
PORTAL_SESSION: Final = "portal_session"
SCHEMES: Final = Components(
    security_schemes={
        RUN_TOKEN: SecurityScheme(
            type="apiKey", name=TOKEN_HEADER, security_scheme_in="header",
            description="The run's token, for what only tests may do.",
        ),
        MERCHANT_KEY: SecurityScheme(
            type="http", scheme="basic", description="The merchant's key id and secret."
        ),
        PLATFORM_TOKEN: SecurityScheme(
            type="http", scheme="bearer", description="The bill-payment platform's token."
        ),
        SIGNED: SecurityScheme(
            type="apiKey", name="webhook-signature", security_scheme_in="header",
            description="Standard Webhooks: signs webhook-id, webhook-timestamp and the raw body.",
        ),
        PORTAL_SESSION: SecurityScheme(
            type="http", scheme="bearer", description="The token that logging in gives."
        ),
    }
)  # fmt: skip
"""What a caller may have to show."""


def described(
    takes: type[msgspec.Struct] | None = None,
    *,
    refuses: tuple[int, ...] = (),
    needs: str = "",
    error: type[msgspec.Struct] = Problem,
    error_type: str = PROBLEM,
) -> type[Operation]:
    """An OpenAPI operation.

    ``takes`` is the body; ``refuses`` are the statuses of its refusals, whose bodies are ``error``
    as ``error_type``; ``needs`` is one of the names in :data:`SCHEMES`.
    """
    statuses = {*refuses, *((400, TOO_LARGE) if takes else ()), *((401,) if needs else ())}

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            if takes is not None:
                content = {JSON: OpenAPIMediaType(schema=schema_of(takes))}
                self.request_body = RequestBody(content=content, required=True)
            if needs:
                self.security = [{needs: []}]
            refusal = {error_type: OpenAPIMediaType(schema=schema_of(error))}
            # Litestar adds a 400 of its own form wherever there is a parameter.
            found = self.responses or {}
            kept = {status: told for status, told in found.items() if status != "400"}
            wanted = statuses | {int(status) for status in found if status == "400"}
            self.responses = kept | {
                str(status): OpenAPIResponse(HTTPStatus(status).phrase, content=refusal)
                for status in sorted(wanted)
            }

    return Described


def schema_of(kind: type[msgspec.Struct]) -> Any:  # noqa: ANN401 - a schema as JSON has it
    """The JSON schema of a message, in one piece: its parts lie inside it, not beside it."""
    whole = msgspec.json.schema(kind)
    return _inlined(whole, whole.pop("$defs", {}))


def _inlined(part: Any, parts: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(part, list):
        return [_inlined(one, parts) for one in part]
    if not isinstance(part, dict):
        return part
    if isinstance(reference := part.get("$ref"), str):
        return _inlined(parts[reference.removeprefix(REFERENCE)], parts)
    return {name: _inlined(value, parts) for name, value in part.items()}
