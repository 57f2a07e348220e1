"""Images: ``decode`` turns files into pixels within ``limits``, and ``defend`` defends them.

``isolated`` does both in processes (``children``) that can be stopped; ``child`` and ``defending``
are what runs in them.
"""
