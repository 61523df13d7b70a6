"""The tests of netecho."""
