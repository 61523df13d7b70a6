"""The commands: each turns its flags into a plan, runs it, shows the result and returns the exit status.

A command decides nothing about networks or numbers: plans, services and renderers do.
"""
