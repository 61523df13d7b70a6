"""What messages are sent: the flags for requests, mails and sizes, on the protocols that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from netecho.errors import UsageError
from netecho.options.checks import (
    check_alpn,
    check_http,
    check_multiplex,
    check_proxy,
    check_reflection,
    names_of,
)
from netecho.plans import ClientTLS, MailPlan, MultiplexPlan, ProxyPlan, RequestPlan

if TYPE_CHECKING:
    from netecho.protocols._contract import Adapter


class MessageFlags(TypedDict):
    """The flags that `client` and `bench` have for what goes over a connection, and ahead of it."""

    hmac_key: str | None
    send_proxy: ProxyPlan | None
    method: str | None
    headers: tuple[str, ...]
    body: str | None
    http2: bool
    sender: str | None
    recipient: str | None
    ehlo: str | None
    multiplex: MultiplexPlan


def resolve_messages(
    adapter: Adapter, flags: MessageFlags, tls: ClientTLS
) -> tuple[RequestPlan | None, MailPlan | None]:
    """Return the requests and the envelopes that messages go in, each `None` where there are none.

    Args:
        adapter: of the protocol.
        flags: what was given.
        tls: what is offered in handshakes.

    Raises:
        UsageError: the protocol has no use for one of the flags, or they make nothing valid.
    """
    check_reflection([adapter], flags["hmac_key"])
    check_proxy([adapter], "--send-proxy", flags["send_proxy"] is not None)
    if flags["http2"]:
        check_http([adapter], "--http2", "h2")
    check_alpn([adapter], tls.alpn)
    request = resolve_request(adapter, flags["method"], flags["headers"], flags["body"], flags["http2"])
    mail = resolve_mail(adapter, flags["sender"], flags["recipient"], flags["ehlo"])
    check_multiplex(adapter, flags["multiplex"], request)
    return request, mail


def resolve_request(
    adapter: Adapter, method: str | None, headers: Sequence[str], body: str | None, http2: bool
) -> RequestPlan | None:
    """Return what the flags for HTTP requests ask for; `None` for a protocol that has none.

    Raises:
        UsageError: they make no valid request, or the protocol has no use for them.
    """
    if not adapter.has_requests:
        for flag, value in (("--method", method), ("--body", body), ("--http2", http2 or None)):
            if value is not None:
                words = names_of(lambda one: one.has_requests)
                raise UsageError(f"{flag} is for requests: add --proto {words}")
        if headers and not adapter.begins_with_request:
            words = names_of(lambda one: one.has_requests or one.begins_with_request)
            raise UsageError(f"--header is for requests: add --proto {words}")
        return RequestPlan("GET", tuple(headers), upgrades=True) if headers else None
    return RequestPlan("POST" if method is None else method, tuple(headers), body, http2)


def resolve_mail(
    adapter: Adapter, sender: str | None, recipient: str | None, ehlo: str | None
) -> MailPlan | None:
    """Return what the flags for mails ask for; `None` for a protocol that has none.

    Raises:
        UsageError: they are not valid addresses, or the protocol has no use for them.
    """
    if not adapter.has_envelopes:
        for flag, value in (("--from", sender), ("--to", recipient), ("--ehlo", ehlo)):
            if value is not None:
                words = names_of(lambda one: one.has_envelopes)
                raise UsageError(f"{flag} is for mails: add --proto {words}")
        return None
    told = {"sender": "" if sender == "<>" else sender, "recipient": recipient, "ehlo": ehlo}
    return MailPlan(**{name: value for name, value in told.items() if value is not None})


def size_of(request: RequestPlan | None, adapter: Adapter, size: int | None) -> int:
    """Return how many bytes each message has.

    Args:
        request: what the flags for requests ask for.
        adapter: says what is usual on its protocol.
        size: what -l/--size says; `None` if it was not given.

    Raises:
        UsageError: both -l/--size and --body are given.
    """
    content = None if request is None else request.message
    if content is not None:
        if size is not None:
            raise UsageError("--body and -l/--size exclude each other: a body has its own size")
        return len(content)
    if size is not None:
        return size
    return 0 if request is not None and not request.has_content else adapter.default_size
