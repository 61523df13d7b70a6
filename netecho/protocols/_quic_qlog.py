"""qlog: what QUIC connections do, written down as it happens, in a file for each connection.

The files are sequences of JSON texts (RFC 7464), `.sqlog`, which is qlog's form for logs that are written
while the connection goes on. aioquic's own logger keeps all events of a connection in memory until it ends.

On a server the file is begun when the peer's address is known to be its own. Anybody can begin any number of
connections in the name of any address, and go on with none: of those, only the first few ever get a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Final

from aioquic.quic.logger import QuicLogger, QuicLoggerTrace

_RECORD: Final = b"\x1e"
UNPROVED: Final = 64
"""Files, all in all, for connections whose peers never proved their address."""
MOST_HELD: Final = 1000
"""Events of a connection that are kept at most until it is known whether it gets a file."""


class Trace(QuicLoggerTrace):
    """The log of one connection."""

    def __init__(self, log: Log, *, is_client: bool, odcid: bytes) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        side = "client" if is_client else "server"
        self._log = log
        self._path = os.path.join(log.directory, f"{odcid.hex()}_{side}.sqlog")
        self._file: Any = None
        self._held: list[bytes] | None = []
        """Records to be written once there is a file; `None` once it was begun."""
        trace = {
            "common_fields": {"ODCID": odcid.hex(), "time_format": "absolute"},
            "vantage_point": {"name": "netecho", "type": side},
        }
        self._write({"qlog_format": "JSON-SEQ", "qlog_version": "0.3", "trace": trace})

    def begin(self) -> None:
        """Begin the file, if that has not been done."""
        held, self._held = self._held, None
        if held is not None:
            # A full disk, or a directory that has gone, ends the log, but no connection. Mode "x": peers
            # choose the IDs that files are named by, and none may write over another's.
            with contextlib.suppress(OSError):
                self._file = open(self._path, "xb")  # noqa: SIM115
            for record in held:
                self._put(record)

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        """Write an event down."""
        self._write({"time": self.encode_time(time.time()), "name": f"{category}:{event}", "data": data})

    def _write(self, record: dict[str, Any]) -> None:
        if self._held is None:
            if self._file is not None:
                self._put(_encode(record))
        elif len(self._held) < MOST_HELD:
            self._held.append(_encode(record))

    def _put(self, record: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(record)
            except OSError:
                self.close()

    def close(self) -> None:
        """End the file."""
        if self._held is not None and self._log.unproved:
            self._log.unproved -= 1
            self.begin()
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def _encode(record: dict[str, Any]) -> bytes:
    return _RECORD + json.dumps(record).encode() + b"\n"


class Log(QuicLogger):
    """Begins a file in a directory for each connection."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.directory = directory
        self.unproved = UNPROVED
        """How many more files there may be for peers that have not proved their address."""

    def start_trace(self, is_client: bool, odcid: bytes) -> QuicLoggerTrace:
        """Begin one."""
        trace = Trace(self, is_client=is_client, odcid=odcid)
        if is_client:
            trace.begin()
        return trace

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """End one."""
        if isinstance(trace, Trace):
            trace.close()
