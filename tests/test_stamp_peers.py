"""netecho's reflector and sender as processes: against each other, and each against what is written here."""

from __future__ import annotations

import json
import pathlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from netecho.protocols._stamp_packets import (
    BASE_SIZE,
    ReflectorPacket,
    SenderPacket,
    extra_padding,
)
from netecho.protocols._timestamps import ErrorEstimate, ntp_from, unix_ns_from
from tests import schemas
from tests.captures import dissect, pcap, udp
from tests.servers import TIMEOUT, Server, netecho

KEY = b"between us, and nobody else"
Answers = Callable[[SenderPacket], list[ReflectorPacket]]


@pytest.fixture
def key(tmp_path: pathlib.Path) -> str:
    """Return the name of a file with a key, as an editor would write it."""
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    return str(path)


def measured(*words: str, status: int = 0) -> dict[str, Any]:
    """Run `client` or `bench` to its end; return its result, which is of the documented form."""
    done = netecho(*words, "--quiet", "--json", "-")
    assert done.returncode == status, done.stderr
    assert KEY not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    schemas.RESULT.validate(result)
    counts = result["exchanges"]
    assert counts["sent"] == counts["completed"] + counts["lost"] + counts["in_flight"]
    return result


def exchange(
    peer: socket.socket, sequence: int, key: bytes | None = None, rest: bytes = b""
) -> ReflectorPacket:
    """Send a test packet, and return the answer, which is as large."""
    sent = SenderPacket(sequence, ntp_from(time.time_ns()), ErrorEstimate(), rest).encode(key)
    peer.send(sent)
    datagram = peer.recv(65_536)
    assert len(datagram) == len(sent)
    return ReflectorPacket.decode(datagram, key)


@pytest.mark.parametrize(
    ("listener", "peer", "hops"),
    [
        ("127.0.0.1", "127.0.0.1", (socket.IPPROTO_IP, socket.IP_TTL)),
        ("[::1]", "::1", (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)),
        ("0.0.0.0", "127.0.0.2", (socket.IPPROTO_IP, socket.IP_TTL)),
        ("*", "127.0.0.2", (socket.IPPROTO_IP, socket.IP_TTL)),
        ("*", "::1", (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)),
    ],
)
def test_reflector(listener: str, peer: str, hops: tuple[int, int]) -> None:
    """Its answers come from the address that was asked, and say when, and with how many hops left."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with Server(f"stamp://{listener}:0") as server, socket.socket(family, socket.SOCK_DGRAM) as ours:
        ours.settimeout(TIMEOUT)
        ours.setsockopt(*hops, 77)
        ours.connect((peer, server.listener.address[1]))
        for sequence in (3, 9):
            before = time.time_ns()
            answer = exchange(ours, sequence, rest=b"as it is")
            after = time.time_ns()
            received = unix_ns_from(answer.receive_timestamp, before)
            assert before <= received <= unix_ns_from(answer.timestamp, before) <= after
            assert before <= unix_ns_from(answer.sender_timestamp, before) <= received
            assert (answer.sequence, answer.sender_sequence) == (sequence, sequence)
            assert answer.sender_ttl == 77
            assert answer.rest == b"as it is"


def test_stateful_reflector() -> None:
    """With --stateful each peer's answers are numbered from 0."""
    with Server("stamp://127.0.0.1:0", "--stateful") as server:
        for _ in range(2):
            with server.listener.connect() as peer:
                assert [exchange(peer, sequence).sequence for sequence in (4, 7, 8)] == [0, 1, 2]


