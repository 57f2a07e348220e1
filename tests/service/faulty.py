"""``warpguard`` with a fault that nature rarely makes: ``python faulty.py FAULT serve …``."""

import itertools
import os
import sys
import threading
import time

import models.session
import service.predictor
import service.server.run
from service.cli.main import main

_number = itertools.count()
_run = models.session.Classifier.run
_load = service.server.run.load_classifier


def slow(classifier, batch):
    """Each image, but those of the warm-up, takes as long as the environment says."""
    if batch.any():
        time.sleep(len(batch) * float(os.environ["SLOW_S"]))
    return _run(classifier, batch)


def hang(classifier, batch):
    if batch.any():
        threading.Event().wait()
    return _run(classifier, batch)


def hang_from_the_first(classifier, batch):
    threading.Event().wait()


def hang_from_the_second_load(settings):
    if next(_number):
        threading.Event().wait()
    return _load(settings)


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
    "hang": ((models.session.Classifier, "run", hang),),
    "hang-warming": ((models.session.Classifier, "run", hang_from_the_first),),
    "hang-reloading": ((service.server.run, "load_classifier", hang_from_the_second_load),),
    "decode-raises": ((service.predictor, "decode", every_other(service.predictor.decode)),),
    "defend-raises": (
        (service.predictor.Pipeline, "__call__", every_other(service.predictor.Pipeline.__call__)),
    ),
}

if __name__ == "__main__":
    for owner, name, replacement in FAULTS[sys.argv[1]]:
        setattr(owner, name, replacement)
    sys.exit(main(sys.argv[2:]))
