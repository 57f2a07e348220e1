"""The attack harness: it measures how robust an endpoint is, and keeps the evidence.

The harness is separate from the service. It reaches an endpoint only over HTTP. From the public
names of ``defenses`` and ``models`` it builds the attacker's copy, which gives the gradients::

    dataset ──► cases ──► attack ◄──── surrogate      model and defence, differentiable
                            │
                            ▼ post
                         endpoint ───► scores ──► run.json ──► report
                                                     ▲
                                                   checks

    attacks/    the attacks                        types.py     what all parts share
    surrogate/  the model and defence in PyTorch   budget.py    how far an image may be changed
    runs/       one attack on one endpoint         dataset.py   photographs and their classes
    report/     runs as tables, plots and a page   endpoint.py  the client of the service
    reproduce/  the paper's tables and Fig. 3      results.py   what run.json holds
    cli/        the command line                   rates.py     ACC, ASR and their intervals
"""
