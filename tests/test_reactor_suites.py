"""Twisted's own tests of reactors, transports and protocols: the fast reactor passes what epoll's passes.

Both reactors are tried in the same run and compared test by test. That some of Twisted's tests fail where
this runs, as root for one, does not matter; that they fail on one reactor and not on the other does.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from tests.servers import ROOT
from tests.twisted_suites import EPOLL, FAST

REACTORS: Final = ["twisted.internet.test"]
"""All of this package: its reactor-parametrised suites, and those around them on the global reactor."""
WAITS: Final = [
    f"twisted.internet.test.test_{name}" for name in ("core", "fdset", "stdio", "threads", "time", "udp")
]
"""Those of them where it matters how the reactor waits."""
TRANSPORTS: Final = [
    "twisted.protocols.test.test_tls",
    "twisted.test.test_internet",
    "twisted.test.test_sip",
    "twisted.test.test_ssl",
    "twisted.test.test_stdio",
    "twisted.test.test_tcp",
    "twisted.test.test_threads",
    "twisted.test.test_udp",
    "twisted.test.test_unix",
    "twisted.web.test",
]
"""What uses the global reactor, and what runs children on one of the same kind."""
SECURE: Final = [
    "twisted.internet.test.test_newtls",
    "twisted.internet.test.test_tls",
    "twisted.protocols.test.test_tls",
    "twisted.test.test_ssl",
]
"""What makes TLS transports, over a reactor's or by itself."""
WITHOUT: Final = ["--without", "twisted.protocols.test.test_tls.TLSMemoryBIOTests.test_errorWriting"]
"""It has a method of pyOpenSSL's fail on an established connection, where ours calls OpenSSL itself."""
RERUNS: Final = 2
"""Times that the modules of tests that differed are run again, in fresh processes."""
DEADLINE: Final = 300.0
"""Seconds after which suites are over that hang where trial's own timeouts do not help."""
SHOWN: Final = 20
"""Differences that are shown in full."""

Outcome = tuple[str, ...]
"""All that came of one test, in trial's words: two errors, for one that failed and could not clean up."""


@dataclasses.dataclass
class Report:
    """What came of suites on one kind of reactor, with trial's own account of what went wrong."""

    reactor: str
    outcomes: dict[str, Outcome]
    details: dict[str, str]

    def passed(self, part: str = "") -> int:
        """Return how many tests passed, of those whose name has `part` in it."""
        return sum(part in test and outcome == ("success",) for test, outcome in self.outcomes.items())


class Run:
    """Suites under way on one kind of reactor, which a `with` block ends."""

    def __init__(self, kind: str, suites: Sequence[str]) -> None:
        self._suites = suites
        # Its name is short, as that of a socket is at most 107 bytes and trial's own take most of them.
        self._directory = tempfile.TemporaryDirectory(prefix="trial", ignore_cleanup_errors=True)
        self._written = pathlib.Path(self._directory.name, "outcomes")
        self._said = pathlib.Path(self._directory.name, "said")
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.twisted_suites", kind, str(self._written), *suites],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # processes that its tests have left, too
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._directory.cleanup()

    def report(self) -> Report:
        """Wait until the suites are over, and return what came of them."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DEADLINE)
        lines = self._written.read_text().splitlines() if self._written.exists() else []
        assert self._process.poll() == 0, (
            f"{self._suites} did not end well: status {self._process.returncode}\n"
            f"last: {lines[-1:]}\n{self._said.read_text(errors='replace')[-4000:]}"
        )
        first, *entries = map(json.loads, lines)
        outcomes: dict[str, Outcome] = {}
        details: dict[str, str] = collections.defaultdict(str)
        for entry in entries:
            test = entry["test"]
            outcomes.setdefault(test, ())
            if "outcome" in entry:
                outcomes[test] += (entry["outcome"],)
                details[test] += entry["detail"]
        return Report(first["reactor"], outcomes, details)


def run(kind: str, suites: Sequence[str]) -> tuple[Report, Report]:
    """Run suites on both reactors at the same time; return what came of them on epoll's, and on ours."""
    with Run("epoll", suites) as epoll, Run(kind, suites) as fast:
        return epoll.report(), fast.report()


def differ(epoll: Report, fast: Report) -> list[str]:
    """Return the tests of which not the same came."""
    tests = sorted({*epoll.outcomes, *fast.outcomes})
    return [test for test in tests if epoll.outcomes.get(test, ()) != fast.outcomes.get(test, ())]


def is_settled(epoll: Sequence[Outcome], fast: Sequence[Outcome]) -> bool:
    """Return whether it was by chance that a test gave different things in the first of several runs.

    Args:
        epoll: what came of it on epoll's reactor, in each run.
        fast: the same on ours. In the runs after the first it must have given what epoll's gave most
            often, and nothing that epoll's never gave.
    """
    [(usual, _)] = collections.Counter(epoll).most_common(1)
    return usual in fast[1:] and set(fast[1:]) <= set(epoll)


def module_of(test: str) -> str:
    """Return the module that a test is in, by its name."""
    found = re.match(r"(?:\w+\.)*?test_\w+", test)
    assert found, test
    return found.group()


