"""A run's distributions, interval by interval, as it goes on: what `--hdr-log` writes."""

from __future__ import annotations

import datetime

from netecho import __version__
from netecho.errors import NetechoError
from netecho.measure import hdrlog
from netecho.measure.intervals import Interval
from netecho.rendering.files import GrowingFile
from netecho.rendering.streams import escape


class HistogramLog:
    """Lines of HdrHistogram's log format, two for each interval of an open loop, each whole when it is there.

    Args:
        file: where they go.
        comment: what the log is of.
    """

    def __init__(self, file: GrowingFile, comment: str) -> None:
        self._file = file
        self._comment = f"netecho {__version__} {escape(comment)}"
        self._has_begun = False
        self._failure: NetechoError | None = None

    def add(self, interval: Interval) -> None:
        """Write what was recorded in an interval that has just ended.

        If it cannot be written, the run goes on without a log, and `close` says so.
        """
        if self._failure is None:
            lines = "".join(map(hdrlog.line, hdrlog.entries_of([interval])))
            try:
                self._file.write(self._header(interval.start_ns + interval.length_ns) + lines)
            except NetechoError as error:
                self._failure = error

    def close(self) -> None:
        """End the log. If nothing was recorded, it is a header alone.

        Raises:
            NetechoError: it could not be written.
        """
        if header := self._header(0):
            self._file.write(header)
        self._file.close()
        if self._failure is not None:
            raise self._failure

    def _header(self, ago_ns: int) -> str:
        """Return how the log of a run begins that began so long ago; nothing if it has begun already."""
        if self._has_begun:
            return ""
        self._has_begun = True
        now = datetime.datetime.now(datetime.UTC)
        return hdrlog.header(now - datetime.timedelta(microseconds=ago_ns // 1000), self._comment)
