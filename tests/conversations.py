"""Conversations in steps: what a script of them promises, and what becomes of it on a reactor.

A script is a list of steps that two protocols at the ends of one connection take, in turn with the
reactor. What it promises is worked out from the script alone: how much of what an end writes must arrive,
and whether the connection ends in order. To abort promises nothing but that what arrives is in order; nor
does to close while the peer has written something that may not have been read, as the system resets such
a connection, with whatever it still had to deliver. All else must come about on any reactor.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st
from twisted.internet.interfaces import IHandshakeListener, IPullProducer, IPushProducer
from zope.interface import implementer

from tests.pairs import HalfRecorder, Link, Listening
from tests.reactors import fresh

CLIENT, SERVER = 0, 1
Step = tuple[str, int, Any]
"""What is done, by which end, and how much of it."""
SMALL_BUFFERS: Final = (4096, 16384)
"""Bytes of the system's buffers that have much to be sent in parts. More for receiving than for sending is
for TCP, which waits for a fifth of a second to see whether a segment can be filled."""
PATIENCE: Final = 300
"""Turns of ten milliseconds without any event after which nothing more can happen."""
FULL: Final = 65_536
"""A write of more than so many bytes pauses a producer."""
_STREAMS: Final = [random.Random(end).randbytes(1_000_003) * 12 for end in (CLIENT, SERVER)]  # noqa: S311
"""What each end writes, from the beginning."""
_MOST: Final = 9_000_000
"""Bytes after which an end writes no more."""

ends = st.sampled_from([CLIENT, SERVER])
sizes = st.one_of(
    st.integers(0, 10), st.integers(0, 100_000), st.sampled_from([FULL, FULL + 1, 1_000_000, 3_000_000])
)
traffic: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("turn"), ends, st.integers(1, 4)),
    st.tuples(st.just("write"), ends, sizes),
    st.tuples(st.just("sequence"), ends, st.lists(sizes, max_size=4)),
    st.tuples(st.just("question"), ends, st.tuples(sizes.filter(bool), sizes)),
    st.tuples(st.just("pause"), ends, st.none()),
    st.tuples(st.just("resume"), ends, st.none()),
    st.tuples(st.just("settle"), ends, st.none()),
    st.tuples(st.just("pull"), ends, st.lists(sizes, max_size=4)),
    st.tuples(st.just("push"), ends, st.lists(sizes, max_size=4)),
    st.tuples(st.just("unregister"), ends, st.none()),
)
"""Turns of the reactor; writes of one size or of several; a question, of one size, that the other end answers
with another while it receives; reading paused and resumed; waiting for all that is promised; producers that
are asked for pieces of these sizes, or write them at once and are told to pause."""
closing: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["half-close", "half-close", "close", "abort"]), ends, st.none()
)
scripts = st.tuples(
    *[st.lists(traffic, max_size=8)] * 2,
    *[st.lists(closing, max_size=1), st.lists(traffic, max_size=3)] * 3,
).map(lambda parts: [step for part in parts for step in part])


@dataclasses.dataclass
class Promise:
    """What a script promises of one end.

    Attributes:
        kept: bytes that it writes and that must arrive, if the conversation is in order.
        written: bytes that it writes, and that may.
        answering: bytes of `kept` that it writes when it receives what is on its way to it.
        outstanding: whether it writes something, or the end of it, that may not have been read yet.
        producer: the kind that is registered.
    """

    kept: int = 0
    written: int = 0
    answering: int = 0
    outstanding: bool = False
    producer: str | None = None
    half_closed: bool = False
    closed: bool = False
    aborted: bool = False

    @property
    def may_write(self) -> bool:
        """Whether what it writes from now on must arrive."""
        return not (self.half_closed or self.closed or self.aborted)

    def write(self, size: int) -> None:
        """Note that so many bytes are written."""
        self.written += size
        self.outstanding |= size > 0
        if self.may_write:
            self.kept += size

    def stop_writing(self) -> None:
        """Take back the promise of answers, which may come too late from now on."""
        if self.may_write:
            self.kept -= self.answering


class Promises:
    """What a script promises, as far as it has been read.

    Attributes:
        in_order: whether all that is promised must arrive, and the connection end as it should.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._settled = False
        self.ends = (Promise(), Promise())
        self.in_order = True

    def allow(self, step: Step) -> bool:
        """Return whether a program that keeps to the rules would take a step now."""
        what, end, amount = step
        mine, theirs = self.ends[end], self.ends[1 - end]
        if mine.written + theirs.written + _total(amount) > _MOST:
            return False
        if what in ("turn", "settle"):
            return True
        if mine.aborted and self._link.is_secure:  # Twisted's TLS is lost then, and raises whatever it meets
            return False
        if what in ("push", "pull"):
            return mine.producer is None and mine.may_write
        if what == "unregister":
            return mine.producer == "push"  # a pull producer does it, when it has no more
        if what == "question":
            return mine.may_write
        if what == "half-close":  # once, and with no producer, for which Twisted may forget it
            return self._link.half_closes and mine.may_write and mine.producer is None and self._shaken_hands
        if what == "close":  # not with a pull producer, whose last piece is lost in Twisted's TLS
            return self._shaken_hands and not (mine.producer == "pull" and self._link.is_secure)
        return True

    @property
    def _shaken_hands(self) -> bool:
        """Whether to close cannot mean to abort, as it does before the end of a TLS handshake."""
        return self._settled or not self._link.is_secure

    def take(self, step: Step) -> None:
        """Read one step more."""
        what, end, amount = step
        mine, theirs = self.ends[end], self.ends[1 - end]
        if what in ("write", "sequence", "pull", "push"):
            mine.write(_total(amount))
        elif what == "question":
            question, answer = amount
            mine.write(question)
            theirs.write(answer)
            theirs.answering += answer if theirs.may_write else 0
        if what in ("push", "pull", "unregister"):
            mine.producer = None if what == "unregister" else what
        elif what in ("half-close", "close"):
            mine.stop_writing()
            mine.half_closed |= what == "half-close"
            mine.outstanding |= what == "half-close"
            mine.closed |= what == "close"
        elif what == "abort":
            mine.aborted = True
        elif what == "settle" and self.in_order:
            self._settled = True
            for promise in self.ends:
                promise.answering = 0
                promise.outstanding = promise.written > promise.kept
        if what == "close" and mine.half_closed and self._link.is_secure:
            self.in_order = False  # it does not wait for the other's close_notify, nor need that wait for it
        # A system resets a connection that is closed with something unread, or told more when it is closed.
        self.in_order &= what != "abort" and not any(
            reader.closed and writer.outstanding for reader, writer in ((mine, theirs), (theirs, mine))
        )


