"""The attack harness: how robust an endpoint really is, with the evidence for it.

It is apart from the service: it reaches an endpoint over HTTP alone, and takes the defences and
models by their public names. An attacker's copy of both, in PyTorch, gives the gradients::

    dataset ──► cases ──► attack ◄──── surrogate      model and defence, differentiable
                            │
                            ▼ post
                         endpoint ───► scores ──► run.json ──► report
                                                     ▲
                                                   checks
"""
