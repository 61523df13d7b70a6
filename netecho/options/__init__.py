"""The flags, what they have in common, and what they mean together: units, targets, messages, checks.

Nothing here imports Twisted before a target is resolved.
"""

from netecho.options.checks import (
    check_addresses,
    check_alpn,
    check_block,
    check_bounds,
    check_ciphers,
    check_connections,
    check_keylog,
    check_mode,
    check_multiplex,
    check_proxy,
    check_qlog,
    check_reflection,
    check_replies,
    check_retry,
    check_size,
    check_spreading,
    check_unprobed,
)
from netecho.options.messages import (
    MessageFlags,
    resolve_mail,
    resolve_messages,
    resolve_request,
    size_of,
)
from netecho.options.targets import resolve_listeners, resolve_own_server, resolve_target

__all__ = [
    "MessageFlags",
    "check_addresses",
    "check_alpn",
    "check_block",
    "check_bounds",
    "check_ciphers",
    "check_connections",
    "check_keylog",
    "check_mode",
    "check_multiplex",
    "check_proxy",
    "check_qlog",
    "check_reflection",
    "check_replies",
    "check_retry",
    "check_size",
    "check_spreading",
    "check_unprobed",
    "resolve_listeners",
    "resolve_mail",
    "resolve_messages",
    "resolve_own_server",
    "resolve_request",
    "resolve_target",
    "size_of",
]
