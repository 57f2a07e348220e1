"""What the signals of a server see of ordinary traffic, of attacks, and of attackers who know them.

::

    kinds ──► traffic ──► client ───► the server ──► its metrics ──► meter ──► outcome ──► text
                │            one key for each client, one post after the other
                ├── ordinary     photographs: once, again, re-encoded, in bursts
                ├── ready_made   images made with gradients
                ├── searches     the attacks that query, directly or by another way:
                │     ├── disguises     the attacker changes each post, so that it looks different
                │     ├── decorrelate   … with a copy of the model, so that its scores differ
                │     └── spread        the attacker has many keys, or mixes in other photographs
    measure     the server, the photographs and the files of results
"""

from harness.signals.kinds import KINDS
from harness.signals.measure import Served, measure
from harness.signals.outcome import Measurement
from harness.signals.text import markdown, terminal

__all__ = ["KINDS", "Measurement", "Served", "markdown", "measure", "terminal"]
