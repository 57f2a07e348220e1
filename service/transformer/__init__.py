"""Transformer mode: the classifier is served elsewhere, and its images are defended on the way.

    client ── image ──► decode → defend → preprocess ── tensor ──► upstream
    client ◄──────────────────────── answer ──────────────────────────┘

The answer and its status are the upstream's own. https://kserve.github.io/website/ has the name.
"""
