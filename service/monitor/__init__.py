"""What ``warpguard watch`` shows: a server by its metrics, and its clients by its events.

::

    URL   ──► scrape ──► figures ──┐
                                   ├──► view ──► a terminal, or one block of text after the other
    FILE  ──► lines  ──► clients ──┘

      scrape    the metrics at one moment
      figures   what happened between two moments
      lines     the new lines of a file that grows and is rotated
      clients   what events, and the lines of the access log, say about each client
      view      the tables

Both sources are read as if anybody had written them: no control character reaches the terminal.
"""
