"""netecho: an echo endpoint on any protocol, a client for it, and an honest measurement of the path."""

__version__ = "0.1.0"