def test_authenticated_reflector(key: str) -> None:
    """With a key it answers who has it, and nobody else; what it says of that does not have the key."""
    with Server("stamp://127.0.0.1:0", "--hmac-key", key, "-v") as server, server.listener.connect() as peer:
        peer.send(SenderPacket(0, 0, ErrorEstimate()).encode())
        assert server.wait_for("dropped")["reason"] == "too short for STAMP"
        peer.send(SenderPacket(0, 0, ErrorEstimate()).encode(b"a guess"))
        assert server.wait_for("dropped")["reason"] == "HMAC does not match"
        assert exchange(peer, 5, KEY).sender_sequence == 5
        assert server.end()["datagrams_sent"] == 1
        assert KEY not in json.dumps(server.events).encode()


def test_two_reflectors_do_not_loop() -> None:
    """A packet forged to come from one reflector to another is answered, and that answer is not."""
    with Server("stamp://127.0.0.1:0") as one, Server("stamp://127.0.0.1:0", "-v") as other:
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("needs the right to forge datagrams")
        with raw:
            payload = SenderPacket(0, ntp_from(time.time_ns()), ErrorEstimate()).encode()
            ports = other.listener.address[1], one.listener.address[1]
            raw.sendto(struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload, ("127.0.0.1", 0))
        assert other.wait_for("dropped")["reason"] == "an answer, not a test packet"
        assert [server.end()["datagrams_sent"] for server in (one, other)] == [1, 0]


@pytest.mark.parametrize("authenticated", [False, True])
@pytest.mark.parametrize("size", [0, 100])
def test_both_sides(authenticated: bool, size: int, key: str) -> None:
    """A client and a bench measure a reflector, and every exchange is accounted for, every byte compared."""
    flags = ["--hmac-key", key] if authenticated else []
    with Server("stamp://127.0.0.1:0", *flags) as server:
        url = server.listener.url
        for words in (["client", url, "-n", "20", "-i", "1ms"], ["bench", url, "-n", "200", "-c", "3"]):
            result = measured(*words, "-l", str(size), *flags)
            counts = result["exchanges"]
            assert counts["sent"] == counts["completed"]
            assert not any(counts[name] for name in ("late", "duplicated", "corrupted", "errors"))
            assert result["plan"]["hmac"] == authenticated
            assert result["throughput"]["bytes_received"] == size * counts["sent"]
            assert not any("number" in caveat for caveat in result["caveats"])


def test_default_size() -> None:
    """Unless told otherwise, a packet is the standard one, without a payload: what any reflector answers."""
    result = measured("bench", "--proto", "stamp", "-n", "10")
    assert result["plan"]["size"] == result["throughput"]["bytes_sent"] == 0
    assert result["plan"]["overhead"] == 44
    assert result["exchanges"]["completed"] == 10


def test_wrong_key(key: str, tmp_path: pathlib.Path) -> None:
    """Two ends with different keys do not understand each other, and the server says why."""
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    with Server("stamp://127.0.0.1:0", "--hmac-key", key) as server:
        words = ["-n", "3", "-i", "1ms", "-w", "100ms", "--hmac-key", str(other)]
        result = measured("client", server.listener.url, *words, status=1)
        assert result["exchanges"]["lost"] == 3
        searching = ["-q", "20", "-z", "100ms", "-w", "100ms", "--find-max", "lost==0", "--quiet"]
        for asked in (["client", *words], ["bench", *searching, "--hmac-key", str(other)]):
            done = netecho(*asked, server.listener.url)
            assert done.stderr.endswith(
                b"a reflector listen there, with the same --hmac-key or none? (-w waits longer)\n"
            )
        assert [*server.end()["dropped"]] == ["HMAC does not match"]


