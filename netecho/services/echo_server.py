"""A server of any number of listeners: it opens them all or none, and ends in order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netecho import protocols
from netecho.plans import ListenPlan, SocketOptions, Target
from netecho.protocols._listener import Listener, ListenSettings, OnEvent, Totals
from netecho.services import tls
from netecho.services.keys import read_key
from netecho.services.resolving import resolve

if TYPE_CHECKING:
    from netecho.services.certificates import Credentials


class EchoServer:
    """Runs a `ListenPlan`.

    Args:
        reactor: where it listens.
        plan: what it runs.
        on_event: told of connections as they come and go.
        descriptors: sockets that are open already, one for each listener, whose targets then are what
            these sockets are bound to; see `Adapter.open`. Without, it opens its own.
        credentials: what secure listeners show, if it has been made before.
    """

    def __init__(
        self,
        reactor: Any,
        plan: ListenPlan,
        on_event: OnEvent | None = None,
        descriptors: Sequence[int] = (),
        credentials: Credentials | None = None,
    ) -> None:
        self._reactor = reactor
        self._plan = plan
        self._on_event = on_event
        self._descriptors = descriptors
        self._credentials = credentials
        self._settled = Totals()
        self.listeners: list[Listener] = []
        self.tls: tls.ServerContext | None = None
        """What secure listeners show; `None` if there are none."""

    @property
    def totals(self) -> Totals:
        """What it has done so far, on connections that are still open too."""
        total = Totals()
        total.add(self._settled)
        for listener in self.listeners:
            total.add(listener.under_way())
        return total

    async def start(self) -> None:
        """Open every listener.

        Raises:
            ListenError: one of them cannot be opened; those that were are closed again.
            UsageError: the plan names a certificate, key or cipher that is not usable, or a protocol that
                cannot answer as it says.
            ResolveError: a host to listen on has no address.
        """
        plan = self._plan
        key = None if plan.hmac_key is None else read_key(plan.hmac_key)
        if plan.tls_hosts:
            self.tls = tls.for_server(plan.tls, plan.tls_hosts, made=self._credentials)
        ports: set[int] = set()
        try:
            listeners = itertools.zip_longest(plan.listeners, self._descriptors)
            for index, (target, descriptor) in enumerate(listeners):
                adapter = protocols.for_target(target)
                offered = None
                if self.tls is not None:
                    offered = self.tls.offering(adapter.alpn, datagrams=target.is_dtls)
                settings = ListenSettings(
                    totals=self._settled,
                    reply=plan.reply,
                    max_connections=plan.max_connections,
                    idle_timeout=None if plan.idle_timeout_ns is None else plan.idle_timeout_ns / 1e9,
                    tls=offered if target.secure else None,
                    upgrade=None if target.secure else offered,
                    on_event=self._on_event,
                    udp_ports=ports,
                    descriptor=descriptor,
                    mtu=plan.mtu,
                    key=key,
                    stateful=plan.stateful,
                    max_message=plan.max_message,
                    impairment=plan.impairment.part(index) if plan.impairment.harms else None,
                    proxied=plan.proxied,
                    qlog=plan.qlog,
                    retry=plan.quic_retry,
                    alt_svc=plan.alt_svc,
                )
                address = await resolve_bind_address(self._reactor, target)
                self.listeners.append(await adapter.listen(self._reactor, address, settings))
        except BaseException:
            self.close()  # before anything is waited for: it may be a second signal that ends this
            await self.stop(0)
            raise

    async def stop(self, timeout: float | None = None) -> None:
        """Answer what was received, end every connection, and close.

        Args:
            timeout: seconds after which whoever has not taken all of its echo is cut, and counted so in
                the totals; the plan's if `None`.
        """
        if timeout is None:
            timeout = self._plan.drain_timeout_ns / 1e9
        deadline = self._reactor.callLater(timeout, self.abort)
        try:
            for draining in [listener.drain() for listener in self.listeners]:
                await draining
        finally:
            if deadline.active():
                deadline.cancel()
            self.close()

    def abort(self) -> None:
        """End every connection at once."""
        for listener in self.listeners:
            listener.abort()

    def close(self) -> None:
        """Remove what TLS left in the file system."""
        if self.tls is not None:
            self.tls.close()


async def resolve_bind_address(reactor: Any, target: Target) -> Target:
    """Return where to listen with an address in place of a host's name.

    Raises:
        ResolveError: the name has no address.
    """
    if target.path is not None:
        return target
    kind = protocols.load(target.protocol).kind
    addresses = await resolve(reactor, target.host, target.port, SocketOptions(), kind)
    return dataclasses.replace(target, host=addresses[0])
