"""What can go wrong, in words for the person at the terminal, and the exit status each kind has.

Every error that reaches the top of the program is a `NetechoError`: `str(error)` is the one line
that the person reads, and `exit_status` is what the process ends with. Anything else is a defect.
"""

from __future__ import annotations

import enum
import os
from typing import ClassVar, Final

DEBUG_VARIABLE: Final = "NETECHO_DEBUG"
"""The environment variable that, when it is 1, has a defect show its traceback, and Twisted log to standard
error."""


def is_debugging() -> bool:
    """Return whether the user has asked for that."""
    return os.environ.get(DEBUG_VARIABLE) == "1"


def reason_of(error: BaseException | None) -> str:
    """Return why the system refused something, as a sentence goes on: `no space left on device`."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"{reason[:1].lower()}{reason[1:]}"


class ExitStatus(enum.IntEnum):
    """How a netecho process ends; the contract with scripts."""

    GOOD = 0
    """It worked."""
    FAILED = 1
    """It did not work: refused, unreachable, timed out, no reply."""
    USAGE = 2
    """The command line, or a file named on it, was wrong: nothing was sent."""
    CORRUPTED = 3
    """A reply differed from what was sent."""
    SLO_MISSED = 99
    """A service level objective was missed."""
    INTERRUPTED = 130
    """Interrupted by the user; results so far were written."""


class NetechoError(Exception):
    """Something went wrong that a person can act on.

    The message is a single line: what failed, and what to do about it.
    """

    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED
    kind: ClassVar[str] = "failed"
    """The word under which failures of this kind are counted in a result."""


class UsageError(NetechoError):
    """What was asked for makes no sense, or a file that it names is not there or not valid."""

    exit_status = ExitStatus.USAGE
    kind = "usage"


class OutputError(NetechoError):
    """A standard stream cannot be written, and not because its reader has gone: its disk is full."""

    kind = "output"

    def __init__(self, error: BaseException | None, name: str = "standard output") -> None:
        super().__init__(f"{name} cannot be written: {reason_of(error)}")


class ListenError(NetechoError):
    """An address could not be listened on: in use, not permitted, or not this machine's."""

    kind = "listen"


class ConnectError(NetechoError):
    """The other end could not be reached."""

    kind = "connect"


class ResolveError(ConnectError):
    """A host name has no address, or none of the family asked for."""

    kind = "unresolved"


class NoPortError(ConnectError):
    """No local port is free for another connection to that address and port."""

    kind = "no local port"


class NoFileError(ConnectError):
    """No more files may be open, in this process or on this system, and a connection is one."""

    kind = "no free file"


class RefusedError(ConnectError):
    """Nothing listens at the other end's port."""

    kind = "refused"


class UnreachableError(ConnectError):
    """There is no way to the other end's network or host."""

    kind = "unreachable"


class ConnectTimeoutError(ConnectError):
    """The other end did not answer in time."""

    kind = "connect timeout"


class TLSError(ConnectError):
    """The TLS handshake failed."""

    kind = "tls"


class CertificateError(TLSError):
    """The other end's certificate does not verify."""

    kind = "certificate"


class LostError(NetechoError):
    """An established connection was lost."""

    kind = "lost"


class NoReplyError(NetechoError):
    """Nothing that was sent came back."""

    kind = "no reply"


class RefusedMessageError(NetechoError):
    """The other end did not take what was sent, and says so."""

    kind = "refused message"


class CorruptedError(NetechoError):
    """What was received differs from what was sent."""

    exit_status = ExitStatus.CORRUPTED
    kind = "corrupted"


class ServerDiedError(NetechoError):
    """The server of our own is not there any more."""

    kind = "server died"


class NoReflectorError(NetechoError):
    """What answers sends back what it gets, and is no reflector of STAMP."""

    kind = "no reflector"


class UserInterruptError(NetechoError):
    """The person at the terminal pressed Ctrl-C."""

    exit_status = ExitStatus.INTERRUPTED
    kind = "interrupted"
