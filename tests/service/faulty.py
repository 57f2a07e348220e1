"""``warpguard`` with a fault that rarely happens by itself: ``python faulty.py FAULT serve …``.

The faults ``held`` and ``thread-dies`` wait for SIGUSR1.
"""

import itertools
import os
import random
import signal
import sys
import threading
import time

import models.session
import service.images.defend
import service.predictor
import service.server.run
import service.signals.watch
from service.cli.main import main

_signalled = threading.Event()
_number = itertools.count()
_run = models.session.Classifier.run
_load = service.server.run.load_classifier


def slow(classifier, batch):
    """Each image takes as many seconds as the environment says; the warm-up takes none."""
    if batch.any():
        time.sleep(len(batch) * float(os.environ["SLOW_S"]))
    return _run(classifier, batch)


def held(classifier, batch):
    """Every batch waits, except for the warm-up's."""
    if batch.any():
        _signalled.wait()
    return _run(classifier, batch)


def die(classifier, batch):
    """The first batch, except for the warm-up's, waits and then ends its thread."""
    if batch.any() and next(_number) == 0:
        _signalled.wait()
        raise SystemExit("the fault")
    return _run(classifier, batch)


def hang_from_the_first(classifier, batch):
    hang()


def hang_from_the_second_load(settings):
    if next(_number):
        hang()
    return _load(settings)


def hang_after_the_answer(watch, seen):
    hang()


def hang():
    sys.stderr.write("faulty.py hangs\n")
    threading.Event().wait()


def every_other(work):
    """The work, which raises when it is called for the first time, the third, and so on."""

    def faulty(*arguments, **options):
        if next(_number) % 2 == 0:
            raise RuntimeError("/secret/path")
        return work(*arguments, **options)

    return faulty


FAULTS = {
    "none": (),
    "slow": ((models.session.Classifier, "run", slow),),
    "held": ((models.session.Classifier, "run", held),),
    "thread-dies": ((models.session.Classifier, "run", die),),
    "hang-warming": ((models.session.Classifier, "run", hang_from_the_first),),
    "hang-reloading": ((service.server.run, "load_classifier", hang_from_the_second_load),),
    "seeing-hangs": ((service.signals.watch.Watch, "see", hang_after_the_answer),),
    "seeded": (  # the same requests get the same answers, and each image is far for squeeze
        (service.predictor, "SYSTEM_RANDOM", random.Random(7)),
        (service.images.defend, "SYSTEM_RANDOM", random.Random(7)),
        (service.predictor, "threshold", lambda *_: 0.0),
    ),
    "decode-raises": (
        (service.predictor, "decode", every_other(service.predictor.decode)),
        (service.images.defend, "decode", every_other(service.images.defend.decode)),
    ),
    "defend-raises": (
        (service.predictor.Pipeline, "__call__", every_other(service.predictor.Pipeline.__call__)),
    ),
}

if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: _signalled.set())
    for owner, name, replacement in FAULTS[sys.argv[1]]:
        setattr(owner, name, replacement)
    sys.exit(main(sys.argv[2:]))
