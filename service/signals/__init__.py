"""Signs of an attack, for the operator only: they change no answer, and no client sees them.

::

    predictor ──► client.afterwards ──► the answer is written ──► Watch: queue ──► a thread
                                                                                     │
      seen          an image that was answered                                       │
      fingerprint   what is kept of an image: block means, and a projection          │
      squeeze       a share of the images, inferred again without a defence          │
      neighbors     which kept images are like a new one: two rules                  │
      window        one client's last images, and all clients' windows               │
      episode       when a client's like images are worth an event                   │
      event         the event as an OCSF Detection Finding                           ▼
      watch         the queue, the thread and the metrics                  log, --events-file
      calibration   thresholds on an operator's own images, in a file
      measure       makes it, with conformal (a threshold's promise) and coverage (unsure answers)

A fingerprint shows what an image shows, so it stays in this room: it is in no log, file, metric or
trace, and it is gone after an hour or with the process.
"""
