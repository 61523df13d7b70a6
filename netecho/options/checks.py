"""Whether protocols can do what flags ask of them. If not it is a usage error, which says which ones can."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from netecho.errors import UsageError
from netecho.plans import ClientTLS, Mode, MultiplexPlan, ReplyMode, RequestPlan, Target, Verify

if TYPE_CHECKING:
    from netecho.protocols._contract import Adapter

HTTP_VERSIONS: Final = ("http/1.0", "http/1.1", "h2", "h3")
"""Their names in ALPN (RFC 7301 section 6); any other name may be of anything."""
MOST_SIZE: Final = 128 << 20
"""Bytes of a message on any protocol: it is made and compared as a whole, in memory."""


def names_of(have: Callable[[Adapter], object]) -> str:
    """Return the names of the protocols that have something, as advice lists them: `smtp or ws`."""
    from netecho import protocols

    *others, last = [name for name in protocols.names() if have(protocols.load(name))]
    return f"{', '.join(others)} or {last}" if others else last


def check_reflection(adapters: Iterable[Adapter], hmac_key: str | None, stateful: bool = False) -> None:
    """Check that one of the protocols reflects, if flags for reflectors are given.

    Raises:
        UsageError: none does.
    """
    given = [flag for flag, value in (("--hmac-key", hmac_key), ("--stateful", stateful)) if value]
    if given and not any(adapter.reflects for adapter in adapters):
        words = names_of(lambda one: one.reflects)
        raise UsageError(f"{given[0]} is for reflectors: add --proto {words}")


def check_addresses(adapters: Sequence[Adapter], targets: Sequence[Target]) -> None:
    """Check that no two listeners are to share an address. TCP and UDP may have the same port number.

    Raises:
        UsageError: two are.
    """
    fixed = [
        (adapter.socket_kind, target.host, target.port)
        for adapter, target in zip(adapters, targets, strict=True)
        if target.path is None and target.port
    ]
    if len(set(fixed)) < len(fixed):
        raise UsageError("the same address is to be listened on twice")


def check_spreading(
    adapters: Sequence[Adapter], targets: Sequence[Target], workers: int, stateful: bool
) -> None:
    """Check that all datagrams of a peer come to the same one of several processes, where it must be so.

    Raises:
        UsageError: the system gives each to any of them.
    """
    from netecho.protocols._inherited import SPREADS

    if workers == 1 or SPREADS:
        return
    for adapter, target in zip(adapters, targets, strict=True):
        if adapter.keeps_peers or (adapter.reflects and stateful):
            raise UsageError(
                f"--workers: this system would give the datagrams of one {target.scheme}:// peer to several "
                "processes (Linux does not): leave it out"
            )


def check_proxy(adapters: Iterable[Adapter], flag: str, given: bool) -> None:
    """Check that connections of each of the protocols can begin with a PROXY header, if `flag` was given.

    Raises:
        UsageError: one has none.
    """
    import socket  # here, as help does without it

    for adapter in adapters:
        if given and adapter.socket_kind is not socket.SOCK_STREAM:
            raise UsageError(f"{flag} is for stream connections, which {adapter.name} does not have")


def check_http(adapters: Iterable[Adapter], flag: str, version: str) -> None:
    """Check that a version of HTTP can be spoken which `flag` asks for, if messages are requests at all.

    Args:
        adapters: of the protocols.
        flag: what was given.
        version: by its name in ALPN, such as `h2`.

    Raises:
        UsageError: they are other versions.
    """
    asking = [adapter for adapter in adapters if adapter.has_requests]
    if asking and not any(version in adapter.alpn for adapter in asking):
        words = names_of(lambda one: one.has_requests and version in one.alpn)
        raise UsageError(f"{flag} is for --proto {words}: {asking[0].name} is another version of HTTP")


def check_alpn(adapters: Sequence[Adapter], names: Iterable[str]) -> None:
    """Check that the versions of HTTP that `--alpn` names can be spoken: see `check_http`.

    Raises:
        UsageError: one cannot.
    """
    for name in names:
        if name in HTTP_VERSIONS:
            check_http(adapters, f"--alpn {name}", name)


def check_multiplex(adapter: Adapter, multiplex: MultiplexPlan, request: RequestPlan | None) -> None:
    """Check that a protocol can use streams, and write a qlog, as it is asked to.

    Raises:
        UsageError: it cannot.
    """
    if multiplex.streams is not None:
        if not adapter.multiplexes:
            raise UsageError(f"--streams is for protocols that have many at once: {adapter.name} has not")
        if request is not None and "h2" in adapter.alpn and not request.http2:
            raise UsageError("--streams is for HTTP/2: add --http2")
    if multiplex.qlog is not None:
        check_qlog([adapter], multiplex.qlog)


def check_retry(adapters: Iterable[Adapter], wanted: bool) -> None:
    """Check that one of the protocols can have peers prove their addresses first, if that is wanted.

    Raises:
        UsageError: none can.
    """
    if wanted and not any(adapter.retries for adapter in adapters):
        words = names_of(lambda one: one.retries)
        raise UsageError(f"--quic-retry is for QUIC, which no listener speaks: add --proto {words}")


def check_qlog(adapters: Iterable[Adapter], directory: str | None) -> None:
    """Check that one of the protocols writes qlogs, and the directory for them, if one is given.

    Raises:
        UsageError: none does, or there is no such directory, or it cannot be written to.
    """
    if directory is None:
        return
    if not any(adapter.has_qlog for adapter in adapters):
        words = names_of(lambda one: one.has_qlog)
        raise UsageError(f"--qlog is for protocols that write down what they do: add --proto {words}")
    if not os.path.isdir(directory):
        raise UsageError(f"--qlog {directory}: there is no such directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"--qlog {directory}: this directory cannot be written to")


def check_replies(adapters: Iterable[Adapter], reply: ReplyMode) -> None:
    """Check that each of the protocols has this reply mode.

    Raises:
        UsageError: one cannot.
    """
    for adapter in adapters:
        if reply not in adapter.replies:
            words = ", ".join(mode for mode in ReplyMode if mode in adapter.replies)
            raise UsageError(f"{adapter.name} cannot answer with --reply {reply}: it takes {words}")


def check_bounds(adapters: Iterable[Adapter], max_message: int | None) -> None:
    """Check that one of the protocols bounds its messages, if a bound is given.

    Raises:
        UsageError: none does.
    """
    if max_message is not None and not any(adapter.bounds_messages for adapter in adapters):
        words = names_of(lambda one: one.bounds_messages)
        raise UsageError(f"--max-message is for protocols that bound messages: add --proto {words}")


def check_connections(
    adapters: Sequence[Adapter], max_connections: int | None, idle_timeout_ns: int | None
) -> None:
    """Check that one of the protocols has connections, if flags for those are given.

    Raises:
        UsageError: none has.
    """
    import socket  # as above

    if any(adapter.socket_kind is socket.SOCK_STREAM or adapter.keeps_peers for adapter in adapters):
        return
    for flag, value in (("--max-connections", max_connections), ("--idle-timeout", idle_timeout_ns)):
        if value is not None:
            raise UsageError(
                f"{flag} is of connections, which {adapters[0].name} does not have: leave it out"
            )


def check_ciphers(adapters: Sequence[Adapter], targets: Sequence[Target], ciphers: str | None) -> None:
    """Check that one of the listeners that speak TLS can speak TLS 1.2, if ciphers for that are given.

    Raises:
        UsageError: all of them speak QUIC, whose TLS is newer.
    """
    pairs = zip(adapters, targets, strict=True)
    speaking = [adapter for adapter, target in pairs if target.secure or target.upgrades]
    if ciphers is not None and all(adapter.secure_scheme == adapter.name for adapter in speaking):
        raise UsageError(f"--ciphers are of TLS 1.2, and {speaking[0].name} speaks TLS 1.3: leave it out")


def check_mode(adapter: Adapter, mode: Mode, of_messages: Mapping[str, object]) -> None:
    """Check that a protocol has what `mode` measures, and that nothing is said of messages it does not send.

    Args:
        adapter: the protocol.
        mode: what is repeated.
        of_messages: the flags that say something of messages, each with what it says; `None`: not given.

    Raises:
        UsageError: it has none, or one of the flags is given, and such a mode sends no messages.
    """
    if mode is Mode.EXCHANGE:
        return
    from netecho.protocols._contract import Kind

    if adapter.kind is Kind.DATAGRAM and (mode is Mode.CONNECT or adapter.secure_scheme is None):
        raise UsageError(f"--mode {mode} is for protocols that connect, which {adapter.name} does not")
    if mode is Mode.CONNECT and adapter.secure_scheme == adapter.name:
        raise UsageError(f"{adapter.name} connects by its handshake: write --mode {Mode.HANDSHAKE}")
    for flag, value in of_messages.items():
        if value is not None:
            raise UsageError(f"{flag} is of no use with --mode {mode}, which sends no messages")


def check_size(adapter: Adapter, scheme: str, size: int, flag: str) -> None:
    """Check that a protocol can carry messages of `size` bytes, which `flag` asked for.

    Args:
        adapter: the protocol.
        scheme: what its URLs begin with, in the form of it that is spoken.
        size: in bytes.
        flag: what asked for it.

    Raises:
        UsageError: it cannot.
    """
    least, most = adapter.minimum_size, min(adapter.maximum_size or MOST_SIZE, MOST_SIZE)
    if size < least:
        unit = "byte" if least == 1 else "bytes"
        raise UsageError(f"{flag}: a message on {scheme} has at least {least} {unit}, not {size}")
    if size > most:
        raise UsageError(f"{flag}: a message on {scheme} has at most {most:,} bytes, not {size:,}")


def check_block(adapter: Adapter, scheme: str, size: int | None, is_conversation: bool) -> None:
    """Check that what `client` sends without probing can go in messages of `size` bytes, if a size is given.

    Args:
        adapter: the protocol.
        scheme: as of `check_size`.
        size: what -l/--size says; `None` if it was not given.
        is_conversation: at a terminal, where a line is a message; else it is a pipe.

    Raises:
        UsageError: messages have no size that can be chosen, or not this one.
    """
    if size is None:
        return
    from netecho.protocols._contract import Kind

    if is_conversation or adapter.kind is Kind.STREAM:
        what = "a line has its own size" if is_conversation else f"{adapter.name} carries a pipe as a stream"
        raise UsageError(f"-l/--size is of probes, and {what}: add -n, -i or -z")
    if size == 0:
        raise UsageError("-l/--size: messages of 0 bytes carry nothing of standard input: write 1 or more")
    check_size(adapter, scheme, size, "-l/--size")


def check_unprobed(adapter: Adapter, streams: int | None, verify: Verify) -> None:
    """Check that nothing is asked of a conversation, or of a pipe, that is for probes alone.

    Args:
        adapter: the protocol.
        streams: what --streams says; `None` if it was not given.
        verify: what --verify says.

    Raises:
        UsageError: something is.
    """
    from netecho.protocols._contract import Kind

    if streams is not None and adapter.kind is Kind.STREAM:
        raise UsageError("--streams is of probes, and a conversation is one stream: add -n, -i or -z")
    if verify is Verify.NONE:
        raise UsageError("--verify is of probes: add -n, -i or -z")


def check_keylog(tls: ClientTLS, target: Target) -> None:
    """Check that there is something to log if --keylog is given.

    The environment may ask for a log of every program that it runs, whether or not that speaks TLS.

    Raises:
        UsageError: the target does not speak TLS.
    """
    speaks = target.secure or tls.starttls
    if tls.keylog is not None and not speaks and tls.keylog != os.environ.get("SSLKEYLOGFILE"):
        raise UsageError(f"--keylog is for TLS, which {target} does not speak: add --tls")
