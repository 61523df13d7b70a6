"""What the commands' flags have in common: units, targets and listeners, and the flags themselves.

Nothing here imports Twisted before a target is resolved.
"""

from netecho.options.targets import (
    check_addresses,
    check_bounds,
    check_mode,
    check_multiplex,
    check_proxy,
    check_qlog,
    check_reflection,
    check_replies,
    check_retry,
    check_size,
    resolve_listeners,
    resolve_mail,
    resolve_own_server,
    resolve_request,
    resolve_target,
    size_of,
)

__all__ = [
    "check_addresses",
    "check_bounds",
    "check_mode",
    "check_multiplex",
    "check_proxy",
    "check_qlog",
    "check_reflection",
    "check_replies",
    "check_retry",
    "check_size",
    "resolve_listeners",
    "resolve_mail",
    "resolve_own_server",
    "resolve_request",
    "resolve_target",
    "size_of",
]
