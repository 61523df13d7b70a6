"""The core of a QUIC connection: aioquic's, with a flow control window that moves only as the peer reads.

With `_quic_bounds` this is the only file that uses aioquic's private attributes. aioquic's flow control lets
a peer send more as soon as data has come, whether or not anything has been done with it, and twice as much
each time: the echo for a peer that does not read would have no bound. And its TLS checks certificates in ways
of its own. A server asks clients for a certificate by a switch that aioquic has "for test purposes only".
There is no other as of 1.7.2, and it does what RFC 8446 says: a request, a certificate, and the proof of its
key.
"""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES, Limit, QuicConnectionId
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicProtocolVersion
from OpenSSL import SSL

from netecho.protocols._quic_bounds import BoundedConnection
from netecho.protocols._quic_qlog import Log, Trace
from netecho.protocols._quic_resets import SMALLEST, TOKEN_SIZE
from netecho.protocols._security import Agreement, Security

WINDOW: Final = 2 << 20
"""Bytes that a peer may send on one connection, over all its streams, before it has read their echo."""
STEP: Final = WINDOW // 4
"""Bytes by which the window moves at least, so that not every packet says so."""
IDLE: Final = 60.0
"""Seconds without a packet after which a connection is over, unless the user or the other end has fewer."""
CRYPTO_ERROR: Final = 0x100
"""Added to a TLS alert it makes an error code of QUIC (RFC 9001 section 4.8)."""
NO_ERROR: Final = int(QuicErrorCode.NO_ERROR)
_VERSIONS: Final[dict[int | None, str]] = {
    QuicProtocolVersion.VERSION_1: "QUICv1",
    QuicProtocolVersion.VERSION_2: "QUICv2",
}
_BITS: Final = {tls.CipherSuite.AES_128_GCM_SHA256: 128}
"""The secret bits of a cipher; of the others 256."""

# aioquic logs what peers do wrong: that must not go to our standard error.
logging.getLogger("quic").addHandler(logging.NullHandler())
logging.getLogger("quic").propagate = False


class _RefusedError(tls.Alert):
    """The other end's certificate does not verify."""

    description = tls.AlertDescription.bad_certificate


class _MissingError(tls.Alert):
    """The other end has shown no certificate."""

    description = tls.AlertDescription.certificate_required


class _Window(Limit):
    """How much may come on a connection: `WINDOW` bytes more than what is done with.

    aioquic doubles the value when half of it has come. Here setting it only moves the window as far as it
    may, whatever the value that is set.

    Args:
        limit: aioquic's own, which it replaces.
        held: returns how many bytes have come that are not done with.
    """

    def __init__(self, limit: Limit, held: Callable[[], int]) -> None:
        self._allowed = limit.value
        self._held = held
        super().__init__(limit.frame_type, limit.name, limit.value)

    @property
    def value(self) -> int:
        """The highest sum of all streams' offsets that the peer may send."""
        return self._allowed

    @value.setter
    def value(self, _: int) -> None:
        if self.used + WINDOW - self._allowed >= STEP:
            allowed = self.used - self._held() + WINDOW
            if allowed - self._allowed >= STEP:
                self._allowed = allowed


class _SecretsFile:
    """Takes the lines of a key log as aioquic writes them."""

    def __init__(self, security: Security) -> None:
        self._security = security

    def write(self, line: str) -> None:
        """Take one."""
        self._security.log_secret(line.rstrip("\n").encode("ascii"))

    def flush(self) -> None:
        """Do nothing: each has been written."""


def configuration(
    security: Security, alpn: tuple[str, ...], qlog: str | None, *, is_client: bool, idle: float = IDLE
) -> QuicConfiguration:
    """Return what the connections of one end have in common.

    Args:
        security: how it speaks TLS.
        alpn: what is offered, or chosen from, unless that says something else.
        qlog: the directory for logs.
        is_client: whether it is a client's.
        idle: seconds; see `IDLE`.
    """
    answer = QuicConfiguration(
        alpn_protocols=list(security.alpn or alpn),
        is_client=is_client,
        idle_timeout=idle,
        max_data=WINDOW,
        max_stream_data=WINDOW // 2,
        quic_logger=None if qlog is None else Log(qlog),
        secrets_log_file=_SecretsFile(security),  # type: ignore[arg-type]
        verify_mode=ssl.CERT_NONE,  # for us to do, so that it is said in the same words everywhere
    )
    name = getattr(security, "server_name", None)
    answer.server_name = None if name is None else name.decode("ascii")
    identity = security.identity
    if identity is not None:
        answer.certificate, *answer.certificate_chain = identity.chain
        answer.private_key = identity.key
    return answer


