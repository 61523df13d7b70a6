"""Addresses as people write them."""

from __future__ import annotations

from typing import Any


def address_text(address: Any) -> str:
    """Return a Twisted address as people write it."""
    host = getattr(address, "host", None)
    if host is not None:
        return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    name = getattr(address, "name", None)
    return name.decode(errors="replace") if name else "unix"
