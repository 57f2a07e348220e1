"""Who may ask, and how much: the ``key_file``, its ``keys``, and the ``rate_limit`` of each."""
