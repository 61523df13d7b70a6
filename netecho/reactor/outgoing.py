"""What connections write while a turn's events are passed on, kept until several can be sent together.

To send to a process that sleeps is to wake it, which takes longer than the sending. Sent one by one, between
one event and the next, each message finds the other end asleep again, as that had less to do. Sent together,
only the first does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.abstract import FileDescriptor

if TYPE_CHECKING:
    from netecho.reactor.streams import DirectConnection

SMALL_MESSAGE: Final = 4096
"""Bytes in the largest message that is kept: a larger one takes longer to copy than to wake anyone."""


class Outgoing(list[tuple["DirectConnection", bytes]]):
    """Messages that are kept, oldest first, each with the connection that is to send it.

    Attributes:
        keeping: whether messages are kept now.
    """

    __slots__ = ("_sending", "keeping")

    def __init__(self) -> None:
        super().__init__()
        self.keeping = self._sending = False

    def send(self) -> None:
        """Send all that is kept, in order.

        What a connection cannot send directly any more follows what it has queued; of one that has been
        aborted, it is dropped.
        """
        if self._sending:  # a producer that is told to pause writes: that is sent last
            return
        self._sending = True
        try:
            for connection, data in self:
                if connection.direct:
                    try:
                        sent = connection.socket.send(data)
                    except OSError as error:
                        sent = connection.not_sent(error)
                    if sent != len(data):
                        connection.queue_rest(data, sent)
                elif not connection._aborting:
                    FileDescriptor.write(connection, data)
        finally:
            self.clear()
            self._sending = False
