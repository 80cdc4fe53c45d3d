"""Answers of HTTP/1.1 read strictly and piece by piece (RFC 9112); no socket is in sight here.

What does not follow the grammar is refused with a word that says what is wrong, instead of being
guessed at: a load test must never take half an answer for a whole one.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BODY_BYTES_MAX", "HEAD_BYTES_MAX", "Response", "ResponseReader", "WireError"]

HEAD_BYTES_MAX: Final = 65_536
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
TRAILER_BYTES_MAX: Final = 16_384
CHUNK_LINE_BYTES_MAX: Final = 4_096
NO_CONTENT, NOT_MODIFIED, SWITCHING, OK = 204, 304, 101, 200

START: Final = b"HTTP/1."
MORE, NEXT, DONE = 0, 1, 2
"""What a phase says: more bytes are needed, the next phase may go on, the answer is whole."""

_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]"
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: " + _TEXT + rb"*)?(?=\r\n)")
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELDS: Final = re.compile(rb"(?:\r\n" + _TOKEN + rb":" + _TEXT + rb"*)*")
_FRAMING: Final = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection):[ \t]*([^\r]*)", re.IGNORECASE
)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;" + _TEXT + rb"*)?")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")


class WireError(Exception):
    """The exchange failed below the level of HTTP statuses; ``code`` says how in one word."""

    def __init__(self, code: str, *, bytes_seen: bool = True) -> None:
        """``bytes_seen`` says whether anything of the answer had arrived."""
        super().__init__(code)
        self.code = code
        self.bytes_seen = bytes_seen


class Response:
    """One whole answer."""

    __slots__ = ("body", "head", "keep", "status")

    def __init__(self, status: int, head: bytes, *, keep: bool) -> None:
        """``head`` are status line and fields; ``keep``: the connection may be used again."""
        self.status = status
        self.head = head
        self.keep = keep
        self.body = b""

    @property
    def headers(self) -> dict[str, str]:
        """The fields, names in lower case; repeated ones are joined by commas."""
        found: dict[str, str] = {}
        for line in self.head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
        return found


class ResponseReader:
    """Reads the answers of one connection, one after the other.

    Call :meth:`begin` for a request and :meth:`feed` with what arrives until it returns True, then
    take :attr:`response`. :meth:`end` is for the end of the stream.
    """

    __slots__ = ("_body", "_data", "_head_only", "_left", "_phase", "_size", "response")

    def __init__(self) -> None:
        """Expect nothing yet."""
        self.begin(head_only=False)

    def begin(self, *, head_only: bool) -> None:
        """Expect an answer; ``head_only`` for HEAD, whose answers have no body."""
        self._data = b""
        self._body: list[bytes] = []
        self._left = self._size = 0
        self._phase = self._read_head
        self._head_only = head_only
        self.response: Response | None = None

    @property
    def untouched(self) -> bool:
        """Whether nothing of the answer has arrived yet."""
        return not self._data and self.response is None

    def feed(self, data: bytes) -> bool:
        """Take bytes; returns whether the answer is whole. Raises WireError if it is malformed.

        Bytes beyond the end of the answer make its connection unfit for another request.
        """
        self._data = self._data + data if self._data else data
        while (step := self._phase()) == NEXT:
            pass
        if step == MORE:
            return False
        if self._data and self.response is not None:
            self.response.keep = False
        return True

    def end(self) -> Response:
        """The stream has ended: the answer, if that was its end, else WireError."""
        if self._phase == self._read_to_end and self.response is not None:
            self.response.body = b"".join(self._body)
            return self.response
        seen = not self.untouched
        raise WireError("closed_early" if seen else "closed", bytes_seen=seen)

    def _read_head(self) -> int:
        data = self._data
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) <= HEAD_BYTES_MAX:
            if not data.startswith(START[: len(data)]):
                raise WireError("no_http")
            return MORE
        if not 0 <= end <= HEAD_BYTES_MAX:
            raise WireError("head_too_long")
        first = _STATUS.match(data)
        if first is None:
            raise WireError("no_http")
        fields = _FIELDS.match(data, first.end(), end)
        if fields is None or fields.end() != end:
            raise WireError("malformed_header")
        status = int(first[2])
        self._data = data[end + 4 :]
        if status < OK and status != SWITCHING:
            return NEXT
        return self._frame(status, data[:end], old=first[1] == b"0")

    def _frame(self, status: int, head: bytes, *, old: bool) -> int:
        """How long the body is, as RFC 9112, section 6.3, has it."""
        length, coding, connection = -1, b"", b""
        for name, value in _FRAMING.findall(head):
            kind = len(name)
            if kind == len(b"content-length"):
                length = _length(value, length)
            elif kind == len(b"connection"):
                connection += b"," + value.lower()
            else:
                coding += b"," + value.lower()
        words = {word.strip() for word in connection.split(b",")} if connection else ()
        keep = b"keep-alive" in words if old else b"close" not in words
        self.response = Response(status, head, keep=keep and status != SWITCHING)
        if self._head_only or status in (NO_CONTENT, NOT_MODIFIED, SWITCHING):
            return DONE
        if coding:
            if length >= 0 or old:
                # RFC 9112, 6.1 and 6.3: two lengths are how one answer is smuggled into another.
                raise WireError("two_lengths")
            if [word.strip() for word in coding.split(b",") if word.strip()] != [b"chunked"]:
                raise WireError("unknown_coding")
            self._phase = self._read_chunk_line
        elif length < 0:
            self.response.keep = False
            self._phase = self._read_to_end
        elif length > BODY_BYTES_MAX:
            raise WireError("body_too_long")
        else:
            self._left, self._phase = length, self._read_length
        return NEXT

    def _take(self) -> bool:
        """Move what there is of the part that is awaited into the body; True once it is whole."""
        data, left = self._data, self._left
        self._size += min(len(data), left)
        if self._size > BODY_BYTES_MAX:
            raise WireError("body_too_long")
        if len(data) <= left:
            self._body.append(data)
            self._data = b""
        else:
            self._body.append(data[:left])
            self._data = data[left:]
        self._left = left - len(self._body[-1])
        return self._left == 0

    def _whole(self) -> int:
        if self.response is not None:
            self.response.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return DONE

    def _read_length(self) -> int:
        return self._whole() if self._take() else MORE

    def _read_to_end(self) -> int:
        self._left = len(self._data)
        self._take()
        return MORE

    def _line(self) -> bytes | None:
        line, found, rest = self._data.partition(b"\r\n")
        if len(line) > CHUNK_LINE_BYTES_MAX:
            raise WireError("malformed_chunk")
        if not found:
            return None
        self._data = rest
        return line

    def _read_chunk_line(self) -> int:
        line = self._line()
        if line is None:
            return MORE
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise WireError("malformed_chunk")
        self._left = int(size[1], 16)
        self._phase = self._read_chunk if self._left else self._read_trailer
        return NEXT

    def _read_chunk(self) -> int:
        if self._left and not self._take():
            return MORE
        if len(self._data) < len(b"\r\n"):
            return MORE
        if not self._data.startswith(b"\r\n"):
            raise WireError("malformed_chunk")
        self._data, self._phase = self._data[2:], self._read_chunk_line
        return NEXT

    def _read_trailer(self) -> int:
        while (line := self._line()) is not None:
            if not line:
                return self._whole()
            self._left += len(line)
            if self._left > TRAILER_BYTES_MAX or _FIELDS.fullmatch(b"\r\n" + line) is None:
                raise WireError("malformed_chunk")
        return MORE


def _length(value: bytes, before: int) -> int:
    """The length that a Content-Length field states; equal repetitions are one (RFC 9110, 8.6)."""
    for part in value.split(b","):
        text = part.strip(b" \t")
        if _LENGTH.fullmatch(text) is None:
            raise WireError("malformed_length")
        if before not in (-1, int(text)):
            raise WireError("two_lengths")
        before = int(text)
    return before
