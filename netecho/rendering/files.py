"""Where results are saved. That a file can be written is found out before a run, not after it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from typing import IO, Any

from netecho.errors import NetechoError, UsageError, reason_of
from netecho.measure.comparison import Comparison
from netecho.measure.summary import Summary
from netecho.rendering.machine import (
    comparison_to_csv,
    comparison_to_json_text,
    to_csv,
    to_json_lines,
    to_json_text,
)
from netecho.rendering.streams import write_out

_STANDARD_OUTPUT = "-"
_DEVICES = ("/dev/", "/proc/")


class ResultFile:
    """A file named on the command line, which a result is going to be written to.

    An old file is left whole until the new one is complete: that is written beside it and takes its
    place at once. What cannot be replaced so (a device, a named pipe, the file that standard output
    leads to already) is written to directly. `-` is standard output.

    Args:
        path: as it was given.
        flag: what it was given to, for messages.
        stdout: what `-` stands for; `None` if it was closed from the start.

    Raises:
        UsageError: it cannot be written.
    """

    def __init__(self, path: str, flag: str, stdout: IO[str] | None) -> None:
        self._path = path
        self._flag = flag
        self._stdout = stdout
        self.is_stdout = path == _STANDARD_OUTPUT or _is_same_file(path, stdout)
        """It is where text would go."""
        if self.is_stdout:
            return
        try:
            self._target = self._check()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise UsageError(self._complaint(error)) from None

    def _check(self) -> str | None:
        """Return the file to replace, links followed; `None` if it is to be written to directly."""
        path = self._path
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            if not os.path.basename(path):  # as an unset variable leaves it, or a directory that is not there
                raise OSError(0, "it names no file") from None
            mode = stat.S_IFREG
        else:
            if stat.S_ISDIR(mode) or stat.S_ISSOCK(mode):
                raise OSError(0, "it is a directory" if stat.S_ISDIR(mode) else "it is a socket")
            if not os.access(path, os.W_OK):
                raise PermissionError(0, "permission denied")
        if not stat.S_ISREG(mode) or path.startswith(_DEVICES):
            return None
        target = os.path.realpath(path)
        descriptor, temporary = _create_beside(target)
        os.close(descriptor)
        os.unlink(temporary)
        return target

    def write(self, text: str) -> bool:
        """Write the whole of the file; return whether anybody was there to read it, if it is a pipe.

        Raises:
            NetechoError: it could not be written after all. An old file is as it was.
        """
        if self.is_stdout:
            return write_out(text, self._stdout)
        try:
            if self._target is None:
                with open(self._path, "wb") as device:
                    device.write(text.encode("utf-8", "backslashreplace"))
            else:
                _replace(self._target, text.encode("utf-8", "backslashreplace")).close()
        except BrokenPipeError:
            return False
        except OSError as error:
            raise NetechoError(self._complaint(error)) from None
        return True

    def _complaint(self, error: OSError | ValueError) -> str:
        return f"{self._flag} {self._path!r} cannot be written: {reason_of(error)}"


class GrowingFile(ResultFile):
    """A file named on the command line that text is added to while a run goes on.

    An old file is left whole until there is something to take its place. From then on the new one is
    there to be read, and followed, with all that has been added.
    """

    _file: IO[bytes] | None = None

    def _check(self) -> str | None:
        """Likewise; and open a pipe now, as to wait in mid-run for somebody to read it would hold that up."""
        target = super()._check()
        if target is None and stat.S_ISFIFO(os.stat(self._path).st_mode):
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                raise OSError(0, "nobody reads the pipe: start what does first") from None
            self._file = os.fdopen(descriptor, "wb")
        return target

    def write(self, text: str) -> bool:
        """Add to the file; return whether anybody was there to read it, if it is a pipe.

        Raises:
            NetechoError: it could not be written after all.
        """
        if self.is_stdout:
            return write_out(text, self._stdout)
        content = text.encode("utf-8", "backslashreplace")
        try:
            if self._file is None and self._target is not None:
                self._file = _replace(self._target, content)
            else:
                self._file = self._file or open(self._path, "wb")  # noqa: SIM115  # `close` does
                self._file.write(content)
                self._file.flush()
        except BrokenPipeError:
            return False
        except BlockingIOError:
            raise NetechoError(self._complaint(OSError(0, "who reads the pipe is too far behind"))) from None
        except OSError as error:
            raise NetechoError(self._complaint(error)) from None
        return True

    def close(self) -> None:
        """Add nothing more."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # as has been said, when it was added to
                file.close()


