"""Hostile clients and files, three at once, against a server: ``make hostile``.

    cases     what is sent; its files are made in ``files``, its requests in ``requests``
    load      an honest client and a probe of /healthz, in a process of their own
    watch     memory and CPU time of the server and its children, from /proc
    run       one case against one server, and what it is compared with

The hostile clients have another address of this machine than the honest one: 127.0.0.2.
"""
