"""From a target to the way there: its adapter's route, ready to connect any number of times."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from netecho import protocols
from netecho.plans import SECOND, BenchPlan, MailPlan, ProbePlan, RequestPlan, TalkPlan
from netecho.protocols._contract import Adapter, Route
from netecho.services import tls
from netecho.services.keys import read_key
from netecho.services.resolving import is_name, resolve


async def find_route(reactor: Any, adapter: Adapter, plan: TalkPlan | ProbePlan | BenchPlan) -> Route:
    """Resolve the host of a plan's target, and load what its TLS needs, and the key for a reflector.

    Raises:
        ResolveError: the host has no address.
        UsageError: a file or flag for TLS is wrong, or the key's file, or the address is not of the family
            asked for.
    """
    route, target = route_by((), plan), plan.target
    if target.path is None:
        begun = time.monotonic_ns()
        addresses = await resolve(reactor, target.host, target.port, plan.sockets, adapter.kind)
        resolve_ns = time.monotonic_ns() - begun if is_name(target.host) else None
        route = dataclasses.replace(route, addresses=addresses, resolve_ns=resolve_ns)
    return route


def route_by(addresses: tuple[str, ...], plan: TalkPlan | ProbePlan | BenchPlan) -> Route:
    """Return the way to a target whose host has been resolved before, by another process of ours perhaps.

    Raises:
        UsageError: a file or flag for TLS is wrong, or the key's file.
    """
    key = None if plan.hmac_key is None else read_key(plan.hmac_key)
    target, request, client_tls = plan.target, plan.request, plan.tls
    if request is not None and not client_tls.alpn:
        # It is for the request to say which of a protocol's versions, if it has several.
        spoken = protocols.for_target(target).alpn
        client_tls = dataclasses.replace(client_tls, alpn=request.alpn if len(spoken) != 1 else spoken)
    starttls = client_tls.starttls
    context = None
    if target.secure or starttls:
        context = tls.for_client(client_tls, target.host, datagrams=target.is_dtls)
    return Route(
        target,
        addresses,
        plan.sockets,
        context,
        plan.timeout_ns / SECOND,
        key,
        request=request or RequestPlan(),
        mail=plan.mail or MailPlan(),
        proxy=plan.proxy,
        starttls=starttls,
        multiplex=plan.multiplex,
    )
