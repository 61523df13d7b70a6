"""From a host to the addresses to try, and from a connection that failed to the line that says why."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from typing import Any

from OpenSSL import SSL
from twisted.internet import error as twisted_error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IAddress, IHostResolution, IReactorThreads, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from netecho import protocols
from netecho.errors import (
    ConnectError,
    ConnectTimeoutError,
    NetechoError,
    NoFileError,
    NoPortError,
    RefusedError,
    ResolveError,
    UnreachableError,
    UsageError,
)
from netecho.plans import Family, SocketOptions, Target
from netecho.protocols._contract import Kind, Route
from netecho.services.handshake import UnverifiedError, explain
from netecho.services.opening import Opening

_ADDRESS_TYPES: dict[Family, tuple[type, ...]] = {
    Family.ANY: (IPv4Address, IPv6Address),
    Family.IPV4: (IPv4Address,),
    Family.IPV6: (IPv6Address,),
}
_FAMILY_WORDS = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
_TIMED_OUT = (
    twisted_error.TimeoutError,
    twisted_error.TCPTimedOutError,
    DeferredTimeoutError,
    TimeoutError,
)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what a resolution finds."""

    def __init__(self) -> None:
        self.complete: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802
        """Take note of nothing: a resolution cannot be stopped."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802
        """Keep an address, once."""
        host = getattr(address, "host", None)
        if host is not None and host not in self._found:
            self._found.append(host)

    def resolutionComplete(self) -> None:  # noqa: N802
        """Hand over what was found."""
        self.complete.callback(self._found)


async def resolve(
    reactor: Any, host: str, port: int, sockets: SocketOptions, kind: Kind = Kind.STREAM
) -> tuple[str, ...]:
    """Return the IP addresses of a host, in the order of preference.

    That is the system's order (RFC 6724), but for datagrams IPv4 comes first: with no handshake nothing
    tells that the other family has no listener, and `serve` binds to 127.0.0.1 unless told otherwise.

    Args:
        reactor: provides `IReactorPluggableNameResolver`.
        host: a name, or an IP address, which is returned as it is.
        port: for the resolver.
        sockets: which family is asked for, by name or by the source address.
        kind: what will be sent there.

    Raises:
        ResolveError: the host has no address of the family asked for, or nobody can look for it.
        UsageError: the host is an address of the other family.
    """
    family = _family(sockets)
    literal = _ip_version(host)
    if literal is not None:
        if family is not Family.ANY and literal is not family:
            asked = f"--source {sockets.source}" if sockets.family is Family.ANY else f"-{family[-1]}"
            raise UsageError(f"{host} is an {_FAMILY_WORDS[literal]} address, and {asked} asks for another")
        return (host,)
    found = _Addresses()
    reactor.nameResolver.resolveHostName(
        found,
        _checked_name(host),
        port,
        _ADDRESS_TYPES[family],
        "UDP" if kind is Kind.DATAGRAM else "TCP",
    )
    if not found.complete.called and _lacks_threads(reactor):
        raise ResolveError(f"{host} cannot be resolved: the system has no room for another thread")
    addresses = await found.complete
    _end_threads(reactor)
    if not addresses:
        wanted = f" {_FAMILY_WORDS[family]}" if family is not Family.ANY else ""
        raise ResolveError(f"{host} has no{wanted} address: check the name, and that name resolution works")
    if kind is Kind.DATAGRAM:
        addresses.sort(key=lambda address: ":" in address)
    return tuple(addresses)


def _lacks_threads(reactor: Any) -> bool:
    """Return whether a name is resolved in threads and there is none, of which Twisted says nothing."""
    return IReactorThreads.providedBy(reactor) and not reactor.getThreadPool().workers


def _end_threads(reactor: Any) -> None:
    """End the threads in which names were resolved: beside them, system calls of the process take longer."""
    if IReactorThreads.providedBy(reactor):
        pool: Any = reactor.getThreadPool()
        most = pool.max
        pool.adjustPoolsize(maxthreads=0)
        pool.adjustPoolsize(maxthreads=most)


def _family(sockets: SocketOptions) -> Family:
    if sockets.family is Family.ANY and sockets.source is not None:
        return _ip_version(sockets.source) or Family.ANY
    return sockets.family


def is_name(host: str) -> bool:
    """Return whether a host is to be resolved: it is no IP address."""
    return _ip_version(host) is None


def _ip_version(host: str) -> Family | None:
    try:
        version = ipaddress.ip_address(host.partition("%")[0]).version
    except ValueError:
        return None
    return Family.IPV4 if version == 4 else Family.IPV6


def _checked_name(host: str) -> str:
    """Return a host name in the form that goes to the resolver, which never answers a malformed one."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UsageError(f"{host!r} is not a host name: {error.__cause__ or error}") from None


