"""From what Twisted and the system call a failure to the word under which it is counted."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet import error
from twisted.python.failure import Failure

from netecho.errors import NetechoError


def loss_kind(reason: Failure) -> str:
    """Return the word under which the loss of an established connection is counted."""
    if reason.check(error.ConnectionRefusedError):
        return "refused"
    if reason.check(error.ConnectionDone):
        return "closed"
    if reason.check(error.ConnectionAborted):
        return "aborted"
    if isinstance(reason.value, NetechoError):
        return reason.value.kind
    value: Any = reason.value
    number = getattr(value, "osError", None) or getattr(value, "errno", None)
    if not isinstance(number, int) and value.args:  # Twisted's ConnectionLost carries the OSError
        number = getattr(value.args[0], "errno", None)
    return _WORDS.get(number, "lost") if isinstance(number, int) else "lost"


_WORDS = {
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "network timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ECONNREFUSED: "refused",
    errno.EMSGSIZE: "too large",
}
