"""When to send, what happened, and what it means: pure code, to which time is an argument.

Nothing here knows of Twisted, sockets or clocks, so that all of it is tested by tables and by property.
"""
