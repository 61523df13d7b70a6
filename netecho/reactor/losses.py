"""How the end of a connection says which error brought it."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure


def lost_by(error: OSError) -> Failure:
    """Return the loss of a connection for the reason that the error says; the error is its `__cause__`."""
    lost = ConnectionLost(error.strerror)  # it takes nothing else for its words
    lost.__cause__ = error
    return Failure(lost)
