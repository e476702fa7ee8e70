"""Serve the JSON API: on the control socket for the commands."""
