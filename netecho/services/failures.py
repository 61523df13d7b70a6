"""From what Twisted and the system call a failure to the word under which it is counted, and to a line."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.python.failure import Failure

from netecho.errors import LostError, NetechoError
from netecho.protocols._tls_info import end_seen
from netecho.services.handshake import explain_refusal, refusal

if TYPE_CHECKING:
    from netecho.plans import Target


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
    if isinstance(value, SSL.Error) and not isinstance(value, SSL.SysCallError):
        return refusal(value) or "tls"
    number = getattr(value, "osError", None) or getattr(value, "errno", None)
    if not isinstance(number, int):
        number = getattr(value.__cause__, "errno", None)
    if isinstance(number, int):
        return _WORDS.get(number, "lost")
    foreign = _FOREIGN.match(str(value.args[0])) if value.args else None
    return "lost" if foreign is None else foreign[1]


def explain_loss(reason: Failure, target: Target | None = None) -> NetechoError:
    """Say in one line why an established connection was lost, and which flag would help.

    Args:
        reason: what the protocol's `connectionLost` got.
        target: the other end, if the line is to name it.
    """
    if isinstance(reason.value, NetechoError):
        return reason.value
    other = "the other end" if target is None else str(target)
    told = explain_refusal(loss_kind(reason), other)
    to = "" if target is None else f" to {target}"
    return told or LostError(f"the connection{to} was lost: {_clause(reason)}")


def _clause(reason: Failure) -> str:
    """Return how a connection was lost, as a clause."""
    value: Any = reason.value
    if not isinstance(value, error.ConnectionLost):
        return end_seen(reason).strip().rstrip(".")
    kind = loss_kind(reason)
    if kind != "lost" and (value.__cause__ is not None or not value.args):
        return kind
    if value.args:
        words = str(value.args[0])  # which Twisted would begin with "was lost in a non-clean fashion"
    elif type(value) is error.ConnectionLost:
        return "it was not ended in order"
    else:
        words = type(value).__doc__ or ""
    return words[:1].lower() + words[1:].strip().rstrip(".")


_FOREIGN = re.compile(r"What the other end says is (not \w+)")
"""How protocols begin to say that they are not what is spoken there."""
_WORDS = {
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "network timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ECONNREFUSED: "refused",
    errno.EMSGSIZE: "too large",
    errno.EPERM: "not permitted",
}
