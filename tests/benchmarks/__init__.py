"""Measurements to be made by hand, on a quiet machine: no test depends on how fast anything is."""
