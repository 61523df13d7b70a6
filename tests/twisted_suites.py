"""Twisted's own test suites, run by trial with one kind of reactor throughout, in a process of their own.

    python -m tests.twisted_suites epoll|fast|fast-busy|fast-tls FILE SUITE... [--without TEST]...

A process has one global reactor for good, and Twisted makes a test case for each kind of reactor when its
reactor-parametrised suites are imported; so both are set first. What comes of each test is written to FILE,
as it comes: a line of JSON when a test begins, and one for each outcome.

`fast-busy` is the fast reactor as `netecho serve` has it, which waits awake for a moment. `fast-tls` is the
fast reactor with its TLS transport wherever Twisted would make one of its own: there are more tests of that
over other transports, made by hand, than there are over a reactor's.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pathlib
from typing import IO, Any, Final

from twisted.python import reflect
from twisted.python.failure import Failure
from twisted.trial import reporter, runner, util

EPOLL: Final = "twisted.internet.epollreactor.EPollReactor"
FAST: Final = "netecho.reactor.fast.FastReactor"
HANGS: Final = 15.0
"""Seconds after which a test has failed that waits for what does not come; the slowest of them takes one."""
BUSY_POLL: Final = 50e-6
"""Seconds for which `fast-busy` waits awake."""
TOGETHER: Final = 25
"""Tests whose garbage is collected together, before the next one. Many leave sockets and loops unclosed: in
which test Python finds that out would be left to chance, and some of them count the warnings."""


class Outcomes(reporter.TestResult):
    """Writes down what trial tells it, each thing under the same name whatever the reactor."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._file = file
        self._begun = 0

    def write(self, **entry: str) -> None:
        """Write one line, at once: what comes next may end the process."""
        line = json.dumps(entry).replace(FAST, EPOLL).replace("_FastReactorTests", "_EPollReactorTests")
        self._file.write(line + "\n")
        self._file.flush()

    def _ended(self, test: Any, outcome: str, detail: Any = "") -> None:
        failure = Failure(detail[1], detail[0], detail[2]) if isinstance(detail, tuple) else detail
        text = failure.getTraceback() if isinstance(failure, Failure) else str(detail)
        self.write(test=test.id(), outcome=outcome, detail=text)

    def startTest(self, test: Any) -> None:
        """See `unittest.TestResult`, as for all below."""
        if self._begun % TOGETHER == 0:
            gc.collect()
        self._begun += 1
        self.write(test=test.id())

    def stopTest(self, test: Any) -> None:
        """Nothing: it has had its outcomes."""

    def addSuccess(self, test: Any) -> None:
        """Write it."""
        self._ended(test, "success")

    def addError(self, test: Any, error: Any) -> None:
        """Write it."""
        self._ended(test, "error", error)

    def addFailure(self, test: Any, fail: Any) -> None:
        """Write it."""
        self._ended(test, "failure", fail)

    def addSkip(self, test: Any, reason: Any) -> None:
        """Write it, and why."""
        self._ended(test, f"skip: {reason}")

    def addExpectedFailure(self, test: Any, error: Any, todo: Any = None) -> None:
        """Write it."""
        self._ended(test, "expected failure", error)

    def addUnexpectedSuccess(self, test: Any, todo: Any = None) -> None:
        """Write it."""
        self._ended(test, "unexpected success")


def install(kind: str) -> Any:
    """Have reactors of one kind only in this process, and return the global one."""
    if kind == "epoll":
        from twisted.internet import epollreactor

        epollreactor.install()
    else:
        from netecho.reactor import install as install_fast

        # Twisted's tests know by the name of a reactor's class what no epoll can do, and skip it:
        # to notice that a descriptor was closed and is another's now.
        fast = type(install_fast())
        fast.__name__ = "EPollReactor"
        if kind == "fast-busy":
            fast.__init__.__defaults__ = (BUSY_POLL,)
    if kind == "fast-tls":
        from twisted.protocols.tls import TLSMemoryBIOFactory

        from netecho.reactor.tls import DirectTLSTransport

        TLSMemoryBIOFactory.protocol = DirectTLSTransport
    from twisted.internet import reactor

    util.DEFAULT_TIMEOUT_DURATION = HANGS
    from twisted.internet.test.reactormixins import ReactorBuilder

    ReactorBuilder._reactors = [EPOLL if kind == "epoll" else FAST]
    return reactor


def main() -> None:
    """Run the suites that the command line names."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("kind", choices=["epoll", "fast", "fast-busy", "fast-tls"])
    arguments.add_argument("file", type=pathlib.Path)
    arguments.add_argument("suites", nargs="+")
    arguments.add_argument("--without", action="append", default=[])
    given = arguments.parse_args()
    gc.disable()
    with given.file.open("x") as file:
        reactor = type(install(given.kind))
        json.dump({"reactor": f"{reactor.__module__}.{reactor.__qualname__}"}, file)
        file.write("\n")
        for test in given.without:
            case, _, method = test.rpartition(".")
            delattr(reflect.namedAny(case), method)
        os.chdir(given.file.parent)
        outcomes: Any = Outcomes(file)
        suites = runner.TestLoader().loadByNames(given.suites)
        gc.freeze()  # or each collection would go through all of these modules: a quarter of the time
        runner.TrialRunner(lambda *_: outcomes).run(suites)


if __name__ == "__main__":
    main()
