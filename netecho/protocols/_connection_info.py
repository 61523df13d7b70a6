"""What a server sees of a connection on a byte stream, ready for JSON."""

from __future__ import annotations

from typing import Any

from netecho.protocols._addresses import address_text
from netecho.protocols._stream_server import ReplyProtocol
from netecho.protocols._tls_info import tls_seen


def seen_of(connection: ReplyProtocol) -> dict[str, Any]:
    """Return what a server sees of a connection: addresses, TLS, and what a proxy says of it."""
    transport, header = connection.transport, connection.proxied
    proxy = None
    if header is not None:
        proxy = {"address": address_text(transport.getPeer()), **header.to_json()}
    return {
        "peer": address_text(connection.peer),
        "local": address_text(connection.local),
        "tls": None if connection.factory.settings.tls is None else tls_seen(transport.getHandle()),
        "proxy": proxy,
    }
