"""SMTP between netecho and programs that nobody here wrote: swaks, Postfix's source and sink, and smtplib."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import smtplib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.benches import bench, checked, serving
from tests.peers import need
from tests.servers import TIMEOUT, Listening, Server, mistaken, netecho

MIB = 1 << 20
SENDER, RECIPIENT = "a@example.org", "b@example.org"
RECEIPT = re.compile(r"250 2\.0\.0 Ok: received as (\S+) size=([0-9]+) sha256=([0-9a-f]{64})")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve SMTP, with STARTTLS, and SMTPS."""
    with Server("smtp://127.0.0.1:0", "smtps://127.0.0.1:0") as server:
        yield server


@pytest.fixture(scope="module")
def ca(server: Server) -> str:
    """Return the path of the certificate that both can be trusted by."""
    authority = server.listeners[1].ca
    assert authority is not None
    return authority


def all_taken(result: dict[str, Any], exchanges: int) -> dict[str, Any]:
    """Return a result, once it is found that all mails were taken, and as they were sent if that is told."""
    counts = result["exchanges"]
    assert counts["sent"] == counts["completed"] == exchanges
    assert counts["corrupted"] == counts["lost"] == 0
    assert counts["errors"] == {}
    assert counts["statuses"] == {"250": exchanges}
    return result


@contextlib.contextmanager
def smtp_sink(*words: str) -> Iterator[str]:
    """Run Postfix's sink, which knows nothing of receipts; yield its URL."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    as_whom = ["-u", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen([need("smtp-sink"), *as_whom, *words, f"127.0.0.1:{port}", "100"]) as process:
        try:
            deadline = time.monotonic() + TIMEOUT
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
                    break
                except ConnectionRefusedError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
            yield f"smtp://127.0.0.1:{port}"
        finally:
            process.kill()


def swaks(listening: Listening, *words: str, status: int = 0) -> str:
    """Have swaks send a mail; return what both said."""
    host, port = listening.address
    said = subprocess.run(
        [need("swaks"), "--server", f"{host}:{port}", "--from", SENDER, "--to", RECIPIENT, *words],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        text=True,
    )
    assert said.returncode == status, said.stdout + said.stderr
    return said.stdout


@pytest.mark.parametrize(
    ("number", "flags"), [(0, []), (0, ["--pipeline"]), (0, ["--tls"]), (1, ["--tls-on-connect"])]
)
def test_swaks(server: Server, number: int, flags: list[str]) -> None:
    """A mail is received as swaks sent it: in clear, all at once, and in TLS of either kind."""
    content = "Subject: x\n\n.\n..dots\nend\n"
    said = swaks(server.listeners[number], *flags, "--data", content)
    found = RECEIPT.search(said)
    assert found is not None
    # swaks adds a line of its own.
    sent = content.replace("\n", "\r\n").encode() + b"\r\n"
    assert (int(found[2]), found[3]) == (len(sent), hashlib.sha256(sent).hexdigest())
    assert ("TLS started" in said) == any("tls" in flag for flag in flags)


@pytest.mark.parametrize(("reply", "code", "status"), [("reject", "550", 26), ("tempfail", "451", 26)])
def test_refusals(reply: str, code: str, status: int) -> None:
    """A server that is told to refuses every mail; swaks, bench and client each say with which code."""
    with Server("smtp://127.0.0.1:0", "--reply", reply) as server:
        url = server.listener.url
        assert f"<** {code} " in swaks(server.listener, status=status)
        result = bench(url, "-n", "50", "-c", "2", status=1)
        assert result["exchanges"]["errors"] == {f"status {code}": 50}
        assert result["exchanges"]["statuses"] == {code: 50}
        assert result["exchanges"]["lost"] == 50
        if reply == "reject":
            said = netecho("client", url, "-m", "hello")
            assert said.returncode == 1
            assert f"it answers with {code}".encode() in said.stderr


def test_discard() -> None:
    """One that is told to throws mails away without a word of what they were."""
    with Server("smtp://127.0.0.1:0", "--reply", "discard") as server:
        assert "sha256" not in swaks(server.listener)


def test_no_such_replies() -> None:
    """What a protocol cannot answer with is a usage error, before anything listens."""
    for words in (("smtp://127.0.0.1:0", "--reply", "chargen"), ("udp://127.0.0.1:0", "--reply", "reject")):
        done = mistaken("serve", *words)
        assert (done.returncode, done.stdout) == (2, b"")
        assert re.fullmatch(rb"netecho: (smtp|udp) cannot answer with --reply .*\n", done.stderr)


def test_smtp_source() -> None:
    """All that Postfix's own load sends is received, in a connection each and in ten."""
    size, number = 10_240, 500
    words = f"-s 10 -m {number} -l {size} -r 3 -f {SENDER} -t {RECIPIENT}".split()
    with Server("smtp://127.0.0.1:0") as server:
        host, port = server.listener.address
        for flags in ([], ["-d"]):
            source = [need("smtp-source"), *flags, *words, f"{host}:{port}"]
            subprocess.run(source, timeout=TIMEOUT, check=True)
        totals = server.end()
    assert totals["connections"] == number + 10
    assert totals["cut"] == 0
    assert totals["bytes_received"] > 2 * number * size