def _total(amount: Any) -> int:
    return sum(amount) if isinstance(amount, list | tuple) else amount or 0


@implementer(IHandshakeListener)
class Talker(HalfRecorder):
    """One end: writes the next bytes of its stream, and answers questions."""

    def __init__(self, end: int, link: Link) -> None:
        super().__init__()
        self._stream = memoryview(_STREAMS[end])
        self._answers: list[int] = []
        self.written = 0
        self.shaken_hands = not link.is_secure
        self.producers: list[Push | Pull] = []

    def handshakeCompleted(self) -> None:
        """Note it."""
        self.shaken_hands = True

    def dataReceived(self, data: bytes) -> None:
        """Record it, and answer what has been asked."""
        super().dataReceived(data)
        answers, self._answers = self._answers, []
        for size in answers:
            self.transport.write(self.next(size))

    def next(self, size: int) -> bytes:
        """Return the next bytes of the stream, as written."""
        self.written += size
        return bytes(self._stream[self.written - size : self.written])

    def answer(self, size: int) -> None:
        """Write so much when the next data comes."""
        self._answers.append(size)

    @property
    def at_rest(self) -> bool:
        """Whether its producers have nothing more to do."""
        return all(producer.at_rest for producer in self.producers)

    def has_ended(self, *, reading: bool = False) -> bool:
        """Return whether it has been told of the end, or of the end of what it reads at least."""
        return self.reason is not None or (reading and "read closed" in self.told)


