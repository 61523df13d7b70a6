"""What runs a plan: Twisted services that serve, talk and measure, and the TLS contexts they use.

A service turns a frozen plan into listeners and connections, through the protocols' adapters alone. It
is given its reactor, its clock and its environment, and reports through callbacks and results; it prints
nothing and knows no flags, save to name the one that would help in an error's message.
"""