def test_smtp_sink() -> None:
    """Postfix's sink takes all that bench has, and what is known of it is said: that it was taken."""
    with smtp_sink() as url:
        for words in (["-c", "5", "--pipeline", "3"], ["-q", "500", "-c", "5"]):
            result = all_taken(bench(url, "-n", "300", "-l", "10k", *words), 300)
            assert result["exchanges"]["untold"] == 300
            assert result["exchanges"]["statuses"] == {"250": 300}
            assert any("did not say what had been received" in caveat for caveat in result["caveats"])
        said = netecho("client", url, "-m", "hello")
        assert said.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["client", "-m", "hello"],
        ["client"],
        ["bench", "-n", "40", "-c", "4"],
        ["bench", "-n", "40", "-c", "4", "-q", "400", "--workers", "2"],
        ["bench", "-z", "1s", "-c", "2", "--connections-lifetime", "100ms"],
    ],
    ids=" ".join,
)
def test_farewell(words: list[str]) -> None:
    """Every connection, the last ones too, waits for the answer to QUIT (RFC 5321 section 4.1.1.10)."""
    begun, parted = [], []

    def talk(connection: socket.socket) -> None:
        stream = connection.makefile("rwb")
        answers = {b"EHLO": b"250 x", b"MAIL": b"250 ok", b"RCPT": b"250 ok", b"DATA": b"354 go"}
        begun.append(connection)
        stream.write(b"220 x\r\n")
        stream.flush()
        for line in stream:
            if line == b"QUIT\r\n":
                connection.settimeout(0.1)
                try:
                    connection.recv(1)
                except TimeoutError:  # it waits
                    connection.settimeout(TIMEOUT)
                    connection.sendall(b"221 bye\r\n")
                    parted.append(connection.recv(1))
                return
            stream.write(answers[line[:4]] + b"\r\n")
            stream.flush()
            if line == b"DATA\r\n":
                while stream.readline() != b".\r\n":
                    pass
                stream.write(b"250 ok\r\n")
                stream.flush()

    command, *rest = words
    with serving(talk) as url:
        done = netecho(command, url.replace("tcp", "smtp"), *rest, input=b"hello\n")
    assert done.returncode == 0, done.stderr
    assert len(begun) > (0 if command == "client" else 1)
    assert parted == [b""] * len(begun)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["-f", "mail"], "status 5"),
        (["-r", "rcpt"], "status 4"),
        (["-f", "."], "status 5"),
        (["-q", "data"], ""),
    ],
)
def test_unwilling_sink(words: list[str], kind: str) -> None:
    """A sink that refuses at any step, or hangs up, costs the exchanges that it says, and no more."""
    with smtp_sink(*words) as url:
        result = bench(url, "-n", "20", "-c", "2", "--no-reconnect", status=1)
    exchanges = result["exchanges"]
    assert exchanges["completed"] == 0
    assert all(error.startswith(kind) for error in exchanges["errors"])
    if kind:
        assert sum(exchanges["errors"].values()) == exchanges["lost"] == 20


@pytest.mark.parametrize("flags", [["-e"], ["-p"], ["-8"]], ids=["HELO", "no pipelining", "7bit"])
def test_old_sink(flags: list[str]) -> None:
    """One that lacks an extension gets mails all the same."""
    with smtp_sink(*flags) as url:
        all_taken(bench(url, "-n", "50", "-c", "2", "--pipeline", "2"), 50)
        assert netecho("client", url, "-m", "grüße").returncode == 0


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_bench(server: Server, ca: str, scheme: str) -> None:
    """Every receipt of our own server is compared, and matches."""
    listening = server.listeners[scheme == "smtps"]
    trust = ["--cacert", ca] if scheme == "smtps" else []
    for words in (
        ["-c", "2", "--pipeline", "4", "-l", "10k"],
        ["-c", "3", "-q", "400", "-l", "1"],
    ):
        result = all_taken(bench(listening.url, *trust, "-n", "200", *words), 200)
        assert result["plan"]["receipts"] is True
        assert result["plan"]["verify"] == "full"
        assert "untold" not in result["exchanges"]
    assert result["throughput"]["bytes_received"] > 200 * 100