@implementer(IPushProducer)
class Push:
    """A push producer that has nothing to give but what its end writes anyway."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @property
    def at_rest(self) -> bool:
        """Whether it is not paused."""
        return self.told[-1:] != ["pause"]

    def pauseProducing(self) -> None:
        """Record it."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Record it."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """Record it."""
        self.told.append("stop")


@implementer(IPullProducer)
class Pull:
    """A pull producer that gives a piece when it is asked, and unregisters itself when it has no more."""

    def __init__(self, talker: Talker, pieces: Sequence[int]) -> None:
        self._talker = talker
        self._pieces = [size for size in pieces if size]  # it would not be asked again after an empty one
        self.at_rest = False

    def resumeProducing(self) -> None:
        """Write the next piece."""
        if self._pieces:
            self._talker.transport.write(self._talker.next(self._pieces.pop(0)))
        else:
            self._talker.transport.unregisterProducer()
            self.at_rest = True

    def stopProducing(self) -> None:
        """Give no more."""
        self.at_rest = True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one end.

    Attributes:
        told: what the protocol was told, each thing once.
        pauses: for each large write with a push producer, whether that was told to pause before it returned.
    """

    received: int
    told: tuple[str, ...]
    reason: str
    pauses: tuple[bool, ...]


class Conversation:
    """A script that is being followed on a reactor.

    Args:
        buffers: the system's, as `Listening` has them.
    """

    def __init__(self, reactor: Any, link: Link, buffers: tuple[int, int] | None) -> None:
        self._reactor = reactor
        self._link = link
        self.promises = Promises(link)
        self.talkers = (Talker(CLIENT, link), Talker(SERVER, link))
        self._pauses: tuple[list[bool], list[bool]] = ([], [])
        self._pushes: list[Push | None] = [None, None]
        Listening(reactor, link, buffers).connect(*self.talkers)

    def follow(self, script: Sequence[Step]) -> tuple[Outcome, Outcome]:
        """Take all steps that are allowed, then end the conversation; return what became of each end."""
        for step in script:
            if self.promises.allow(step):
                self.promises.take(step)
                self._take(step)
                self._check()
        self._end()
        self._check()
        client, server = (self._outcome(end) for end in (CLIENT, SERVER))
        return client, server

    def _take(self, step: Step) -> None:
        what, end, amount = step
        talker = self.talkers[end]
        if what == "turn":
            for _ in range(amount):
                self._reactor.iterate(0)
        elif what == "settle":
            self._settle()
        elif not talker.has_ended():
            getattr(self, "_" + what.replace("-", "_"))(end, talker, amount)

    def _write(self, end: int, talker: Talker, size: int) -> None:
        push = self._pushes[end]
        before = len(push.told) if push is not None else 0
        talker.transport.write(talker.next(size))
        if push is not None and size > FULL and not self._link.is_secure:  # TLS writes record by record
            self._pauses[end].append("pause" in push.told[before:])

    def _sequence(self, end: int, talker: Talker, sizes: list[int]) -> None:
        talker.transport.writeSequence([talker.next(size) for size in sizes])

    def _question(self, end: int, talker: Talker, amount: tuple[int, int]) -> None:
        question, answer = amount
        self.talkers[1 - end].answer(answer)
        talker.transport.write(talker.next(question))

    def _pause(self, end: int, talker: Talker, _: None) -> None:
        talker.transport.pauseProducing()

    def _resume(self, end: int, talker: Talker, _: None) -> None:
        talker.transport.resumeProducing()

    def _push(self, end: int, talker: Talker, sizes: list[int]) -> None:
        self._pushes[end] = push = Push()
        talker.producers.append(push)
        talker.transport.registerProducer(push, True)
        for size in sizes:
            self._write(end, talker, size)

    def _pull(self, end: int, talker: Talker, pieces: list[int]) -> None:
        pull = Pull(talker, pieces)
        talker.producers.append(pull)
        talker.transport.registerProducer(pull, False)

    def _unregister(self, end: int, talker: Talker, _: None) -> None:
        if (push := self._pushes[end]) is not None:
            talker.producers.remove(push)
            talker.transport.unregisterProducer()
            self._pushes[end] = None

    def _half_close(self, end: int, talker: Talker, _: None) -> None:
        talker.transport.loseWriteConnection()

    def _close(self, end: int, talker: Talker, _: None) -> None:
        talker.transport.loseConnection()

    def _abort(self, end: int, talker: Talker, _: None) -> None:
        talker.transport.abortConnection()

    def _settle(self) -> None:
        """Have both ends read on, and wait until all that is promised has come about."""
        for talker in self.talkers:
            if not talker.has_ended():
                talker.transport.resumeProducing()
        if self.promises.in_order:
            self._wait(self._is_settled)
            for _ in range(4):  # for what the ends are not told of, as the tickets of TLS
                self._reactor.iterate(0)

    def _is_settled(self) -> bool:
        return all(
            talker.shaken_hands
            and len(self.talkers[1 - end].received) >= self.promises.ends[end].kept
            and (talker.at_rest or talker.has_ended())
            and (not self.promises.ends[end].half_closed or self._is_told(end))
            for end, talker in enumerate(self.talkers)
        )

    def _is_told(self, end: int) -> bool:
        """Return whether the other end has been told that this one writes no more, if it still listens."""
        return self.promises.ends[1 - end].closed or self.talkers[1 - end].has_ended(reading=True)

    def _end(self) -> None:
        """Let producers go, wait for what is promised, and close what is not closed."""
        client, server = self.talkers
        for end, talker in enumerate(self.talkers):
            if not talker.has_ended():
                self._unregister(end, talker, None)
        self._settle()
        if not self.promises.in_order:
            for talker in self.talkers:
                if not talker.has_ended():
                    talker.transport.abortConnection()
        else:
            for end, promise in enumerate(self.promises.ends):
                if not promise.may_write:
                    self._wait(functools.partial(self._is_told, end))
            first, second = (server, client) if self.promises.ends[CLIENT].half_closed else (client, server)
            first.transport.loseConnection()
            self._wait(lambda: second.has_ended(reading=True))
            second.transport.loseConnection()
        self._wait(lambda: client.has_ended() and server.has_ended())

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Turn the reactor until something is so.

        Raises:
            AssertionError: nothing happens any more, and it is not.
        """
        idle, before = 0, None
        while not condition():
            self._reactor.iterate(0 if self._reactor.timeout() == 0 else 0.01)
            now = [(len(talker.received), len(talker.told), talker.written) for talker in self.talkers]
            idle = idle + 1 if now == before else 0
            before = now
            assert idle < PATIENCE, f"{now} of {self.promises.ends}"

    def _check(self) -> None:
        """Whatever happens, what has arrived is what was written, from the beginning on."""
        for end, talker in enumerate(self.talkers):
            received = self.talkers[1 - end].received
            assert len(received) <= talker.written <= self.promises.ends[end].written
            assert received == memoryview(_STREAMS[end])[: len(received)]

    def _outcome(self, end: int) -> Outcome:
        talker = self.talkers[end]
        assert talker.told[0] == "made"
        assert talker.told[-1] == "lost"
        assert talker.told.count("lost") == 1
        return Outcome(
            received=len(talker.received),
            told=tuple(dict.fromkeys(talker.told)),
            reason=talker.lost.__name__ if talker.lost is not None else "",
            pauses=tuple(self._pauses[end]),
        )


def converse(
    kind: str, link: Link, script: Sequence[Step], buffers: tuple[int, int] | None
) -> tuple[Promises, tuple[Outcome, Outcome]]:
    """Follow a script on a new reactor; return what was promised, and what became of each end."""
    with fresh(kind) as reactor:
        conversation = Conversation(reactor, link, buffers)
        return conversation.promises, conversation.follow(script)
