"""Transformer mode: the classifier is served elsewhere, and images are defended on their way to it.

    client ── image ──► decode → defend → preprocess ── tensor ──► upstream
    client ◄──────────────────────── answer ──────────────────────────┘

``transformer.py`` is that spine. ``v1.py`` and ``v2.py`` are the routes of the two protocols,
``input_spec.py`` is the form in which the upstream takes images, and ``headers.py`` what is passed
on. ``upstream.py`` is the HTTP client over the connections of ``connection.py``; ``answer.py``
checks what comes back. ``elsewhere.py`` names the right path to a client that asks for another one.
The answer and its status are the upstream's own. KServe calls such a server a transformer:
https://kserve.github.io/website/.
"""
