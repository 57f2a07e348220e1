"""One attack on one endpoint, from its preparation to its result.

::

    endpoint, model, photographs ──► experiment ──► setup ──► run ──► run.json
    attack, options ──────────────────────────────────▲        │
                                                               ├── attack ► post ► score, by round
                                                               ├── sanity: the checks at the end
                                                               └── storage: every step, to resume
"""
