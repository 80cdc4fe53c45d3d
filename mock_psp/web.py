"""What all services have in common at the edge: problems, limits, health and the trace."""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
from litestar import Litestar, MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from fewseconds.contracts import HEALTH, METRICS, READY, TOKEN_HEADER, TRACE_HEADER, Problem, Trace
from fewseconds.errors import MalformedError
from fewseconds.journey import DECLINED, ERROR, OUTCOMES, REJECTED, RENEGED, TIMED_OUT, UNFINISHED
from fewseconds.outcomes import TURN_S
from mock_psp.described import PROBLEM, SCHEMES, described
from mock_psp.front import Front, Hot, TooLargeError
from mock_psp.metrics import Meter, Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from litestar.handlers import HTTPRouteHandler
    from litestar.types import ControllerRouterHandler

    from mock_psp.front import Arguments
    from mock_psp.station import Answer
    from mock_psp.world import World

PLAIN_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
BODY_BYTES_MAX: Final = 64 * 1024
NUL: Final = b"\\u0000"
"""As JSON writes it; a bare one is no JSON."""
JOURNEYS: Final = 1 << 62
LEGS: Final = 1 << 16
ATTEMPTS: Final = 1 << 31
STATUS: Final = {
    DECLINED: 422, ERROR: 502, TIMED_OUT: 504, REJECTED: 503, RENEGED: 503, UNFINISHED: 503,
}  # fmt: skip
"""HTTP status of an attempt that did not succeed and has no answer of its own."""
TOO_MANY_REQUESTS: Final = HTTPStatus.TOO_MANY_REQUESTS.value
TITLES: Final = {
    DECLINED: "Declined", ERROR: "A party failed", TIMED_OUT: "A party did not answer in time",
    REJECTED: "Too busy", RENEGED: "Left the queue", UNFINISHED: "Not known yet",
}  # fmt: skip

_DECODERS: Final[dict[type, Any]] = {}
T = TypeVar("T")
HttpRequest = Request[Any, Any, State]
log = logging.getLogger(__name__)


class ShortWay(NamedTuple):
    """A hot handler with something to say about it, see :class:`front.Hot`."""

    handler: HTTPRouteHandler
    arguments: Arguments | None = None
    at_once: bool = False


class Refusal(Exception):  # noqa: N818 - what the caller gets, not something that went wrong here
    """A request that is answered with a problem."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, code: str = "", outcome: str = ""
    ) -> None:
        """The words of RFC 9457, and a UPI response code where there is one."""
        super().__init__(title)
        self.problem = Problem(
            type=f"urn:fewseconds:problem:{title.lower().replace(' ', '-')}",
            title=title,
            status=status,
            detail=detail,
            code=code,
            outcome=outcome,
        )


def refused(answer: Answer, detail: str = "") -> Refusal:
    """The problem that stands for a negative answer; a problem of another service is passed on."""
    if isinstance(answer.value, Problem):
        problem = answer.value
        return Refusal(
            problem.status, problem.title, problem.detail, code=problem.code,
            outcome=OUTCOMES[answer.outcome],
        )  # fmt: skip
    # Who sends too much is told so in HTTP's own words.
    too_many = answer.outcome == REJECTED and answer.code == str(TOO_MANY_REQUESTS)
    status = TOO_MANY_REQUESTS if too_many else STATUS[answer.outcome]
    return Refusal(
        status, TITLES[answer.outcome], detail or str(answer.value or ""),
        code=answer.code, outcome=OUTCOMES[answer.outcome],
    )  # fmt: skip


def trace_of(request: HttpRequest) -> Trace | None:
    """The journey's trace in the header, if there is one that a row of outcomes can hold."""
    trace = Trace.read(request.headers.get(TRACE_HEADER))
    if trace is None or not (0 <= trace.journey_id < JOURNEYS and -1 <= trace.leg < LEGS):
        return None
    return trace if 1 <= trace.attempt < ATTEMPTS else None


