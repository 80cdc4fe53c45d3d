"""What a service says about itself: one JSON object a line, and nobody's personal data.

``at`` (UTC), ``level``, ``service``, ``logger`` and ``event`` are in every line; a call adds fields
of its own with ``extra``. Callers log no personal data; should a message of a library hold a phone
number, an address or a consumer's number all the same, it is masked here.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import sys
from typing import Final

import msgspec

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest are a call's own fields."""
_PERSONAL: Final = (
    (re.compile(r"[\w.\-]{2,}@[A-Za-z][A-Za-z0-9.]*"), "…@…"),
    (re.compile(r"\+91\d{10}"), "+91…"),
    # A phone without its prefix, a consumer's number, a bill's: nine digits and more, but neither
    # the digits inside an identifier nor a fraction's.
    (re.compile(r"(?<![\w.])\d{9,}(?![\w.])"), "…"),
)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self, service: str) -> None:
        """``service`` is the name of the process."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception's traceback is its field ``trace``."""
        line: dict[str, object] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": masked(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = value if isinstance(value, int | float) else masked(str(value))
        if record.exc_info:
            line["trace"] = masked(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def masked(text: str) -> str:
    """The text without whatever looks like an address, a phone or a number of a person."""
    for pattern, instead in _PERSONAL:
        text = pattern.sub(instead, text)
    return text


def set_up(service: str) -> None:
    """Write the process's log to standard error, from INFO on; libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mock_psp").setLevel(logging.INFO)
