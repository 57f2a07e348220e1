"""Who computes when: ``admission``, then the threads of the ``scheduler``, by a ``deadline``."""
