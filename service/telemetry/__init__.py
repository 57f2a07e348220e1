"""What the service reports: ``metrics``, ``logs``, the ``timings`` of each image, ``tracing``."""
