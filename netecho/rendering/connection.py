"""What -v says of a connection: between which addresses it is, and what TLS agreed upon."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from netecho.measure import humanise
from netecho.measure.histogram import Histogram
from netecho.measure.setup import CONNECT, HANDSHAKE, RESOLVE
from netecho.protocols._addresses import address_text
from netecho.protocols._contract import Route
from netecho.rendering.streams import escape
from netecho.services.handshake import Negotiated, PeerCertificate, describe

_PIECES: Final = {RESOLVE: "name resolved in", CONNECT: "connected in", HANDSHAKE: "TLS handshake in"}


def lines(transport: Any, route: Route, setup: Mapping[str, Histogram]) -> Iterator[str]:
    """Return the lines for a connection.

    Args:
        transport: its Twisted transport.
        route: the way that it took.
        setup: how long the pieces of it took, by the names in `measure.setup.PIECES`.
    """
    yield f"connected to {peer(transport, route)} from {_address(transport.getHost())}"
    pieces = [
        f"{word} {humanise.duration(setup[name].at_percentile(50))}"
        for name, word in _PIECES.items()
        if name in setup
    ]
    if pieces:
        yield ", ".join(pieces)
    negotiated = describe(transport)
    if negotiated is not None:
        yield _tls(negotiated)
        if negotiated.peer is not None:
            yield from _certificate(negotiated.peer)


def peer(transport: Any, route: Route) -> str:
    """Return the other end's address as people write it."""
    if route.target.path is not None:
        return escape(route.target.path)
    try:
        return _address(transport.getPeer())
    except NotImplementedError:  # a port for datagrams does not know it
        return escape(dataclasses.replace(route.target, host=route.addresses[0])).partition("//")[2]


def _address(address: Any) -> str:
    return escape(address_text(address, unnamed="an unnamed socket"))


def _tls(negotiated: Negotiated) -> str:
    words = [f"{negotiated.version}, {negotiated.cipher} ({negotiated.bits} bits)"]
    if negotiated.group is not None:
        words.append(f"key exchange {negotiated.group}")
    if negotiated.server_name is not None:
        words.append(f"server name {escape(negotiated.server_name)}")
    words.append(f"ALPN {escape(negotiated.alpn)}" if negotiated.alpn else "no ALPN")
    return ", ".join(words)


def _certificate(peer: PeerCertificate) -> Iterator[str]:
    verdict = "verified" if peer.verified else f"NOT VERIFIED: {escape(peer.problem or 'not checked')}"
    yield f"certificate {verdict}"
    yield f"  subject {escape(peer.subject) or '(none)'}"
    yield f"  names {escape(', '.join(peer.names)) or '(none)'}"
    yield f"  issuer {escape(peer.issuer)}"
    yield f"  valid {peer.not_before.isoformat()} to {peer.not_after.isoformat()}"
    yield f"  SHA-256 {peer.fingerprint}"
