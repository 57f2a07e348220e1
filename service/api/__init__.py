"""The HTTP API of this project's own."""