def test_starttls(server: Server, ca: str) -> None:
    """With --starttls bench and client turn to TLS, and look at the certificate."""
    url = server.listeners[0].url.replace("127.0.0.1", "localhost")
    result = all_taken(bench(url, "--starttls", "--cacert", ca, "-n", "50", "-c", "2"), 50)
    assert result["plan"]["tls"]["starttls"] is True
    good = netecho("client", url, "--starttls", "--cacert", ca, "-m", "hello", "-v")
    assert good.returncode == 0
    assert b"TLSv1.3" in good.stderr + good.stdout
    bad = netecho("client", url, "--starttls", "-m", "hello")
    assert bad.returncode == 1
    assert b"unknown here" in bad.stderr
    assert netecho("bench", "--proto", "smtp", "--starttls").returncode == 2


def test_workers_and_own_server() -> None:
    """It has what every protocol has: a server of its own, and several processes."""
    result = all_taken(bench("--proto", "smtp", "-n", "200", "-c", "4", "--workers", "2"), 200)
    assert result["plan"]["embedded"] is True


def test_pipe(server: Server) -> None:
    """In a pipe each block is a mail, and its receipt comes out."""
    text = b"hello\n" * 1000
    done = netecho("client", server.listeners[0].url, "-l", "600", input=text)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(RECEIPT.findall(done.stdout.decode())) == 10


def test_smtplib(server: Server) -> None:
    """Python's own client goes through all it knows: ESMTP's parameters, UTF-8, STARTTLS, many recipients."""
    plain, secure = server.listeners
    with smtplib.SMTP(*plain.address, timeout=TIMEOUT) as client:
        client.starttls(context=plain_context(secure))
        client.ehlo()
        assert {"size", "8bitmime", "smtputf8", "pipelining", "enhancedstatuscodes"} <= set(
            client.esmtp_features
        )
        assert "starttls" not in client.esmtp_features
        options = ["SMTPUTF8", "BODY=8BITMIME"]
        refused = client.sendmail(
            "ä@example.org", ["ü@example.org", RECIPIENT], "Subject: ü\r\n\r\nß\r\n".encode(), options
        )
        assert refused == {}
        assert client.noop()[0] == client.rset()[0] == 250
        assert client.verify("x")[0] == 252
        with pytest.raises(smtplib.SMTPSenderRefused) as large:
            client.sendmail(SENDER, [RECIPIENT], b"x", [f"SIZE={MIB << 10}"])
        assert large.value.smtp_code == 552
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(SENDER, ["no address"], b"x")


def plain_context(secure: Listening) -> ssl.SSLContext:
    """Return a context that trusts the server, whatever it is called."""
    context = secure.context()
    context.check_hostname = False
    return context


def test_drain() -> None:
    """A server that ends takes the mail that it is being sent, and then says that it is ending."""
    with Server("smtp://127.0.0.1:0") as server:
        client = smtplib.SMTP(*server.listener.address, timeout=TIMEOUT)
        idle = smtplib.SMTP(*server.listener.address, timeout=TIMEOUT)
        client.ehlo()
        client.mail(SENDER)
        client.rcpt(RECIPIENT)
        assert client.docmd("DATA")[0] == 354
        client.send(b"half of it\r\n")
        server.tell()
        assert idle.getreply()[0] == 421  # so that it is known to be ending
        client.send(b"the rest\r\n.\r\n")
        code, receipt = client.getreply()
        assert (code, client.getreply()[0]) == (250, 421)
        assert hashlib.sha256(b"half of it\r\nthe rest\r\n").hexdigest() in receipt.decode()
        client.close()
        idle.close()


def test_memory() -> None:
    """Mails are never kept: many large ones at once cost no more than their buffers."""
    with Server("smtp://127.0.0.1:0") as server:
        clients = [smtplib.SMTP(*server.listener.address, timeout=TIMEOUT) for _ in range(8)]
        for client in clients:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(RECIPIENT)
            assert client.docmd("DATA")[0] == 354
        before = server.resident_kib()
        block = (b"x" * 98 + b"\r\n") * 10_000
        for _ in range(30):
            for client in clients:
                client.send(block)
        for client in clients:
            client.send(b".\r\n")
            assert client.getreply()[0] == 250
        assert server.resident_kib(peak=True) - before < 24 * 1024
        for client in clients:
            client.quit()


def test_too_large(server: Server) -> None:
    """A mail that outgrows the limit is refused at its end."""
    client = smtplib.SMTP(*server.listeners[0].address, timeout=TIMEOUT)
    client.ehlo()
    client.mail(SENDER)
    client.rcpt(RECIPIENT)
    client.docmd("DATA")
    line = b"x" * 98 + b"\r\n"
    for _ in range(64):
        client.send(line * 10_486)
    client.send(b".\r\n")
    assert client.getreply()[0] == 552
    client.quit()


def test_result_is_read_again(server: Server) -> None:
    """A client's result is of the documented form."""
    done = netecho("client", server.listeners[0].url, "-n", "3", "-i", "1ms", "--quiet", "--json", "-")
    assert checked(json.loads(done.stdout))["exchanges"]["statuses"] == {"250": 3}
