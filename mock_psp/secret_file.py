"""The secret that signs callbacks, read from a file that nobody else should see."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from fewseconds.errors import UsageError
from mock_psp.delivery import STANDARD_PREFIX

if TYPE_CHECKING:
    from pathlib import Path


def secret(path: Path) -> str:
    """The text of a file as a dashboard shows it, or what ``fewseconds serve`` has left there.

    Raises UsageError if it is neither.
    """
    try:
        text = path.read_text("utf-8").strip()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; give --secret-file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text; give --secret-file") from None
    if not text:
        raise UsageError(f"{path}: is empty; it holds the secret that signs callbacks, alone")
    if not text.startswith("{"):
        return text
    try:
        key = bytes.fromhex(json.loads(text)["callback_keys"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        raise UsageError(f"{path}: is not the secrets.json of `fewseconds serve`") from None
    return STANDARD_PREFIX + base64.b64encode(key).decode()
