"""Hostile clients and files, three at once, against a server: ``make hostile``.

    case      a case, and how its requests are sent
    cases     all cases; those for special servers are in ``setups``
    files     what is sent in an image file, and in ``requests`` over a connection
    upstream  a classifier behind the server that answers hostile requests as a case says
    commands  what ``warpguard models`` is given, in a process of its own
    honest    an honest client and a probe of /healthz, in a process of their own
    watch     memory and CPU time of the server and its children, from /proc
    run       one case against one server, and what it is compared with

The hostile clients have another address of this machine than the honest one: 127.0.0.2.
"""
