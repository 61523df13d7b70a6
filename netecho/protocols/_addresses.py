"""Addresses as people write them."""

from __future__ import annotations

from typing import Any


def host_port(host: str, port: int) -> str:
    """Return an IP address and a port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_text(address: Any, unnamed: str = "unix") -> str:
    """Return a Twisted address: a host and port, or a path.

    Args:
        address: whose.
        unnamed: stands for a UNIX socket that has no path.
    """
    host = getattr(address, "host", None)
    if host is not None:
        return host_port(host, address.port)
    name = getattr(address, "name", None)
    return name.decode(errors="replace") if name else unnamed


def address_literal(address: Any) -> str:
    """Return a Twisted address of IP as an address literal of SMTP (RFC 5321 section 4.1.3)."""
    host = address.host.partition("%")[0]
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"
