"""How the loss of a connection is said, counted and explained, to a client and at a server."""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import struct

import pytest
import trustme
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.python.failure import Failure

from netecho.errors import ExitStatus, LostError, TLSError
from netecho.plans import Target
from netecho.protocols._http1_client import NotHTTPError
from netecho.protocols._tls import TruncationError
from netecho.services.failures import explain_loss, loss_kind
from tests.clients import client, errors
from tests.servers import Server, netecho

WANTED = "wants a client certificate; give one with --cert\n"


@pytest.mark.parametrize("scheme", ["tls", "https"])
def test_certificate_required(scheme: str, tmp_path: pathlib.Path) -> None:
    """TLS 1.3 says so after the handshake: all who use the connection say in a line what is missing."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Server(f"{scheme}://127.0.0.1:0", "--client-ca", str(tmp_path / "ca.pem"), "--verbose") as server:
        url, ca = server.listener.url, server.listener.ca
        assert ca is not None
        probed = client("-n", "1", "--cacert", ca, url)
        piped = client("--cacert", ca, url, input=b"hi\n")
        measured = netecho("bench", "-z", "100ms", "--quiet", "--cacert", ca, url)
        assert probed.stdout.startswith(b"seq=0 lost (certificate required)\n")
        assert errors(probed) == errors(measured) == f"netecho: {url} {WANTED}"
        assert errors(piped) == f"netecho: the other end {WANTED}"
        assert b" certificate required\n" in measured.stdout
        assert {one.returncode for one in (probed, piped, measured)} == {ExitStatus.FAILED}
        server.end()
    ends = [event["reason"] for event in server.events if event["event"] == "disconnected"]
    assert set(ends) == {"peer did not return a certificate"}


@pytest.mark.parametrize(
    ("reason", "kind", "says"),
    [
        (SSL.Error([("SSL routines", "", "bad record mac")]), "tls", "bad record mac"),
        (SSL.Error([]), "tls", "TLS failed"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "lost", "Unexpected EOF"),
        (ConnectionLost(), "lost", "it was not ended in order"),
        (ConnectionAborted(), "aborted", "aborted"),
        (TruncationError(), "lost", "the peer closed the connection without close_notify: what"),
        (ConnectionLost("Said by us."), "lost", "said by us"),
        (OSError("odd"), "lost", "odd"),
        (OSError(errno.EPERM, "Operation not permitted"), "not permitted", "Operation not permitted"),
        (
            NotHTTPError(f"{NotHTTPError.__doc__}: why"),
            "not HTTP",
            "what the other end says is not HTTP",
        ),
    ],
)
def test_other_reasons(reason: Exception, kind: str, says: str) -> None:
    """Any other end of a connection is a clause, and not Twisted's sentence."""
    error = explain_loss(Failure(reason), Target())
    assert type(error) is LostError
    assert str(error).startswith(f"the connection to {Target()} was lost: {says}")
    assert loss_kind(Failure(reason)) == kind


def test_reset_seen_by_a_server() -> None:
    """A server says which error has ended a connection, in the system's words."""
    with Server("tcp://127.0.0.1:0", "-v") as server:
        with server.listener.connect() as peer:
            server.wait_for("connected")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ended = server.wait_for("disconnected")
    assert ended["reason"].endswith(f" non-clean fashion: {os.strerror(errno.ECONNRESET)}.")


def test_alerts() -> None:
    """What is said of our certificate is about the other end, named or not."""
    reason = Failure(SSL.Error([("SSL routines", "", "tlsv1 alert unknown ca")]))
    assert loss_kind(reason) == "unknown ca"
    assert isinstance(explain_loss(reason), TLSError)
    assert str(explain_loss(reason)) == "the other end does not trust the authority of our certificate"


def test_not_http() -> None:
    """What speaks something else is said to do so, and not just that the connection was lost."""
    with Server("tcp://127.0.0.1:0") as server:  # the echo of a request is no answer
        url = server.listener.url.replace("tcp", "http")
        probed = client("-n", "1", url)
        measured = netecho("bench", "-n", "1", "--quiet", url)
        assert probed.stdout.startswith(b"seq=0 lost (not HTTP)\n")
        assert errors(probed).startswith(
            f"netecho: the connection to {url} was lost: what the other end says is not HTTP: "
        )
        assert b" not HTTP\n" in measured.stdout
        assert probed.returncode == measured.returncode == ExitStatus.FAILED