async def body_of(request: HttpRequest, kind: type[T]) -> T:
    """The body as one of our messages; raises MalformedError naming the field at fault.

    Litestar's own reading turns the text ``"100"`` into the number 100, which is no way to treat
    money: here types are taken at their word.
    """
    body = await request.body()
    refuse_nul(body)
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise MalformedError(place.rstrip("`") or "body", f"{what[:1].lower()}{what[1:]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError("body", f"is not JSON: {error}") from None


def refuse_nul(body: bytes) -> None:
    """Raise MalformedError for JSON with a NUL in a text, which PostgreSQL cannot hold."""
    if NUL in body:
        raise MalformedError("body", "holds a NUL character; leave it out")


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The strict reader of one kind of message; making one costs more than using it."""
    found: msgspec.json.Decoder[T] | None = _DECODERS.get(kind)
    if found is None:
        found = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return found


def check_token(request: HttpRequest, token: str) -> None:
    """Refuse a caller who does not know the run's token, without telling how far off it was."""
    given = request.headers.get(TOKEN_HEADER, "")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Refusal(401, "Token missing", f"send the run's token in the header {TOKEN_HEADER}")


def application(
    world: World,
    title: str,
    handlers: Sequence[ControllerRouterHandler],
    state: dict[str, Any],
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
    hot: Sequence[HTTPRouteHandler | ShortWay] = (),
    absent: tuple[type[Exception], ...] = (),
) -> Front:
    """A service: its handlers find their parts in ``request.app.state``.

    Those in ``hot``, which must be among the others, are answered without the framework. ``start``
    runs before the service is ready, ``stop`` when no request is open any more. Errors in
    ``absent`` say that something the service stands on is away: a 503, and no fault of its own.
    """
    told_of = partial(problem, absent=absent)
    meter = Meter()
    told = Metrics(meter, world.stations, world.counts)

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        await start()
        recording = asyncio.create_task(_record(world))
        setting = asyncio.create_task(world.set_clock())
        app.state.ready = True
        yield
        app.state.ready = False
        await stop()
        setting.cancel()
        recording.cancel()
        world.writer.close()

    inner = Litestar(
        [*handlers, *world.faults.doors(), health, ready, metrics],
        state=State({**state, "world": world, "ready": False, "metrics": told}),
        lifespan=[running],
        exception_handlers={Exception: told_of},
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title=f"fewseconds {title}",
            version=world.scenario.name,
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
            components=SCHEMES,
        ),
    )
    return Front(inner, SimpleNamespace(**state), _routes(hot), told_of, BODY_BYTES_MAX, meter)


def _routes(hot: Sequence[HTTPRouteHandler | ShortWay]) -> dict[tuple[str, str], Hot]:
    """The hot handlers by method and path, or by the part of it before the parameter."""
    routes = {}
    for one in hot:
        handler, arguments, at_once = one if isinstance(one, ShortWay) else ShortWay(one)
        for path in handler.paths:
            place = path if arguments is None else path.rpartition("/")[0]
            named = path.replace(":str}", "}")
            for method in map(str, handler.http_methods):
                status = int(handler.status_code)
                routes[method, place] = Hot(
                    method, named, handler.fn, status, arguments, at_once=at_once
                )
    return routes


async def _record(world: World) -> None:
    """Put outcomes on disk every now and then, so that a crash loses little of them."""
    while True:
        await asyncio.sleep(TURN_S)
        await asyncio.to_thread(world.writer.turn)


@get(HEALTH, media_type=MediaType.TEXT, sync_to_thread=False)
def health() -> str:
    """Say that the process answers."""
    return "ok"


@get(
    READY,
    media_type=MediaType.TEXT,
    sync_to_thread=False,
    operation_class=described(refuses=(503,)),
)
def ready(request: HttpRequest) -> str:
    """Say that the service can do its work."""
    if not request.app.state.ready:
        raise Refusal(503, "Not ready yet")
    world: World = request.app.state.world
    for why in filter(None, (unable() for unable in world.unable)):
        raise Refusal(503, "Out of order", why)
    return "ready"


@get(METRICS, media_type=PLAIN_TEXT, sync_to_thread=False)
def metrics(request: HttpRequest) -> bytes:
    """What the service has counted, in Prometheus' text format."""
    told: Metrics = request.app.state.metrics
    return told.text()


def problem(
    _: HttpRequest, error: Exception, absent: tuple[type[Exception], ...] = ()
) -> Response[bytes]:
    """Every error as a problem; what went wrong inside is for the log, not for the caller."""
    if isinstance(error, Refusal):
        told = error.problem
    elif isinstance(error, MalformedError):
        told = Refusal(400, "Malformed", str(error), outcome="declined").problem
    elif isinstance(error, TimeoutError):
        log.error("a request was given up", extra={"reason": str(error)})
        told = Refusal(504, "No answer in time", outcome="timed_out").problem
    elif isinstance(error, TooLargeError):
        told = Refusal(413, "Request entity too large").problem
    elif isinstance(error, HTTPException):
        told = Refusal(error.status_code, _title(error), _detail(error)).problem
    elif isinstance(error, absent):
        log.error("a request met a database that is away", exc_info=error)
        told = Refusal(503, "Unavailable", type(error).__name__, outcome="error").problem
    else:
        log.error("a request failed", exc_info=error)
        told = Refusal(500, "Internal error").problem
    return Response(msgspec.json.encode(told), media_type=PROBLEM, status_code=told.status)


def _title(error: HTTPException) -> str:
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return "Malformed"
    return HTTPStatus(error.status_code).phrase.capitalize()


def _detail(error: HTTPException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    places = [f"{item.get('key', '')}: {item.get('message', '')}" for item in extra]
    return "; ".join(places) or str(error.detail)
