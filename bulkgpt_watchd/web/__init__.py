"""Serve health, metrics and the JSON API: on the control socket for the commands, and over TCP."""
