"""netecho's clients and nginx, which ends each connection in order after so many requests."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

import pytest

from tests.benches import bench
from tests.clients import process
from tests.peers import need

REQUESTS = 100
"""What a connection may carry."""
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 100; }}
http {{
    access_log off;
    keepalive_requests {requests};
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} {version};
        location / {{ return 200 "well\\n"; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(directory: pathlib.Path, version: str) -> Iterator[int]:
    """Run nginx, in clear; gives its port, whose socket is there before it, as if it were its own anew."""
    program, file = need("nginx"), directory / "nginx.conf"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        file.write_text(
            CONFIGURATION.format(directory=directory, requests=REQUESTS, port=port, version=version)
        )
        inherited = {**os.environ, "NGINX": f"{listener.fileno()};"}
        arguments = [program, "-p", str(directory), "-c", str(file), "-e", "stderr"]
        with process(arguments, pass_fds=[listener.fileno()], env=inherited) as child:
            yield port
            assert child.poll() is None


@pytest.mark.parametrize("version", ["", "http2"], ids=["HTTP/1.1", "HTTP/2"])
def test_requests_beyond_the_last(version: str, tmp_path: pathlib.Path) -> None:
    """Those that nginx has not looked at are sent again on the next connection: not one is lost."""
    flags = [f"--{version}"] if version else []
    with nginx(tmp_path, version) as port:
        url = f"http://127.0.0.1:{port}/"
        counted = ["-c", "2", "--pipeline", "10", "-n", "2000"]
        result = bench(url, "--method", "GET", "--verify", "none", *counted, *flags)
    exchanges = result["exchanges"]
    assert exchanges["completed"] == exchanges["sent"] == 2000
    assert exchanges["statuses"] == {"200": 2000}
    assert result["connections"]["lost"] == 0
