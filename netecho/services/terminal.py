"""Lines that a person types, with editing and history, while other lines are printed above them.

The prompt runs in a thread of its own, since it has an event loop of its own; what is typed comes to the
reactor's thread.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import is_dumb_terminal
from twisted.internet.defer import Deferred

_PATIENCE = 1.0
"""Seconds for the prompt to leave the terminal as it was."""


class Lines(Protocol):
    """Where lines come from. Each of these blocks, and runs in a thread that is not the reactor's."""

    def read(self) -> str | None:
        """Return the next line, without its end; `None` if there are no more."""

    def stop(self) -> None:
        """Have a `read` under way return `None`; called in another thread."""


class PromptedLines:
    """Lines typed at a prompt of prompt_toolkit's, with history.

    Args:
        history: lines typed before.
        tell: called with what a person should know, as a line.
    """

    def __init__(self, history: History, tell: Callable[[str], object]) -> None:
        self._session: PromptSession[str] = PromptSession(history=history, enable_suspend=True)
        self._tell = tell
        self._stopped = False

    def read(self) -> str | None:
        """See `Lines.read`. Ctrl-C clears the line, Ctrl-D on an empty one is the end."""
        while not self._stopped:
            try:
                # Only the main thread can handle signals. Keys come as characters: Ctrl-C too.
                return self._session.prompt("> ", handle_sigint=False, pre_run=self._check)
            except KeyboardInterrupt:
                self._tell("(Ctrl-D ends)")
            except EOFError:
                break
        return None

    def _check(self) -> None:
        if self._stopped:
            self._exit()

    def stop(self) -> None:
        """See `Lines.stop`."""
        self._stopped = True
        loop = self._session.app.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just closed, which is what is wanted
                loop.call_soon_threadsafe(self._exit)

    def _exit(self) -> None:
        if self._session.app.is_running and not self._session.app.is_done:
            self._session.app.exit(exception=EOFError)


class PlainLines:
    """Lines as the terminal itself gives them, for one that can do nothing else (`TERM=dumb`)."""

    def read(self) -> str | None:
        """See `Lines.read`."""
        line = sys.stdin.readline()
        return line.removesuffix("\n") if line else None

    def stop(self) -> None:
        """See `Lines.stop`: nothing can be done, but nothing must be, as the terminal is as it was."""


class Terminal:
    """Hands each line that is typed to the reactor's thread.

    Args:
        reactor: provides `IReactorFromThreads`.
        on_line: called with each line.
        environment: says what kind of terminal it is, and where a person's files are.
    """

    def __init__(
        self, reactor: Any, on_line: Callable[[str], object], environment: Mapping[str, str] = os.environ
    ) -> None:
        self.ended: Deferred[None] = Deferred()
        """Fires when there are no more lines; fails if reading them does."""
        self._reactor = reactor
        self._on_line = on_line
        self._plain = is_dumb_terminal(environment.get("TERM", ""))
        self._lines: Lines = PlainLines() if self._plain else PromptedLines(history(environment), self.show)
        self._thread = threading.Thread(target=self._read, name="terminal", daemon=True)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Take lines meanwhile. However that ends, the terminal is as it was before."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_settings_restored())
            if not self._plain:
                stack.enter_context(patch_stdout())
            self._thread.start()
            try:
                yield
            finally:
                self._lines.stop()
                if not self._plain:
                    self._thread.join(_PATIENCE)

    def show(self, line: str) -> None:
        """Print a line, above the prompt."""
        print(line, flush=True)

    def _read(self) -> None:
        try:
            while (line := self._lines.read()) is not None:
                self._reactor.callFromThread(self._on_line, line)
        except Exception as error:
            self._reactor.callFromThread(self.ended.errback, error)
        else:
            self._reactor.callFromThread(self.ended.callback, None)


def history(environment: Mapping[str, str]) -> History:
    """Return a person's history of lines, which nobody else can read; in memory if it cannot be kept.

    It is in the XDG Base Directory Specification's place for what outlives a run.
    """
    home = environment.get("HOME") or os.path.expanduser("~")
    state = environment.get("XDG_STATE_HOME", "")
    directory = pathlib.Path(state if os.path.isabs(state) else f"{home}/.local/state") / "netecho"
    path = directory / "history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


@contextlib.contextmanager
def _settings_restored() -> Iterator[None]:
    """Set the terminal as it was before, even if the prompt had no time to."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    try:
        before = termios.tcgetattr(0)
    except (termios.error, ValueError):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)
