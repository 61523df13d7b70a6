"""The grammar of MAIL and RCPT, the two commands of SMTP with an address (RFC 5321 section 4.1.2)."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Final

MOST_PATH: Final = 256
"""Octets of an address with its angle brackets (RFC 5321 section 4.5.3.1.3)."""

_PATH: Final = re.compile(
    rb"""(?P<word>FROM|TO):[ ]*
    <(?:
        (?:@[^\s<>:]+:)?                                      # a route, which is ignored (section 3.6.1)
        (?:(?P<local> [^\x00-\x20\x7f<>()@,:;\\"\[\]]+ | "(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*" )
         @ (?P<domain> [0-9A-Za-z_\x80-\xff-]+(?:\.[0-9A-Za-z_\x80-\xff-]+)* | \[[0-9A-Za-z.:-]+\] )
        | (?P<alone> postmaster ))
    )?>
    (?P<parameters>(?:[ ]+[0-9A-Za-z][0-9A-Za-z-]*(?:=[!-<>-~\x80-\xff]+)?)*)[ ]*""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """An address and its parameters."""

    address: bytes
    """Empty for the null path, `<>`."""
    parameters: tuple[tuple[str, str], ...]
    """Names in upper case and values; a value is empty if there is none."""

    @property
    def needs_smtputf8(self) -> bool:
        """Whether the address has characters beyond ASCII (RFC 6531)."""
        return not self.address.isascii()


@functools.lru_cache(maxsize=1024)
def path_of(word: bytes, argument: bytes) -> Path | None:
    """Parse the argument of MAIL (`word` is FROM) or RCPT (TO); return `None` if it is malformed.

    Raises:
        UnicodeDecodeError: the address is not UTF-8.
    """
    found = _PATH.fullmatch(argument)
    if found is None or found["word"].upper() != word:
        return None
    address = found["alone"] or b""
    if found["local"] is not None:
        address = found["local"] + b"@" + found["domain"]
        address.decode()
    if len(address) + 2 > MOST_PATH:
        return None
    parameters = []
    for text in found["parameters"].decode().split():
        name, _, value = text.partition("=")
        parameters.append((name.upper(), value))
    return Path(address, tuple(parameters))