class Wire(BoundedConnection):
    """The core of one connection.

    Args:
        settings: see `configuration`.
        security: how this end speaks TLS.
        reset_token: returns the token of a connection ID of ours, with which we may once say that we do not
            know the connection any more; `None`: we never say so.
        more: what else aioquic's `QuicConnection` takes.
    """

    def __init__(
        self,
        settings: QuicConfiguration,
        security: Security,
        reset_token: Callable[[bytes], bytes] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(configuration=settings, **more)
        self._security = security
        self._reset_token = reset_token
        self._give_reset_tokens(self._host_cids)
        self.is_reset = False
        """Whether the other end has said that it does not know the connection (a stateless reset)."""
        self._problem: str | None = None
        self._asked_for: str | None = None
        self.refusal: Exception | None = None
        """Why the other end's certificate is refused; `None` if it is not."""
        self.withheld = 0
        """Bytes that have come, and wait to be delivered."""
        self._local_max_data = _Window(self._local_max_data, self._count_held)

    # Flow control.

    def _count_held(self) -> int:
        # On a server what came has become what it is to send. What a client is to send may wait for echoes to
        # be read, and must not hold those up.
        held = self.withheld + self.out_of_order
        return held if self._is_client else held + self.backlog

    @property
    def backlog(self) -> int:
        """Bytes to be sent on all streams that the other end has not acknowledged."""
        return sum([one.sender._buffer_stop - one.sender._buffer_start for one in self._streams.values()])

    def owed(self, stream: int) -> int:
        """Return how many bytes of a stream the other end has not acknowledged; 1 if only its end is left."""
        one = self._streams.get(stream)
        if one is None or one.sender.is_finished:
            return 0
        bytes_owed = one.sender._buffer_stop - one.sender._buffer_start
        return bytes_owed or int(one.sender._buffer_fin is not None)

    # TLS.

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        context = self.tls
        if not self._is_client:
            self._note_server_name(context)
            # Nobody remembers which first flights have come: whoever repeats one that has early data would be
            # answered again, as if its client had sent it (RFC 8446 section 8). So tickets allow none.
            context._max_early_data = None
        if not self._security.verifies:
            return
        if self._is_client:
            finish = context._client_handle_finished
        else:
            finish = context._server_handle_finished
            context._request_client_certificate = True

        def check(*buffers: Any) -> None:
            # Before anything of ours is sent that only a verified peer may have.
            self._check_certificate()
            finish(*buffers)

        setattr(context, finish.__name__, check)

    def _note_server_name(self, context: tls.Context) -> None:
        greet = context._server_handle_hello

        def note(hello: Buffer, *buffers: Any) -> None:
            rest = hello.data_slice(hello.tell(), hello.capacity)
            self._asked_for = tls.pull_client_hello(Buffer(data=rest)).server_name
            greet(hello, *buffers)

        context._server_handle_hello = note  # type: ignore[method-assign, assignment]

    def _check_certificate(self) -> None:
        if self.tls.session_resumed:
            return  # the certificate was checked in the session's first connection
        chain = self._chain()
        try:
            self._problem = self._security.verify(chain)
        except Exception as error:
            self.refusal = error
            raise (_RefusedError if chain else _MissingError)(str(error)) from None

    def _chain(self) -> list[Any]:
        own = self.tls._peer_certificate
        return [] if own is None else [own, *self.tls._peer_certificate_chain]

    def agreement(self) -> Agreement | None:
        """Return what has been agreed upon; `None` before the handshake is complete."""
        if not self._handshake_complete or self.tls.key_schedule is None:
            return None
        cipher = self.tls.key_schedule.cipher_suite
        return Agreement(
            version=f"{_VERSIONS.get(self._version or 0, 'QUIC')} with TLSv1.3",
            cipher=f"TLS_{cipher.name}",
            bits=_BITS.get(cipher, 256),
            alpn=self.tls.alpn_negotiated,
            server_name=self._configuration.server_name if self._is_client else self._asked_for,
            chain=self._chain(),
            verified=self._security.verifies and self._problem is None,
            problem=self._problem,
            resumed=self.tls.session_resumed,
        )

    @property
    def is_asked(self) -> bool:
        """Whether the server wants to see a certificate of ours."""
        return self.tls._certificate_request is not None

    @property
    def is_confirmed(self) -> bool:
        """Whether both ends know that the handshake is complete (RFC 9001 section 4.1.2)."""
        return self._handshake_confirmed

    # Stateless resets (RFC 9000 section 10.3): aioquic keeps tokens, but neither sends nor understands them.

    def _give_reset_tokens(self, ours: Sequence[QuicConnectionId]) -> None:
        if self._reset_token is not None:
            for one in ours:
                one.stateless_reset_token = self._reset_token(one.cid)

    def _replenish_connection_ids(self) -> None:
        known = len(self._host_cids)
        super()._replenish_connection_ids()
        self._give_reset_tokens(self._host_cids[known:])

    def _resets(self, datagram: bytes) -> bool:
        """Return whether a datagram ends in the token of a connection ID that we use for the other end."""
        last = datagram[-TOKEN_SIZE:]
        used = [self._peer_cid, *[path.peer_cid for path in self._network_paths if path.peer_cid is not None]]
        return len(datagram) >= SMALLEST and any(
            hmac.compare_digest(last, one.stateless_reset_token) for one in used
        )

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Take a datagram."""
        if self._state not in END_STATES and self._resets(data):
            self.is_reset = True
            self._close_event = ConnectionTerminated(NO_ERROR, QuicFrameType.PADDING, "stateless reset")
            self._close_begin(is_initiator=False, now=now)
            return
        super().receive_datagram(data, addr, now)
        trace = self._quic_logger
        if isinstance(trace, Trace) and self._network_paths and self._network_paths[0].is_validated:
            trace.begin()

    # The end.

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """Return what is to be sent, and where to: nothing if no peer is known yet."""
        if not self._network_paths:
            return []
        # aioquic would send CONNECTION_CLOSE even beyond what an unproved address may be sent.
        if self._close_pending and not self._network_paths[0].can_send(self._max_datagram_size):
            return []
        return super().datagrams_to_send(now)

    @property
    def ended(self) -> ConnectionTerminated | None:
        """Why the connection is over, as soon as one end has said so; `None` if it is not.

        aioquic's own event comes only after the closing period (RFC 9000 section 10.2).
        """
        over = self._close_event is not None and (self._close_pending or self._state in END_STATES)
        return self._close_event if over else None

    @property
    def is_told(self) -> bool:
        """Whether there is nothing to tell: the other end has ended the connection, or it timed out."""
        return self._state in END_STATES

    def end(self, code: int = NO_ERROR, reason: str = "", *, by_application: bool = False) -> None:
        """Say that the connection is over.

        Args:
            code: an error code of the transport (RFC 9000 section 20.1), or of the protocol above it.
            reason: the same in words.
            by_application: whether it is the latter.
        """
        self.close(code, None if by_application else QuicFrameType.PADDING, reason)

    def forget(self) -> None:
        """Close the log, as nothing more happens."""
        if self._quic_logger is not None and self._configuration.quic_logger is not None:
            self._configuration.quic_logger.end_trace(self._quic_logger)
            self._quic_logger = None


def alert(error_code: int) -> SSL.Error | None:
    """Return the TLS alert in an error code of QUIC, as OpenSSL would raise it; `None` if it is none."""
    number = error_code - CRYPTO_ERROR
    try:
        name = tls.AlertDescription(number).name
    except ValueError:
        return None
    return SSL.Error([("QUIC", "", name.replace("_", " "))])
