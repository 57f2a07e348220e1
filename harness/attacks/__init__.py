"""The attacks, and how to name them.

::

    name              knows                                       is from
    fgsm, i-fgsm,     the undefended model                        ART
    cw, deepfool
    l-bfgs            the undefended model                        SciPy's L-BFGS-B
    bpda, bpda-eot    the model and the defence, whose gradient   gradient.py
                      it takes for the identity
    semi-brute-force  the model and the random operations         gradient.py
    adaptive          the model and the defence, exactly          gradient.py
    square            the endpoint's probabilities                endpoint_only.py
    hopskipjump       the endpoint's classes                      hopskipjump.py
    noise             nothing: the control                        noise.py

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