def _is_same_file(path: str, stream: IO[str] | None) -> bool:
    """Return whether a stream leads to the regular file at `path`, as `--json out >out` has it."""
    if stream is None:
        return False
    try:
        theirs = os.fstat(stream.fileno())
        return stat.S_ISREG(theirs.st_mode) and os.path.samestat(os.stat(path), theirs)
    except (OSError, ValueError):  # streams in memory have no descriptor
        return False


def _create_beside(target: str) -> tuple[int, str]:
    """Create a new file in the directory of `target`; return its descriptor and its path."""
    temporary = os.path.join(os.path.dirname(target), f".netecho-{secrets.token_hex(6)}.tmp")
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), temporary


def _replace(target: str, content: bytes) -> IO[bytes]:
    """Put a new file in the place of an old one, at once; return it, open, with all of `content` in it."""
    descriptor, temporary = _create_beside(target)
    file = os.fdopen(descriptor, "wb")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        # Ctrl-C may come in here too.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        with contextlib.suppress(OSError):
            file.close()
        raise
    return file


@dataclasses.dataclass(frozen=True)
class SavedForms:
    """The files that `--json`, `--csv` and `--hdr-log` name, any of which may be absent."""

    json: ResultFile | None
    csv: ResultFile | None
    log: GrowingFile | None = None

    @classmethod
    def open(
        cls,
        json: str | None,
        csv: str | None,
        stdout: IO[str] | None,
        *,
        json_stream: bool = False,
        hdr_log: str | None = None,
    ) -> SavedForms:
        """Check the files that were named.

        Raises:
            UsageError: one cannot be written, or two would be written to the same place.
        """
        forms = cls(
            None if json is None else ResultFile(json, "--json", stdout),
            None if csv is None else ResultFile(csv, "--csv", stdout),
            None if hdr_log is None else GrowingFile(hdr_log, "--hdr-log", stdout),
        )
        named = [("--json", json), ("--csv", csv), ("--hdr-log", hdr_log)]
        for (flag, path), (other, its) in itertools.combinations(named, 2):
            if path is not None and its is not None and path != "-" and _same_place(path, its):
                raise UsageError(f"{flag} and {other} are both to be written to {path!r}")
        on_stdout = [
            flag
            for flag, taken in (
                ("--json -", forms.json is not None and forms.json.is_stdout),
                ("--csv -", forms.csv is not None and forms.csv.is_stdout),
                ("--hdr-log -", forms.log is not None and forms.log.is_stdout),
                ("--json-stream", json_stream),
            )
            if taken
        ]
        if len(on_stdout) > 1:
            raise UsageError(f"{' and '.join(on_stdout)} cannot both go to standard output")
        return forms

    @property
    def take_stdout(self) -> bool:
        """Standard output is taken, and text must not go there."""
        return any(one is not None and one.is_stdout for one in (self.json, self.csv, self.log))

    def save(self, summaries: Sequence[Summary]) -> None:
        """Write the results: a single one as an indented object, several as JSON Lines.

        Raises:
            NetechoError: a file could not be written after all; the other one has been, if it could be.
        """
        try:
            if self.json is not None:
                text = to_json_text(summaries[0]) if len(summaries) == 1 else to_json_lines(summaries)
                self.json.write(text)
        finally:
            if self.csv is not None:
                self.csv.write(to_csv(summaries))

    def save_comparison(self, comparison: Comparison, judged: Mapping[str, Any]) -> None:
        """Write a comparison.

        Args:
            comparison: it.
            judged: its JSON, with whatever goes with it.

        Raises:
            NetechoError: a file could not be written after all.
        """
        if self.json is not None:
            self.json.write(comparison_to_json_text(judged))
        if self.csv is not None:
            self.csv.write(comparison_to_csv(comparison))


def _same_place(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) and not one.startswith(_DEVICES)