class ReflectorHere:
    """A reflector in a thread of this process, whose answers a test decides."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"stamp://127.0.0.1:{self._socket.getsockname()[1]}"
        self.received: list[bytes] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ReflectorHere:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", self._socket.getsockname())
        self._thread.join(TIMEOUT)
        self._socket.close()

    def _run(self) -> None:
        while True:
            datagram, peer = self._socket.recvfrom(65_536)
            if not datagram:
                return
            self.received.append(datagram)
            for answer in self._answers(SenderPacket.decode(datagram)):
                self._socket.sendto(answer.encode(), peer)


def answer_to(packet: SenderPacket, **changes: Any) -> ReflectorPacket:
    """Return a plain answer, but for some fields."""
    now = ntp_from(time.time_ns())
    fields: dict[str, Any] = {
        "sequence": packet.sequence,
        "timestamp": now,
        "error": ErrorEstimate(),
        "receive_timestamp": now,
        "sender_sequence": packet.sequence,
        "sender_timestamp": packet.timestamp,
        "sender_error": packet.error,
        "sender_ttl": 255,
        "rest": packet.rest,
    }
    return ReflectorPacket(**{**fields, **changes})


def test_sender() -> None:
    """Its packets are numbered from 0, of the standard size, and say when they left."""
    before = time.time_ns()
    with ReflectorHere(lambda packet: [answer_to(packet)]) as reflector:
        measured("client", reflector.url, "-n", "3", "-i", "1ms")
        measured("client", reflector.url, "-n", "1", "-l", "50")
    assert [len(datagram) for datagram in reflector.received] == [BASE_SIZE] * 3 + [BASE_SIZE + 4 + 50]
    packets = [SenderPacket.decode(datagram) for datagram in reflector.received]
    assert [packet.sequence for packet in packets] == [0, 1, 2, 0]
    times = [unix_ns_from(packet.timestamp, before) for packet in packets]
    assert before <= times[0] <= times[1] <= times[2] <= time.time_ns()
    assert all(packet.error.error_ns is not None and not packet.error.ptp for packet in packets)
    assert not any(any(datagram[14:44]) for datagram in reflector.received), "what must be zero is"


def test_sender_counts() -> None:
    """What is lost, comes twice, late in order, changed, or answers nothing is counted, each once."""
    held: list[ReflectorPacket] = []

    def answers(packet: SenderPacket) -> list[ReflectorPacket]:
        answer = answer_to(packet)
        match packet.sequence:
            case 1:
                return []
            case 2:
                return [answer, answer]
            case 3:
                held.append(answer)
                return []
            case 4:
                return [answer, held.pop()]
            case 5:
                return [answer_to(packet, rest=extra_padding(bytes(20)))]
            case 6:
                return [answer, answer_to(packet, sender_sequence=700)]
        return [answer]

    with ReflectorHere(answers) as reflector:
        words = ["-n", "10", "-i", "20ms", "-w", "500ms", "-l", "20"]
        counts = measured("client", reflector.url, *words, status=3)["exchanges"]
    assert counts == {
        "sent": 10,
        "completed": 9,
        "lost": 1,
        "late": 0,
        "duplicated": 1,
        "reordered": 1,
        "corrupted": 2,
        "in_flight": 0,
        "lost_out": None,
        "lost_back": None,
        "lost_unknown": 1,
        "errors": {"timeout": 1},
    }


def test_reflector_that_copies_nothing() -> None:
    """An older reflector, which sends no payload back but padding, can be measured without a payload."""
    with ReflectorHere(lambda packet: [answer_to(packet, rest=bytes(27))]) as reflector:
        assert measured("client", reflector.url, "-n", "2", "-i", "1ms")["exchanges"]["corrupted"] == 0
        words = ["client", reflector.url, "-n", "2", "-i", "1ms", "-l", "20"]
        assert measured(*words, status=3)["exchanges"]["corrupted"] == 2


class EchoHere(ReflectorHere):
    """An echo service, that sends back whatever comes as it is."""

    def _run(self) -> None:
        while True:
            datagram, peer = self._socket.recvfrom(65_536)
            if not datagram:
                return
            self._socket.sendto(datagram, peer)


ECHOED = (
    b"netecho: what answers is an echo service and no STAMP reflector: our packets come back as they left\n"
)


@pytest.mark.parametrize(
    "words", ["client -n 3", "client -n 3 -l 20", "bench -c 2 -n 10", "bench -q 100 -n 10"]
)
@pytest.mark.parametrize("authenticated", [False, True])
def test_echo_service(words: str, authenticated: bool, key: str) -> None:
    """Our own packets are no answers, and a service that sends them back is none that could be measured."""
    with EchoHere(lambda _: []) as echo:
        command, *others = words.split()
        keyed = ["--hmac-key", key] if authenticated else []
        done = netecho(command, echo.url, *others, *keyed, "--quiet")
        assert done.returncode == 1
        assert done.stderr == ECHOED


def test_conversation_with_an_echo_service() -> None:
    """A conversation in payloads is none either."""
    with EchoHere(lambda _: []) as echo:
        done = netecho("client", echo.url, input=b"hello\n")
        assert done.returncode == 1
        assert done.stdout == b""
        assert b"an echo service and no STAMP reflector" in done.stderr


def test_between_the_sides(tmp_path: pathlib.Path) -> None:
    """Seen from between them, what both sides send is what tshark takes for such packets."""
    frames: list[bytes] = []
    with Server("stamp://127.0.0.1:0", "--stateful") as server, server.listener.connect() as beyond:

        def answers(packet: SenderPacket) -> list[ReflectorPacket]:
            beyond.send(reflector.received[-1])
            datagram = beyond.recv(65_536)
            frames.extend([udp(40_000, 862, reflector.received[-1]), udp(862, 40_000, datagram)])
            return [ReflectorPacket.decode(datagram)]

        with ReflectorHere(answers) as reflector:
            result = measured("client", reflector.url, "-n", "3", "-i", "1ms", "--ttl", "9")
        assert result["exchanges"]["completed"] == 3
    capture = tmp_path / "between.pcap"
    capture.write_bytes(pcap(frames))
    packets = dissect(capture)
    for number in range(3):
        test, answer = packets[2 * number : 2 * number + 2]
        assert test["seq_number"] == answer["seq_number"] == answer["sender_seq_number"] == str(number)
        assert test["timestamp"] == answer["sender_timestamp"]
        assert test["error_estimate"] == answer["sender_error_estimate"]
        assert test["error_estimate_tree"]["error_estimate.z"] == "0"
        assert answer["receive_timestamp"] <= answer["timestamp"]
        assert {test[field] for field in ("receive_timestamp", "sender_timestamp")} == {
            "Jan  1, 1970 00:00:00.000000000 UTC"
        }
        assert (test["padding"], answer["padding"]) == ("00:00:00", "00:00:00")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("serve --hmac-key {key}", "--hmac-key is for reflectors: add --proto stamp"),
        ("serve --stateful", "--stateful is for reflectors: add --proto stamp"),
        ("client -n 1 udp://127.0.0.1:1 --hmac-key {key}", "--hmac-key is for reflectors"),
        ("bench --hmac-key {key}", "--hmac-key is for reflectors"),
        ("serve --proto stamp --port 0 --hmac-key /no/such/file", "--hmac-key /no/such/file: No such file"),
        ("client stamp://127.0.0.1:1 -n 1 --hmac-key {empty}", "the file is empty"),
        ("bench --proto stamp --hmac-key /no/such/file", "--hmac-key /no/such/file: No such file"),
        ("serve --proto stamp --port 0 --reply chargen", "stamp cannot answer with --reply chargen: it"),
        ("serve --proto stamp --tls", "stamp has no form with TLS"),
        ("client stamp://127.0.0.1:1 -n 1 -l 65392", "at most 65,391 bytes, not 65,392"),
    ],
)
def test_usage(words: str, says: str, key: str, tmp_path: pathlib.Path) -> None:
    """What makes no sense is one line, and nothing is sent."""
    (tmp_path / "empty").write_bytes(b"\n")
    done = netecho(*words.format(key=key, empty=tmp_path / "empty").split())
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
