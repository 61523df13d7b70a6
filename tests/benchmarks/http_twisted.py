"""An HTTP echo on twisted.web, as its documentation has it, on its default reactor: a peer to be measured.

Run as `python -m tests.benchmarks.http_twisted`; it says where it listens as `netecho serve` does.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as default_reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

HOST = "127.0.0.1"


class Echo(Resource):
    """Answers each request with its body."""

    isLeaf = True  # noqa: N815 - Twisted's

    def render_POST(self, request: Any) -> bytes:  # noqa: N802 - Twisted's
        """Send the body back."""
        request.setHeader(b"content-type", request.getHeader(b"content-type") or b"text/plain")
        body: bytes = request.content.read()
        return body

    def render_GET(self, request: Any) -> bytes:  # noqa: N802 - Twisted's
        """Say something."""
        return b"hello\n"


def main() -> None:
    """Listen on a free port, for ever."""
    reactor: Any = default_reactor
    resource: Any = Echo
    port = reactor.listenTCP(0, Site(resource()), 1024, HOST)
    print(json.dumps({"event": "listening", "url": f"http://{HOST}:{port.getHost().port}"}), flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
