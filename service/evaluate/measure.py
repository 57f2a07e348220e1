"""The loop: each image to the subject, once, and its record to the state."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import sha256
from itertools import islice

from service.evaluate.conditions import NONE, Condition
from service.evaluate.data import Data, LabelledImage
from service.evaluate.labels import DataError, count_from_1
from service.evaluate.outcomes import Subject, UnreadableError
from service.evaluate.state import Record, State

CHECK_AT = 20
"""After how many images the labels are checked for the first time."""

Measured = list[tuple[LabelledImage, Record]]
"""Images with what is known about them, in the order of the data."""


def measure(
    data: Data,
    subject: Subject,
    conditions: Sequence[Condition],
    state: State,
    *,
    on_first: Callable[[float], None] = lambda _: None,
    on_image: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Classify each image under each condition, except for what the state has already.

    Args:
        data: the labelled images.
        subject: what classifies them.
        conditions: what is done to the images; one of them is nothing.
        state: what is known already. It gets each record as soon as it is there.
        on_first: called once, with an estimate of the seconds that all of this takes.
        on_image: called after each image, with the number of those that are done.

    Raises:
        DataError: a file cannot be read, the model gets no image right, or the labels seem to count
            from 1.
    """
    done: dict[LabelledImage, Record] = {}

    def finish(image: LabelledImage, record: Record) -> None:
        if record is not state.records.get(record.image):
            state.add(record)
        done[image] = state.records[record.image]
        if len(done) == CHECK_AT:
            _check_shift(data, done)
        on_image(len(done))

    def classify(image: LabelledImage) -> Record:
        return _classified(image, subject, conditions, state)

    waiting = iter(data.images)
    # The first image that is new is timed alone, since the others share the cores.
    for image in waiting:
        begun_s = time.monotonic()
        record = classify(image)
        is_new = record is not state.records.get(record.image)
        finish(image, record)
        if is_new and record.error is None:
            left = len(data.images) - len(done)
            on_first((time.monotonic() - begun_s) * left / subject.workers)
            break
    pool = ThreadPoolExecutor(subject.workers, "evaluate")
    try:
        for image, future in _in_threads(pool, classify, waiting, 2 * subject.workers):
            finish(image, future.result())
    finally:
        pool.shutdown(cancel_futures=True)
    _check_shift(data, done)
    measured = [(image, done[image]) for image in data.images]
    _check_any_right(data, measured)
    return measured


def _in_threads(
    pool: ThreadPoolExecutor,
    classify: Callable[[LabelledImage], Record],
    images: Iterator[LabelledImage],
    ahead: int,
) -> Iterator[tuple[LabelledImage, Future[Record]]]:
    """Yield the images as they are done. Only a few are ahead, because each holds its bytes."""
    running = {pool.submit(classify, image): image for image in islice(images, ahead)}
    while running:
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            yield running.pop(future), future
        for image in islice(images, ahead - len(running)):
            running[pool.submit(classify, image)] = image


def _classified(
    image: LabelledImage, subject: Subject, conditions: Sequence[Condition], state: State
) -> Record:
    """Return the state's record of an image, or a new one with what it lacks."""
    try:
        body = image.path.read_bytes()
    except OSError as error:
        raise DataError(f"{image.path} cannot be read: {error.strerror}.") from None
    digest = sha256(body).hexdigest()
    known = state.records.get(digest)
    if known is not None and known.error is not None:
        return known
    have = known.outcomes if known is not None else {}
    missing = [condition for condition in conditions if condition.name not in have]
    if known is not None and not missing:
        return known
    try:
        return Record(image=digest, outcomes=subject.answer(body, missing))
    except UnreadableError as error:
        return Record(image=digest, error=str(error))


def _bare_classes(done: dict[LabelledImage, Record]) -> list[tuple[int, int]]:
    """Return the label and the bare model's class of each image that can be read."""
    return [
        (image.label, record.outcomes[NONE].answers[1][0].top[0])
        for image, record in done.items()
        if record.error is None
    ]


def _check_shift(data: Data, done: dict[LabelledImage, Record]) -> None:
    pairs = _bare_classes(done)
    right = sum(label == answer for label, answer in pairs)
    one_too_high = sum(label - 1 == answer for label, answer in pairs)
    lowest = min(image.label for image in data.images)
    if pairs and count_from_1(lowest, len(pairs), right, one_too_high):
        raise DataError(
            f"The model gets {right} of {len(pairs)} images of {data.name} right, and for "
            f"{one_too_high} of them its class is the label minus 1. Classes count from 0: "
            "subtract 1 from each label."
        )


def _check_any_right(data: Data, measured: Measured) -> None:
    errors = [(image, record) for image, record in measured if record.error is not None]
    if len(errors) == len(measured):
        image, record = errors[0]
        raise DataError(
            f"None of the {len(measured)} files of {data.name} can be classified. "
            f"{image.file}: {record.error}"
        )
    pairs = _bare_classes(dict(measured))
    if not any(label == answer for label, answer in pairs):
        raise DataError(
            f"The model gets none of the {len(pairs)} images of {data.name} right without a "
            "defence. Check that each label is the index of a class in the model's output, from 0, "
            "that the labels in the model's manifest are in the order of its output, and that the "
            "model is the one for these images."
        )
