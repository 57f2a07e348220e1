"""Who computes when: threads, batches, and what bounds them.

::

    admission   how many images are at work at once
    scheduler   the threads; when a batch is full, and what a thread does next
    priority    the threads' priority, below the event loop's
    deadline    the longest time for a request's work
"""
