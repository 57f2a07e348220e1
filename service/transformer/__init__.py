"""Transformer mode: the classifier is served elsewhere, and images are defended on their way to it.

    client ── image ──► decode → defend → preprocess ── tensor ──► upstream
    client ◄──────────────────────── answer ──────────────────────────┘

The answer and its status are the upstream's own. The name is KServe's:
https://kserve.github.io/website/.
"""
