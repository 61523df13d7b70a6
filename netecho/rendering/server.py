"""What `serve` says: where it listens, who comes and goes, and what it has done in all."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import IO, Any

from netecho.measure import humanise
from netecho.protocols._listener import Totals
from netecho.rendering.json_stream import JSONStream
from netecho.rendering.streams import escape, write_out


class ServerView(typing.Protocol):
    """Shows what a server does."""

    def listening(self, url: str, *, ca: str | None = None, fingerprint: str | None = None) -> None:
        """Say that a listener is open.

        Args:
            url: its real address.
            ca: the file of the certificate authority that was made for it.
            fingerprint: SHA-256 of that authority's certificate, in hexadecimal.
        """

    def event(self, name: str, particulars: Mapping[str, Any]) -> None:
        """Say what happened at a listener; an `OnEvent`."""

    def worker(self, name: str, particulars: Mapping[str, Any]) -> None:
        """Say that a worker has come (`worker_started`) or gone (`worker_died`)."""

    def dropped(self, number: int) -> None:
        """Say how many of these there were, of events and workers, that nobody was told of."""

    def stopped(self, totals: Totals) -> None:
        """Say what was done in all."""


class ServerText:
    """Lines for a person.

    Args:
        stdout: where listeners and totals go.
        stderr: where events go.
        verbose: show events at all.
    """

    def __init__(self, stdout: IO[str] | None, stderr: IO[str] | None, *, verbose: bool = False) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._verbose = verbose

    def listening(self, url: str, *, ca: str | None = None, fingerprint: str | None = None) -> None:
        """Write `listening on URL`, and below it how a client comes to trust it."""
        lines = [f"listening on {escape(url)}"]
        if ca is not None:
            lines.append(f"  CA certificate {escape(ca)}")
        if fingerprint is not None:
            lines.append(f"  SHA-256 {escape(fingerprint)}")
        write_out("".join(f"{line}\n" for line in lines), self._stdout)

    def event(self, name: str, particulars: Mapping[str, Any]) -> None:
        """Write a line, if events are to be shown."""
        if self._verbose:
            write_out(f"{event_line(name, particulars)}\n", self._stderr)

    def worker(self, name: str, particulars: Mapping[str, Any]) -> None:
        """Write a line; that one has started, only if events are to be shown."""
        if name == "worker_died":
            write_out(f"{died_line(particulars)}\n", self._stderr)
        else:
            self.event(name, particulars)

    def dropped(self, number: int) -> None:
        """Write a line."""
        lines = humanise.count(number, "line")
        write_out(f"{lines} dropped: what was written before was not read in time\n", self._stderr)

    def stopped(self, totals: Totals) -> None:
        """Write the totals, those that say something."""
        write_out(f"{totals_line(totals)}\n", self._stdout)


class ServerJSON:
    """One JSON object on each line of a stream.

    Args:
        stream: where to.
        verbose: write events of connections too.
    """

    def __init__(self, stream: IO[str] | None, *, verbose: bool = False) -> None:
        self._stream = JSONStream(stream)
        self._verbose = verbose

    def listening(self, url: str, *, ca: str | None = None, fingerprint: str | None = None) -> None:
        """Write a `listening` event."""
        self._stream.event("listening", url=url, ca=ca, fingerprint=fingerprint)

    def event(self, name: str, particulars: Mapping[str, Any]) -> None:
        """Write the event as it is, if events are to be shown."""
        if self._verbose:
            self._stream.event(name, **particulars)

    def worker(self, name: str, particulars: Mapping[str, Any]) -> None:
        """Write the event as it is."""
        self._stream.event(name, **particulars)

    def dropped(self, number: int) -> None:
        """Write an `events_dropped` event."""
        self._stream.event("events_dropped", events=number)

    def stopped(self, totals: Totals) -> None:
        """Write a `stopped` event."""
        fields = {field.name: getattr(totals, field.name) for field in dataclasses.fields(totals)}
        self._stream.event("stopped", **fields)


def event_line(name: str, particulars: Mapping[str, Any]) -> str:
    """Return an event as `connected peer=127.0.0.1:50000 ...`, its numbers humanised by their keys."""
    words = [escape(name)]
    for key, value in particulars.items():
        if value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and key.endswith("_ns"):
            words.append(f"{escape(key.removesuffix('_ns'))}={humanise.duration(value).replace(' ', '')}")
        elif number and (key.startswith("bytes") or key in ("size", "length")):
            words.append(f"{escape(key)}={humanise.size(value).replace(' ', '')}")
        else:
            words.append(f"{escape(key)}={_quoted(escape(value))}")
    return " ".join(words)


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text or not text else text


def died_line(particulars: Mapping[str, Any]) -> str:
    """Return what a `worker_died` event says, in a line."""
    # One that the system refused to start has no number.
    process = f" (process {particulars['pid']})" if particulars["pid"] else ""
    line = f"worker {particulars['worker']}{process} {escape(particulars['reason'])}"
    pause_ns = particulars.get("restart_ns")
    return line if pause_ns is None else f"{line}; another one starts in {humanise.duration(pause_ns)}"


def totals_line(totals: Totals) -> str:
    """Return what a server has done, in a line."""
    words = []
    if totals.connections or not totals.datagrams_received:
        words.append(humanise.count(totals.connections, "connection"))
    if totals.refused:
        words.append(f"{totals.refused:,} refused")
    if totals.rejected:
        words.append(f"{totals.rejected:,} rejected (no PROXY header)")
    if totals.cut:
        words.append(f"{totals.cut:,} cut off")
    if totals.datagrams_received or totals.datagrams_sent:
        words.append(f"{humanise.count(totals.datagrams_received, 'datagram')} received")
        words.append(f"{totals.datagrams_sent:,} answered")
    words += [f"{number:,} dropped ({escape(reason)})" for reason, number in sorted(totals.dropped.items())]
    words += [f"{number:,} {escape(harm)} on purpose" for harm, number in sorted(totals.impaired.items())]
    received, sent = humanise.size(totals.bytes_received), humanise.size(totals.bytes_sent)
    words.append(f"{received} in, {sent} out")
    return f"served {', '.join(words)}"
