"""The attacker's own copy of what the endpoint serves, with gradients.

::

    ONNX graph ──► onnx_to_torch ──► surrogate ──► gradients, classes, probabilities
                                     ▲       ▲
                          losses ────┘       └──── the defence, or its fixed_draw
"""
