"""The attack harness: it measures how robust an endpoint is, and keeps the evidence.

The harness is separate from the service. It reaches an endpoint only over HTTP, and does not trust
its answers. From the public names of ``defenses`` and ``models`` it builds the attacker's copy,
which gives the gradients. Photographs are decoded by the service's own decoder::

    dataset ──► cases ──► attack ◄──── surrogate      model and defence, differentiable
                            │
                            ▼ post
                         endpoint ───► scores ──► run.json ──► report
                                                     ▲
                                                   checks

    attacks/    the attacks                        types.py     what all parts share
    surrogate/  the model and defence in PyTorch   budget.py    how far an image may be changed
    runs/       one attack on one endpoint         dataset.py   photographs and their classes
    endpoint/   the client of the service          results.py   what run.json holds
    report/     runs as tables, plots and a page   rates.py     ACC, ASR and their intervals
    reproduce/  the paper's tables and Fig. 3      errors.py    what the command prints
    signals/    what the signals see of attacks    plain.py     text that is safe to print
    cli/        the command line                   server.py    a server of our own
"""
