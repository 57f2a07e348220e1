"""The process, its sockets and its limits."""
