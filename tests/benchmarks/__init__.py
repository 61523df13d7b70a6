"""Measurements, run by hand: each prints what it measured, and none is a test that could fail."""
