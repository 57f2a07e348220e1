"""Reports that are made up."""

import pytest

from service.evaluate.intervals import Rate, paired_difference
from service.evaluate.report import Report, Row


def shares(right, images):
    return [1.0] * right + [0.0] * (images - right)


@pytest.fixture
def make_report():
    """Make a report of some defences from how many images they get right; ``none`` comes first."""

    def made(images=200, bare=190, rights=(), keep=0.95, **changes):
        def row(name, draws, right, drawn=True):
            return Row(
                name=name,
                kind="defense",
                drawn=drawn,
                draws=draws,
                top1=Rate.of(shares(right, images)),
                top5=None,
                difference=paired_difference(shares(right, images), shares(bare, images)),
                agreement=None,
                selective=(),
                ms=10.0 * draws,
                images_per_s=100 / draws,
            )

        rows = (row("none", 1, bare, drawn=False), *(row(*each) for each in rights))
        return Report(
            **{
                "warpguard": "0",
                "created": "2026-01-01T00:00:00+00:00",
                "model": "colours",
                "provider": "CPUExecutionProvider",
                "endpoint": None,
                "data": "photos",
                "images": images,
                "unreadable": (),
                "notes": (),
                "seed": 0,
                "cost": "CPU time of one core",
                "preference": tuple(dict.fromkeys(row.name for row in rows)),
                "keep": keep,
                "rows": rows,
            }
            | changes
        )

    return made
