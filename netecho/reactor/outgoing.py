"""What clients write while a turn's events are passed on, kept until several messages can be sent together.

To send to a process that sleeps is to wake it, which costs more than the sending. A server that answers
before the next event has been dealt with sleeps again by then, and is woken by every message; by several at
once it is woken once. So a client with 50 connections does 7 % more, and with TLS 17 %. What a server sends
is not kept: its clients have less to do than it has, and it would do a tenth less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.abstract import FileDescriptor

if TYPE_CHECKING:
    from netecho.reactor.streams import DirectConnection

SMALL_MESSAGE: Final = 4096
"""Bytes in the largest message that is kept, so that all that is kept does not come to much."""


class Outgoing(list[tuple["DirectConnection", bytes]]):
    """Messages that are kept, oldest first, each with the connection that is to send it.

    Attributes:
        keeping: whether small messages are kept now.
        sending: whether those that were kept are being sent, so that whatever is written has to follow them.
    """

    __slots__ = ("keeping", "sending")

    def __init__(self) -> None:
        super().__init__()
        self.keeping = self.sending = False

    def send(self) -> None:
        """Send all that is kept, in order.

        What a connection cannot send directly any more follows what it has queued, if it is not lost.
        """
        if self.sending:  # and a producer that is told to pause writes
            return
        keeping = self.keeping
        self.keeping = self.sending = True
        try:
            for connection, data in self:
                if connection.direct:
                    try:
                        sent = connection.socket.send(data)
                    except OSError as error:
                        sent = connection.not_sent(error)
                    if sent != len(data):
                        connection.queue_rest(data, sent)
                else:
                    FileDescriptor.write(connection, data)
        finally:
            self.clear()
            self.keeping, self.sending = keeping, False
