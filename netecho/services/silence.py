"""What to say where nothing came back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netecho.errors import NoReplyError, RefusedError
from netecho.measure import humanise
from netecho.protocols import for_target
from netecho.services.resolving import refusal

if TYPE_CHECKING:
    from netecho.measure.summary import Summary
    from netecho.plans import Target
    from netecho.protocols._contract import Route

DATAGRAM_SIZE: Final = 1024
"""Bytes of standard input in a datagram unless told otherwise: no path's MTU is too small for it."""


def unheard(route: Route, summary: Summary) -> RefusedError | None:
    """Return the error that a result came to if nothing came back and the other end's system refused it."""
    heard = summary.counts.completed or RefusedError.kind not in summary.errors
    return None if heard else refusal(route)


def unanswered(target: Target, summary: Summary) -> NoReplyError | None:
    """Return the error that a result came to if exchanges left and nothing whatever came back."""
    every = [summary.counts] if summary.warmup is None else [summary.counts, summary.warmup]
    if summary.statuses or not summary.counts.sent or any(counts.is_answered for counts in every):
        return None
    sent, kinds = humanise.count(summary.counts.sent, "exchange"), ", ".join(summary.errors)
    return silence(target, summary.plan["size"], f"{sent} came to nothing ({kinds}); ")


def silence(target: Target, size: int, what: str = "") -> NoReplyError:
    """Return the error that nothing came back from a target.

    Args:
        target: what was to answer.
        size: bytes in each message.
        what: says what came to nothing, and ends with a semicolon and a space.
    """
    listens = "an echo server listen there"
    if for_target(target).reflects:
        listens = "a reflector listen there, with the same --hmac-key or none"
    size = size if target.path is None else 0
    return NoReplyError(f"no reply from {target}: {what}{question(listens, size, '-w waits longer')}")


def question(listens: str, size: int, *remedies: str) -> str:
    """Return what to ask where nothing came back: also of large messages, which may be what the path loses.

    Args:
        listens: what may not be so, as it follows on "does".
        size: bytes in the largest message.
        remedies: what else to try.
    """
    if size > DATAGRAM_SIZE:
        listens += f", and does the path take {size:,} bytes at once"
        remedies = ("-l 64 sends less", *remedies)
    return f"does {listens}?{' (' + ', '.join(remedies) + ')' if remedies else ''}"
