"""What is going to be done, decided in full before anything is done.

A plan is a frozen dataclass: a command turns its flags into one, checks it once, and hands it to a
service. Everything that a result needs to say about how it was made is in its `to_json`. Times are
integers of nanoseconds, sizes are bytes, rates are per second. A plan that makes no sense raises
`UsageError` when it is made.
"""

from netecho.plans.listening import ListenPlan
from netecho.plans.load import MAX_IN_FLIGHT, BenchPlan, Portion, Stage, share
from netecho.plans.messages import DEFAULT_SIZE, MailPlan, MultiplexPlan, ProxyPlan, RequestPlan
from netecho.plans.network import ClientTLS, ServerTLS, SocketOptions
from netecho.plans.talking import ProbePlan, TalkPlan
from netecho.plans.targets import DEFAULT_PORT, LOOPBACK, Location, Target
from netecho.plans.words import (
    MILLISECOND,
    SECOND,
    Arrival,
    Family,
    Mode,
    ReactorName,
    ReplyMode,
    Timer,
    TLSVersion,
    Verify,
)

__all__ = [
    "DEFAULT_PORT",
    "DEFAULT_SIZE",
    "LOOPBACK",
    "MAX_IN_FLIGHT",
    "MILLISECOND",
    "SECOND",
    "Arrival",
    "BenchPlan",
    "ClientTLS",
    "Family",
    "ListenPlan",
    "Location",
    "MailPlan",
    "Mode",
    "MultiplexPlan",
    "Portion",
    "ProbePlan",
    "ProxyPlan",
    "ReactorName",
    "ReplyMode",
    "RequestPlan",
    "ServerTLS",
    "SocketOptions",
    "Stage",
    "TLSVersion",
    "TalkPlan",
    "Target",
    "Timer",
    "Verify",
    "share",
]