def connect_failure(failure: Failure, target: Target, opening: Opening | None = None) -> NetechoError:
    """Return the error, a line in words, that a connection attempt's failure stands for.

    Args:
        failure: what came of the attempt.
        target: what was to be connected to.
        opening: that attempt's. If the transport beneath was connected, it is a handshake that failed, or
            what comes before the first message.
    """
    error = failure.value
    if error is None:
        raise ValueError("a failure has an exception")
    if isinstance(error, NetechoError):
        return error
    bound = isinstance(error, (twisted_error.ConnectBindError, twisted_error.CannotListenError))
    error = getattr(error, "socketError", error)  # why there is no port to send datagrams from
    number = _errno(error)
    what = f"connection to {target}"
    if target.path is None and number == (errno.EADDRINUSE if bound else errno.EADDRNOTAVAIL):
        return NoPortError(
            f"{what} failed: no local address or port is free for it, and a closed connection keeps its port "
            "for a minute; use fewer connections (-c), a lower rate (-q), or more ports "
            "(net.ipv4.ip_local_port_range)"
        )
    if number in _TOO_MANY_FILES:  # of which Twisted says that it could not bind
        return NoFileError(f"{what} failed: too many open files; raise the limit with ulimit -n")
    if bound:
        return ConnectError(f"{what} failed: cannot send from the --source address: {_words(error)}")
    refused = isinstance(error, twisted_error.ConnectionRefusedError) or number == errno.ECONNREFUSED
    if target.path is not None and (refused or number == errno.ENOTSOCK) and _is_other_file(target.path):
        return ConnectError(f"{what} failed: what is there is no socket")
    if refused:
        return RefusedError(f"{what} refused: {_nothing_listens(target)}")
    if isinstance(error, _TIMED_OUT) and opening is not None and opening.connected_ns is not None:
        takes = ", and does the path take large packets" if target.secure else ""  # certificates fill them
        return ConnectTimeoutError(
            f"{what} timed out: the other end accepted it, and then fell silent; does it speak "
            f"{target.scheme} on that port{takes}? Or wait longer with -w"
        )
    if isinstance(error, _TIMED_OUT):
        return ConnectTimeoutError(
            f"{what} timed out: no answer came; check the address and firewalls, or wait longer with -w"
        )
    if isinstance(error, twisted_error.NoRouteError) or number in _UNREACHABLE:
        return UnreachableError(
            f"{what} failed: there is no route to it, or a firewall says so; check the address and network"
        )
    if isinstance(error, (twisted_error.UnknownHostError, twisted_error.DNSLookupError)):
        return ResolveError(f"{target.host} has no address: check the name, and that name resolution works")
    if target.path is not None and number == errno.ENOENT:
        return RefusedError(f"{what} failed: there is no socket; start one with: netecho serve {target}")
    if target.path is None and number == errno.EACCES:  # connect(2) has it for these two alone, and ICMPv6
        return ConnectError(f"{what} failed: a firewall refuses it, or it is a broadcast address")
    if number in (errno.EACCES, errno.EPERM):
        return ConnectError(f"{what} failed: the system does not permit it; check permissions and firewalls")
    if _is_link_local(target.host) and (number == errno.EINVAL or isinstance(error, socket.gaierror)):
        return ConnectError(
            f"{what} failed: a link-local address goes with an interface of this machine, as in fe80::1%eth0"
        )
    if isinstance(error, twisted_error.ConnectError) and isinstance(next(iter(error.args), None), Failure):
        # Twisted's own reactors take what a firewall says of a connection for the end of it, and lose it.
        return ConnectError(f"{what} failed: it was turned away, by a firewall perhaps")
    if target.secure or isinstance(error, (SSL.Error, UnverifiedError)):
        return explain(failure, target)
    return ConnectError(f"{what} failed: {_words(error)}")


def _is_other_file(path: str) -> bool:
    """Return whether there is something at a path that is not a socket."""
    try:
        return not stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def refusal(route: Route) -> RefusedError:
    """Return the error that datagrams to a target came to: the other end's system refused them."""
    target = route.target
    return RefusedError(f"{target} refused: {_nothing_listens(target)}{untried(route)}")


def untried(route: Route) -> str:
    """Return the end of a line about a target, that some of its addresses were not tried; empty if all were.

    Datagrams go to the first alone, unless there is a handshake that one of them could answer.
    """
    if route.target.secure or protocols.for_target(route.target).kind is not Kind.DATAGRAM:
        return ""
    first, *others = route.addresses
    is_ipv6 = ":" in first
    of_other_family = [one for one in others if (":" in one) is not is_ipv6]
    if of_other_family:
        return f"; that is of {first}, and {'-4' if is_ipv6 else '-6'} tries {of_other_family[0]}"
    return f"; that is of {first}, and the name is also that of {', '.join(others)}" if others else ""


def _nothing_listens(target: Target) -> str:
    if target.path is not None:
        return f"no server listens on that socket; start one with: netecho serve {target}"
    if target.host == "localhost" or (
        _ip_version(target.host) is not None
        and ipaddress.ip_address(target.host.partition("%")[0]).is_loopback
    ):
        flags = "" if target.protocol == "tcp" else f" --proto {target.protocol}"
        flags += " --tls" if target.secure and target.scheme != target.protocol else ""
        return f"nothing listens there; start one with: netecho serve{flags} --port {target.port}"
    return "nothing listens on that port, or a firewall refuses it"


def _is_link_local(host: str) -> bool:
    """Return whether a host is an IPv6 address that is another machine's on each link."""
    return _ip_version(host) is Family.IPV6 and ipaddress.ip_address(host.partition("%")[0]).is_link_local


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        return error.errno
    number = getattr(error, "osError", None)
    return number if isinstance(number, int) else None


def _words(error: BaseException) -> str:
    """Return one line of words for an error of the system or of Twisted."""
    number = _errno(error)
    if isinstance(error, socket.gaierror) or (number is not None and number < 0):  # a resolver has its own
        text = str(error.args[-1])
    else:
        text = os.strerror(number) if number is not None else str(error) or type(error).__name__
    return text.strip().partition("\n")[0].rstrip(".")
