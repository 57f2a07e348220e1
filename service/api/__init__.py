"""This project's own HTTP API.

::

    uploads ──► routes ──► predictor ──► answers ──► schemas
                operations (health, metrics), repository (reload)

``query.py`` refuses unknown parameters, for the other protocols' routes too.
"""
