"""One outside thing each; none imports another."""
