"""What runs a plan: the reactor's one run, listeners, probes, conversations and TLS contexts."""
