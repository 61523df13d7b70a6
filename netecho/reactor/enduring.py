"""UDP ports that outlive what the way to their peer sends word of."""

from __future__ import annotations

import errno
import socket

from twisted.internet import udp
from twisted.python import log


class EnduringPort(udp.Port):
    """A UDP port that outlives errors of which its peer's way sends word."""

    def doRead(self) -> None:
        """See `IReadDescriptor.doRead`."""
        try:
            super().doRead()
        except OSError as failure:
            self._failed_to_receive(failure)

    def _failed_to_receive(self, failure: OSError) -> None:
        """Go on, if it is no more than that nothing is there, or something that the peer's way sent word of.

        A router may have no way for a datagram as large as one that was sent (RFC 1191: fragmentation
        needed): that one is lost, and the system divides the next, so that there is nothing to do.
        """
        if failure.errno == errno.ECONNREFUSED:
            if self._connectedAddr:
                self.protocol.connectionRefused()
        elif failure.errno not in (errno.EAGAIN, errno.EMSGSIZE):
            raise failure

    def meet_error(self) -> bool:
        """Take the socket's error; return whether that is all there is to do about it.

        If it is an ICMP port unreachable, the protocol of a connected port is told so.
        """
        number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number in (0, errno.EMSGSIZE):  # a write of ours has met it since, or it is of no consequence
            return True
        if number != errno.ECONNREFUSED or not self._connectedAddr:
            return False
        try:
            self.protocol.connectionRefused()
        except BaseException:
            log.err()
        return True
