"""Network namespaces of the tests' own, in which they may drop what they like."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from types import TracebackType
from typing import Any, Self

import pytest

from tests.peers import in_ci, need
from tests.servers import TIMEOUT


class Namespace:
    """A network namespace with nothing but a loopback of its own, until the block is left.

    Where the tests do not run as root it skips the test, or fails it in CI.
    """

    def __init__(self, role: str = "") -> None:
        self.name = f"netecho-{os.getpid()}{role}"
        self._ip, self._nft = need("ip"), need("nft")
        if os.geteuid() != 0:
            if in_ci():
                pytest.fail("not root: no network namespace can be made")
            pytest.skip("not root: no network namespace can be made")

    @property
    def prefix(self) -> list[str]:
        """Return what to put before a command that is to run in it."""
        return [self._ip, "netns", "exec", self.name]

    def __enter__(self) -> Self:
        """Make it."""
        _do(self._ip, "netns", "add", self.name)
        _do(*self.prefix, self._ip, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        _do(self._ip, "netns", "delete", self.name)

    def ip(self, *words: str) -> None:
        """Change its addresses, links or routes, as `man 8 ip` says."""
        _do(self._ip, "-n", self.name, *words)

    def nearby(self, link: str) -> str:
        """Return the link-local address of a link."""
        (found,) = json.loads(
            _do(self._ip, "-n", self.name, "--json", "-6", "address", "show", "dev", link, "scope", "link")
        )
        return str(found["addr_info"][0]["local"])

    def set(self, variable: str, value: int) -> None:
        """Set a variable of its network's."""
        _do(*self.prefix, "sh", "-c", f"echo {value} > /proc/sys/net/{variable}")

    def drop(self, rule: str, verdict: str = "drop") -> None:
        """Have the system drop, and count, what comes in and matches; or do else with it."""
        _do(*self.prefix, self._nft, "add table inet loss")
        _do(*self.prefix, self._nft, "add chain inet loss input { type filter hook input priority 0; }")
        _do(*self.prefix, self._nft, f"add rule inet loss input {rule} counter {verdict}")

    def dropped(self) -> int:
        """Return how many packets the rule has dropped."""
        listed = json.loads(_do(*self.prefix, self._nft, "--json", "list chain inet loss input"))
        rules: list[dict[str, Any]] = [one["rule"] for one in listed["nftables"] if "rule" in one]
        (count,) = (
            statement["counter"]["packets"]
            for rule in rules
            for statement in rule["expr"]
            if "counter" in statement
        )
        return int(count)


class Path:
    """A client's namespace and a server's, with a router between them, until the block is left.

    Args:
        mtu: bytes in the largest packet that the server's link takes; the client's takes 1,500.
    """

    HOST = "192.0.2.130"
    """Where the server is."""

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        self.client, self.router, self.server = (Namespace(f"-{role}") for role in ("c", "r", "s"))
        self._made = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Make it."""
        with contextlib.ExitStack() as made:
            for one in (self.client, self.router, self.server):
                made.enter_context(one)
                one.set("ipv6/conf/default/accept_dad", 0)  # addresses are there at once
            self._link(self.client, "192.0.2.2", "192.0.2.1", 1500)
            self._link(self.server, self.HOST, "192.0.2.129", self._mtu)
            self.router.set("ipv4/ip_forward", 1)
            self._made = made.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._made.close()

    def _link(self, end: Namespace, address: str, gateway: str, mtu: int) -> None:
        link, words = f"to-{end.name[-1]}", ("mtu", str(mtu), "up")
        end.ip("link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", self.router.name)
        end.ip("address", "add", f"{address}/25", "dev", "eth0")
        self.router.ip("address", "add", f"{gateway}/25", "dev", link)
        end.ip("link", "set", "eth0", *words)
        self.router.ip("link", "set", link, *words)
        end.ip("route", "add", "default", "via", gateway)


def _do(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
