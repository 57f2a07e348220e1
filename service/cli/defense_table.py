"""The table of ``warpguard defenses``: what each operation does, and its measured properties."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from rich.markup import escape
from rich.table import Table

from defenses import OPERATIONS, Measured, measured

_CAPTION = (
    "accuracy: of the model behind the operation, relative to its accuracy without; "
    "l2, SSIM: how far the operation changes an image (root mean square; structural similarity); "
    "draw distance: how far two draws on one image differ (root mean square); "
    "zero-gradient: the part of the output that does not react to a small change of the input; "
    "ms: for one 299x299 image on one core; –: not measured. Measured with {setting}.\n"
    "Join operations with +, as in fd+rdg or fd(step=20)*2+rdg(delta=0.1)."
)


def rows() -> list[dict[str, Any]]:
    """List each operation; ``measured`` is None where the figures depend on the user's network."""
    known = measured()
    listed: list[dict[str, Any]] = []
    for name, kind in OPERATIONS.items():
        defaults = {field.name: field.default for field in fields(kind)}
        required = [key for key, default in defaults.items() if default is MISSING]
        figures = known.operations.get(name)
        listed.append(
            {
                "name": name,
                "summary": kind.summary,
                # Without __init__, because some need a file; defaults are class attributes too.
                "random": kind.__new__(kind).random,
                "parameters": {k: None if k in required else v for k, v in defaults.items()},
                "required": required,
                "reference": kind.reference,
                "measured": None if figures is None else asdict(figures),
            }
        )
    return listed


def table(listed: list[dict[str, Any]]) -> Table:
    """Lay out the rows for a terminal."""
    shown = Table(caption=_CAPTION.format(setting=measured().setting), show_lines=True)
    shown.add_column("name")
    shown.add_column("what it does, its source and defaults", overflow="fold")
    for heading in ("accuracy", "l2", "SSIM", "draw\ndistance", "zero-\ngradient", "ms"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in listed:
        parameters = ", ".join(
            f"{key}=FILE" if key in row["required"] else f"{key}={value}"
            for key, value in row["parameters"].items()
        )
        words = "\n".join(map(escape, (row["reference"], parameters)))
        shown.add_row(
            row["name"],
            f"{escape(row['summary'])}\n[dim]{words}[/]",
            *(["–"] * 6 if row["measured"] is None else _figures(Measured(**row["measured"]))),
        )
    return shown


def _figures(of: Measured) -> list[str]:
    """Write the figures in the order of the columns."""
    return [
        f"{of.accuracy / of.undefended:.0%}",
        f"{of.l2_rms:.3f}",
        f"{of.ssim:.2f}",
        f"{of.draw_distance:.3f}" if of.draw_distance else "no",
        f"{of.zero_gradient_fraction:.0%}",
        f"{of.ms:.1f}",
    ]
