"""The process and its sockets.

::

    run ──► process (memory, open files) ──► server (uvicorn, tls) ──► connection, for each client
"""
