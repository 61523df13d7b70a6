"""What a server does to its answers on purpose, as a bad network or a bad server would, to test clients with.

An `Impairment` says how much of it, and is part of a plan. `Fates` says what becomes of one answer after the
other: by chance, but the same again for the same seed. That is no measurement, and what is planned rests on
it, so that it is a room of its own below both. As there, no Twisted, no socket and no clock is in it.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import random
from typing import Final

from netecho.errors import UsageError

_FIRST_OF_CHARACTER: Final = 0xC0
"""From here on a byte is the first of several that are one character in UTF-8."""


class Harm(enum.StrEnum):
    """What may be done to answers; each is the flag that asks for it."""

    DELAY = "delay"
    LOSS = "loss"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    CORRUPT = "corrupt"
    TRUNCATE = "truncate"
    """Datagrams become shorter. On a connection only a part is sent, and then that ends."""
    CLOSE_AFTER = "close-after"


OF_DATAGRAMS: Final = frozenset(Harm) - {Harm.CLOSE_AFTER}
"""What may be done where messages are datagrams."""
OF_CONNECTIONS: Final = frozenset({Harm.DELAY, Harm.CORRUPT, Harm.TRUNCATE, Harm.CLOSE_AFTER})
"""What may be done where they are in order on a connection, which loses and doubles nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delay:
    """For how long answers are kept: anywhere between `mean_ns - spread_ns` and `mean_ns + spread_ns`.

    As of tc-netem's `delay TIME JITTER`, whose distribution is this unless it is told another.
    """

    mean_ns: int
    spread_ns: int = 0
    share: float = 1.0
    """Of the answers that are kept at all, drawn one by one; the others leave at once."""

    def __post_init__(self) -> None:
        if self.mean_ns <= 0:
            raise UsageError("a delay is more than 0")
        if not 0 <= self.spread_ns <= self.mean_ns:
            raise UsageError("its spread is at most the delay itself, as in 5ms~5ms: nothing leaves early")
        _check_share("a delay", self.share)


@dataclasses.dataclass(frozen=True, slots=True)
class Impairment:
    """What is done to which share of a server's answers."""

    delay: Delay | None = None
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    truncate: float = 0.0
    close_after: int | None = None
    """A connection ends when so many answers have been given on it."""
    seed: int = 0
    stream: tuple[int, ...] = ()
    """Whose fates these are: the worker's, the listener's. Each has others, by the same seed."""

    def __post_init__(self) -> None:
        for harm in (Harm.LOSS, Harm.DUPLICATE, Harm.REORDER, Harm.CORRUPT, Harm.TRUNCATE):
            _check_share(f"--{harm}", self._share(harm))
        if self.close_after is not None and self.close_after < 1:
            raise UsageError("--close-after must be at least 1")
        if self.seed and not self.harms:
            raise UsageError("--seed is of impairments: add --delay, --loss or another one")

    def _share(self, harm: Harm) -> float:
        return float(getattr(self, harm))

    @property
    def harms(self) -> tuple[Harm, ...]:
        """What is to be done; empty if nothing is."""
        given = {
            Harm.DELAY: self.delay is not None,
            Harm.CLOSE_AFTER: self.close_after is not None,
        }
        return tuple(harm for harm in Harm if (given[harm] if harm in given else self._share(harm) > 0))

    def part(self, index: int) -> Impairment:
        """Return that of a part, as of a worker or a listener: with fates of its own."""
        return dataclasses.replace(self, stream=(*self.stream, index)) if self.harms else self


def _check_share(what: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise UsageError(f"{what} is for a share of the answers: that is between 0% and 100%")


class Fates:
    """Draws what becomes of one answer after the other.

    Whether one kind of harm is done is drawn apart from all others, so that those do not change when it is
    added or taken away.

    Args:
        impairment: how much of it is done.
        number: tells one connection's fates from another's.
    """

    def __init__(self, impairment: Impairment, number: int = 0) -> None:
        self._impairment = impairment
        name = f"{impairment.seed} {impairment.stream} {number}"
        self._chances = {harm: random.Random(f"{name} {harm}") for harm in impairment.harms}  # noqa: S311

    def _happens(self, harm: Harm, share: float) -> bool:
        chance = self._chances.get(harm)
        return chance is not None and chance.random() < share

    def is_lost(self) -> bool:
        """Return whether the next answer is not sent at all."""
        return self._happens(Harm.LOSS, self._impairment.loss)

    def is_doubled(self) -> bool:
        """Return whether the next answer is sent twice."""
        return self._happens(Harm.DUPLICATE, self._impairment.duplicate)

    def is_overtaken(self) -> bool:
        """Return whether the next answer is to be overtaken by the one after it."""
        return self._happens(Harm.REORDER, self._impairment.reorder)

    def delay_ns(self) -> int:
        """Return for how long the next answer is kept."""
        delay = self._impairment.delay
        if delay is None or not self._happens(Harm.DELAY, delay.share):
            return 0
        return delay.mean_ns + round((2 * self._chances[Harm.DELAY].random() - 1) * delay.spread_ns)

    def corrupted(self, payload: bytes) -> bytes | None:
        """Return the next answer with one bit of it changed; `None` if this one is left as it is.

        It is the lowest bit of a byte, and if possible none of which it would make text that is no text:
        whoever receives text is to notice that it is another, not that it is not UTF-8.
        """
        if not self._happens(Harm.CORRUPT, self._impairment.corrupt) or not payload:
            return None
        size = len(payload)
        place = int(self._chances[Harm.CORRUPT].random() * size)
        others = itertools.chain(range(place, size), range(place))
        place = next((index for index in others if payload[index] < _FIRST_OF_CHARACTER), place)
        return payload[:place] + bytes([payload[place] ^ 1]) + payload[place + 1 :]

    def truncated(self, payload: bytes) -> bytes | None:
        """Return the beginning of the next answer, as much as is sent of it; `None` if all is."""
        if not self._happens(Harm.TRUNCATE, self._impairment.truncate) or not payload:
            return None
        return payload[: int(self._chances[Harm.TRUNCATE].random() * len(payload))]
