"""What surrounds every request, outermost first, as ``service/app.py`` lists it.

::

    RequestLog         its id, its count, its line in the log
    AllowedHost        its host is one of those that the operator allows, if any are listed
    CancelOnDisconnect its work ends when the client leaves
    BodyLimit          its body is read up to a number of bytes
    Pacing             its answer waits for the client
    Compression        its body is decompressed, its answer compressed
    ByteBudget         all bodies and answers together are held up to a number of bytes
    HeadAsGet          a HEAD is answered as a GET
"""
