"""The program: how a command line is run in this process, and how whatever happens ends in an exit status."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import traceback
from typing import NoReturn

from typer.exceptions import TyperException

from netecho.cli import app
from netecho.errors import DEBUG_VARIABLE, ExitStatus, NetechoError, OutputError, is_debugging


def main() -> NoReturn:
    """Run the command line of this process and end it, with one of `ExitStatus`."""
    _open_closed_streams()
    _make_do_without_unicode()
    status = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt but the exit itself
    gc.freeze()  # so that the interpreter does not look for garbage in what ends with the process anyway
    sys.exit(_flush(status))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status. An error is one line on standard error."""
    try:
        return app(arguments, prog_name="netecho", standalone_mode=False) or ExitStatus.GOOD
    except SystemExit as stop:  # Typer ends completion and its installation in this way
        if isinstance(stop.__context__, BrokenPipeError):
            # So they end when the reader of --help has had enough: `netecho --help | head`.
            return ExitStatus.GOOD
        return stop.code if isinstance(stop.code, int) else ExitStatus.GOOD
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        return ExitStatus.FAILED
    except NetechoError as error:
        return _complain("netecho", str(error), error.exit_status)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        return _complain(
            context.command_path if context else "netecho", _in_our_words(error), ExitStatus.USAGE
        )
    except MemoryError:
        return _complain("netecho", "out of memory", ExitStatus.FAILED)
    except Exception as error:
        if is_debugging():
            traceback.print_exc()
            return ExitStatus.FAILED
        if isinstance(error, OSError):  # the machine's doing: a full disk, a file that may not be read
            text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        else:
            text = f"{type(error).__name__}: {error} (a defect: please report it with {DEBUG_VARIABLE}=1)"
        return _complain("netecho", text, ExitStatus.FAILED)


def _in_our_words(error: TyperException) -> str:
    """Return a usage error as one line, which names the flag and suggests what was meant."""
    parameter = getattr(error, "param", None)
    if parameter is None:
        text = error.message[:1].lower() + error.message[1:]
    else:
        option = parameter.param_type_name == "option"
        name = "/".join(parameter.opts) if option else parameter.display_name_raw
        # Typer says "Value error" of any text that its own parsers refuse.
        text = (
            f"{name}: {error.message.removeprefix('Value error, ')}"
            if error.message
            else f"{name} is missing"
        )
    text = text.removesuffix(".")
    if possibilities := getattr(error, "possibilities", None):
        written = getattr(error, "option_name", None) or ""
        meant = next((one for one in possibilities if one.startswith(written)), possibilities[0])
        text += f" (did you mean {meant}?)"
    return text


def _complain(who: str, text: str, status: ExitStatus) -> ExitStatus:
    """Say in one line what went wrong, without control characters, which the text may have from elsewhere."""
    line = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    from netecho.rendering.streams import wrapped

    with contextlib.suppress(OSError):
        print(wrapped(f"{who}: {line}", sys.stderr), file=sys.stderr, flush=True)
    return status


def _open_closed_streams() -> None:
    """Put the null device where a standard stream was closed, so that no file or socket takes its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _make_do_without_unicode() -> None:
    """Have a standard output that lacks a character show another: Rich abridges with an ellipsis."""
    if not sys.stdout.encoding.lower().startswith("utf") and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _flush(status: int) -> int:
    """Write out what standard output still holds, and return the status that this leaves."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What cannot be written must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status
        _complain("netecho", str(OutputError(error)), ExitStatus.FAILED)
        return status or ExitStatus.FAILED
    return status
