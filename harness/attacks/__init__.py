"""The attacks, and how to name them.

::

    name              knows                                       module
    fgsm, i-fgsm,     the undefended model                        art.py
    cw, deepfool
    l-bfgs            the undefended model                        l_bfgs.py
    bpda, bpda-eot    the model and the defence, with the         gradient.py
                      identity as the defence's gradient
    semi-brute-force  the model and the random operations         gradient.py
    adaptive          the model and the defence, exactly          gradient.py
    pgd               the same, attacked by ART's implementation  pgd.py
    square, simba     the endpoint's probabilities                score_search.py, square.py,
                                                                  square_proposals.py, simba.py
    hopskipjump       the endpoint's classes                      hopskipjump.py
    noise             nothing (the control)                       noise.py
    stripes           nothing (the control of the query attacks)  stripes.py

All follow the protocol of attack.py. registry.py finds them by name.

>>> from harness.attacks import parse_attack, specification
>>> specification(parse_attack("adaptive(draws=10, rounds=50, epsilon=0.02)"))
'adaptive(epsilon=0.02)'
"""

from harness.attacks.attack import Attack, Attacker, run
from harness.attacks.registry import ATTACKS, described, parse_attack, specification

__all__ = [
    "ATTACKS",
    "Attack",
    "Attacker",
    "described",
    "parse_attack",
    "run",
    "specification",
]
