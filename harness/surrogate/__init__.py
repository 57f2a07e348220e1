"""The attacker's own copy of what the endpoint serves.

::

    ONNX graph ──► replica, in ONNX Runtime ──► classes, probabilities
         │            ▲
         │            └──── the defence, or its fixed_draw
         │            ▼
         └──► onnx_to_torch ──► surrogate, a replica with gradients
                 ▲      │           ▲
     operators ──┘      └► compare  └── losses
"""
