"""All kinds of traffic by name. A new kind is one entry here."""

from harness.signals import ordinary
from harness.signals.decorrelate import Decorrelating, decorrelated
from harness.signals.disguises import Disguised, corners, fields, geometry, pasted
from harness.signals.ordinary import Ordinary
from harness.signals.ready_made import Iterates, ReadyMade
from harness.signals.searches import Search
from harness.signals.spread import Diluted, ManyKeys
from harness.signals.traffic import Traffic

_ORDERS = 3
_BEFORE_AN_EVENT = 20
_SQUARE = "square(queries={posts},draws=1,rounds=1)"

_ORDINARY = (
    Ordinary(
        name="once",
        summary="photographs once each, in three orders",
        who="ordinary",
        versions=ordinary.once,
        orders=_ORDERS,
    ),
    Ordinary(
        name="again",
        summary="photographs and three retries of each",
        who="ordinary",
        versions=ordinary.four_times,
    ),
    Ordinary(
        name="re-encoded",
        summary="photographs as JPEG 75, JPEG 90, PNG, and at three quarters of the size",
        who="ordinary",
        versions=ordinary.re_encoded,
    ),
    Ordinary(
        name="bursts",
        summary="bursts of five, by a hand-held camera",
        who="ordinary",
        versions=ordinary.burst,
        together=True,
    ),
)
_READY_MADE = tuple(
    ReadyMade(
        name=attack.partition("(")[0], summary=f"images of {what}", who="attack", attack=attack
    )
    for what, attack in (
        ("I-FGSM, made on the bare model", "i-fgsm(epsilon=0.03)"),
        ("C&W, made on the bare model", "cw(iterations=10,search_steps=3,confidence=3)"),
        ("BPDA", "bpda(rounds=20)"),
        ("the exact attack", "adaptive(rounds=12,draws=4)"),
        ("the exact attack by ART", "pgd(rounds=12,draws=4)"),
    )
)
_SEARCHES = (
    Iterates(
        name="adaptive-posting",
        summary="the exact attack, which posts each iterate",
        who="attack",
        attack="adaptive(rounds=30,draws=2)",
    ),
    Search(
        name="square",
        summary="Square",
        who="attack",
        attack="square(queries={twice},draws=1,rounds=1)",
        cost=2,
    ),
    Search(
        name="simba",
        summary="SimBA",
        who="attack",
        attack="simba(queries={twice},draws=1,rounds=1)",
        cost=2,
    ),
    Search(
        name="hopskipjump",
        summary="HopSkipJump",
        who="attack",
        attack="hopskipjump(directions={posts},rounds=1)",
    ),
    Search(
        name="stripes",
        summary="the best of 20 random stripes",
        who="attack",
        attack="stripes(best_of=20)",
    ),
)
_KNOWING = (
    *(
        Search(
            name=name,
            summary=f"Square, {what}",
            who="knows the signals",
            attack=_SQUARE,
            way=Disguised((disguise,)),
        )
        for name, what, disguise in (
            ("corners", "four corners painted", corners),
            ("geometry", "cropped, rotated, flipped, other gamma", geometry),
            ("fields", "a smooth field added", fields),
            ("pasted", "half the side of another photograph pasted", pasted),
        )
    ),
    Decorrelating(
        name="decorrelated",
        summary="Square, scores turned away with a copy of the model, corners painted",
        who="knows the signals",
        attack=_SQUARE,
        way=Disguised((decorrelated, corners)),
    ),
    Search(
        name="many-keys",
        summary="Square, 20 posts with each key",
        who="knows the signals",
        attack=_SQUARE,
        way=ManyKeys(_BEFORE_AN_EVENT),
    ),
    Search(
        name="diluted",
        summary="Square, one post in 20 among other photographs",
        who="knows the signals",
        attack="square(queries=26,draws=1,rounds=1)",
        way=Diluted(20),
        photographs=1,
        cost=10,
    ),
)
KINDS: dict[str, Traffic] = {
    each.name: each for each in (*_ORDINARY, *_READY_MADE, *_SEARCHES, *_KNOWING)
}
"""The kinds of traffic by name, in the order in which they are measured."""
