"""What the fields of a request in HTTP/1 must be (RFC 9112), beyond what the parser has seen to."""

from __future__ import annotations

from collections.abc import Sequence

from netecho.protocols._http_limits import MOST_FIELD, MOST_FIELDS, MOST_HEAD, is_host
from netecho.protocols._http_pages import RequestError


def checked(fields: Sequence[tuple[bytes, bytes]], version: str) -> tuple[int | None, bytes, bytes | None]:
    """Check the fields of a request, and return what they say of its body.

    Args:
        fields: in their order, as they came.
        version: such as `1.1`.

    Returns:
        The length of the body in bytes, `None` if it is chunked; its media type; and what the client expects
        before it sends it, if anything.

    Raises:
        RequestError: there are too many or too large ones, or the request is none of HTTP/1.1 or HTTP/1.0.
    """
    if len(fields) > MOST_FIELDS:
        raise RequestError(431, f"a head has at most {MOST_FIELDS} fields")
    length: int | None = 0
    hosts = size = 0
    content_type = b"application/octet-stream"
    expects: bytes | None = None
    for name, value in fields:
        length_of_field = len(name) + len(value)
        size += length_of_field
        if length_of_field > MOST_FIELD:
            raise RequestError(431, f"a field has at most {MOST_FIELD} bytes")
        match name.lower():
            case b"host":
                hosts += 1
                if not is_host(value):
                    raise RequestError(400, "Host is not a host and port")
            case b"content-length":
                length = int(value)
            case b"transfer-encoding":
                if value.lower() != b"chunked":
                    # RFC 9112 sections 6.1 and 6.3: 501 if it is not known, 400 if nothing says its end.
                    status = 501 if value.lower().endswith(b"chunked") and b"," in value else 400
                    raise RequestError(status, "the only transfer coding known here is chunked")
                length = None
            case b"content-type":
                content_type = value
            case b"expect":
                expects = value
    if size > MOST_HEAD:
        raise RequestError(431, f"a head has at most {MOST_HEAD} bytes")
    if version == "1.1":
        if hosts != 1:
            raise RequestError(400, "a request has one Host")
    elif version != "1.0":
        raise RequestError(
            400 if version < "1" else 505, "the versions spoken here are HTTP/1.1, HTTP/1.0 and HTTP/2"
        )
    elif hosts > 1:
        raise RequestError(400, "a request has one Host")
    elif length is None:
        raise RequestError(400, "HTTP/1.0 has no chunks")
    return length, content_type, expects
