"""Who computes when: threads, batches, and what bounds them.

::

    admission   how many images are at work at once, and each client's share of them
    scheduler   the threads; when a batch is full, and what a thread does next
    work        what waits for a thread, and whose it is
    fair_queue  the order: each client waits for its own work
    priority    the threads' priority, below the event loop's
    deadline    the longest time for a request's work
    joined      work that is done once for all who ask for it
"""
