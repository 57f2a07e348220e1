"""Transformer mode: the classifier is served elsewhere, and images are defended on their way to it.

    client ── image ──► decode → defend → preprocess ── tensor ──► upstream
    client ◄──────────────────────── answer ──────────────────────────┘

``transformer.py`` is that spine. ``v1.py`` and ``v2.py`` are the routes of the two protocols,
``input_spec.py`` is the form in which the upstream takes images, ``upstream.py`` the HTTP client,
and ``headers.py`` what is passed on. The answer and its status are the upstream's own. KServe calls
such a server a transformer: https://kserve.github.io/website/.
"""