def differences(kind: str, epoll: Report, fast: Report) -> Iterator[str]:
    """Run again what differed, and say how it differs where that was not by chance."""
    suspects = differ(epoll, fast)
    if not suspects:
        return
    modules = sorted({module_of(test) for test in suspects})
    # Whole modules, as what one test leaves behind may be what makes another fail.
    runs = [(epoll, fast), *(run(kind, modules) for _ in range(RERUNS))]
    for test in suspects:
        on_epoll = [report.outcomes.get(test, ()) for report, _ in runs]
        on_fast = [report.outcomes.get(test, ()) for _, report in runs]
        account = f"{test}\n  epoll: {on_epoll}\n  fast:  {on_fast}"
        if is_settled(on_epoll, on_fast):
            warnings.warn(f"differed once, and not again: {account}", stacklevel=1)
        else:
            yield f"{account}\n{fast.details.get(test, '')[-2000:]}"


SUCCESS, ERROR, SKIP = ("success",), ("error",), ("skip: no such thing",)


@pytest.mark.parametrize(
    ("epoll", "fast", "settled"),
    [
        ([SUCCESS] * 3, [ERROR, SUCCESS, SUCCESS], True),  # by chance, on ours for once
        ([ERROR, SUCCESS, SUCCESS], [SUCCESS] * 3, True),  # by chance, on epoll's for once
        ([ERROR, SUCCESS, SUCCESS], [SUCCESS, SUCCESS, ERROR], True),  # by chance on both
        ([SUCCESS] * 3, [ERROR] * 3, False),
        ([SUCCESS] * 3, [SKIP] * 3, False),
        ([SUCCESS] * 3, [()] * 3, False),  # not run at all
        ([SUCCESS] * 3, [ERROR, SUCCESS, ERROR], False),
        ([ERROR] * 3, [SUCCESS] * 3, False),
        ([SUCCESS, ERROR, SUCCESS], [ERROR] * 3, False),  # what epoll's gives by chance is not enough
    ],
)
def test_only_chance_is_excused(epoll: list[Outcome], fast: list[Outcome], settled: bool) -> None:
    """A test may fail for once on either reactor; again on ours, but not on epoll's, it is a difference."""
    assert is_settled(epoll, fast) is settled


@pytest.mark.parametrize(
    ("kind", "suites", "passes"),
    [
        # How many must pass at least, by a part of their names: to compare is nothing if nothing runs.
        pytest.param(
            "fast",
            REACTORS,
            {
                "": 800,
                "_EPollReactorTests.": 250,
                ".test_core.": 12,
                ".test_endpoints.": 200,
                ".test_fdset.": 8,
                ".test_process.": 40,
                ".test_socket.": 6,
                ".test_stdio.": 6,
                ".test_tcp.": 110,
                ".test_threads.": 8,
                ".test_time.": 2,
                ".test_tls.": 20,
                ".test_udp.": 30,
                ".test_unix.": 30,
            },
            id="reactors",
        ),
        pytest.param(
            "fast",
            TRANSPORTS,
            {
                "": 1500,
                "twisted.protocols.test.test_tls.": 45,
                "twisted.test.test_internet.": 60,
                "twisted.test.test_sip.": 45,
                "twisted.test.test_ssl.": 14,
                "twisted.test.test_stdio.": 10,
                "twisted.test.test_tcp.": 30,
                "twisted.test.test_threads.": 14,
                "twisted.test.test_udp.": 20,
                "twisted.test.test_unix.": 8,
                "twisted.web.test.test_http.": 200,
                "twisted.web.test.test_http2.": 55,
                "twisted.web.test.test_websocket.": 10,
            },
            id="transports",
        ),
        pytest.param(
            "fast-busy",
            WAITS,
            {
                "": 60,
                ".test_core.": 12,
                ".test_fdset.": 8,
                ".test_threads.": 8,
                ".test_time.": 2,
                ".test_udp.": 30,
            },
            id="waits",
        ),
        pytest.param(
            "fast-tls",
            [*SECURE, *WITHOUT],
            {
                "": 80,
                "twisted.internet.test.test_tls.": 20,
                "twisted.protocols.test.test_tls.": 45,
                "twisted.test.test_ssl.": 14,
            },
            id="secure",
        ),
    ],
)
def test_the_same_comes_of_each_test(kind: str, suites: list[str], passes: dict[str, int]) -> None:
    """Nothing fails on the fast reactor, or is skipped, that does not on epoll's, nor the other way round."""
    epoll, fast = run(kind, suites)
    assert (epoll.reactor, fast.reactor) == (EPOLL, FAST)
    unloaded = [epoll.details[test] for test in epoll.outcomes if test == module_of(test)]
    assert not unloaded, "\n\n".join(unloaded)
    found = list(differences(kind, epoll, fast))
    assert not found, "\n\n".join([f"{len(found)} tests differ", *found[:SHOWN]])
    for part, least in passes.items():
        for report in (epoll, fast):
            assert report.passed(part) >= least, f"{part} on {report.reactor}"
