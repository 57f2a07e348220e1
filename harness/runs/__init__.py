"""One attack on one endpoint, from its set-up to its result."""
