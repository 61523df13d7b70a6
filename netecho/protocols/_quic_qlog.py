"""What QUIC connections do, written down as it happens: qlog, a file for each connection.

The files are sequences of JSON texts (RFC 7464), `.sqlog`, as qlog has them for logs that are written while
the connection goes on. aioquic's own logger keeps all of a connection in memory until it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from aioquic.quic.logger import QuicLogger, QuicLoggerTrace

_RECORD = b"\x1e"


class _Trace(QuicLoggerTrace):
    """The log of one connection."""

    def __init__(self, directory: str, *, is_client: bool, odcid: bytes) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        side = "client" if is_client else "server"
        self._file: Any = None
        # A full disk, or a directory that has gone, ends the log, and no connection.
        with contextlib.suppress(OSError):
            self._file = open(os.path.join(directory, f"{odcid.hex()}_{side}.sqlog"), "wb")  # noqa: SIM115
        trace = {
            "common_fields": {"ODCID": odcid.hex(), "time_format": "absolute"},
            "vantage_point": {"name": "netecho", "type": side},
        }
        self._write({"qlog_format": "JSON-SEQ", "qlog_version": "0.3", "trace": trace})

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        """Write an event down."""
        self._write({"time": self.encode_time(time.time()), "name": f"{category}:{event}", "data": data})

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            try:
                self._file.write(_RECORD + json.dumps(record).encode() + b"\n")
            except OSError:
                self.close()

    def close(self) -> None:
        """End the file."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


class Log(QuicLogger):
    """Begins a file in a directory for each connection."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def start_trace(self, is_client: bool, odcid: bytes) -> QuicLoggerTrace:
        """Begin one."""
        return _Trace(self._directory, is_client=is_client, odcid=odcid)

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """End one."""
        if isinstance(trace, _Trace):
            trace.close()
