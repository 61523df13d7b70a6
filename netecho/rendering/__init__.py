"""How things look: a summary, or what happens while it is made, as terminal text, JSON or CSV.

Everything here is given its streams and measures nothing. Text that came from a peer or a file goes
through `netecho.rendering.streams.escape` before a terminal sees it.
"""
