"""What ``warpguard defenses`` shows: a short list, and the details of some operations."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from defenses import OPERATIONS, Measured, measured

_FIGURES = {
    "accuracy": "of the model, relative to its accuracy without",
    "l2": "root mean square of the change, pixels in [0, 1]",
    "SSIM": "structural similarity of the two images",
    "draw distance": "root mean square of the difference between two draws",
    "zero-gradient": "the part of the output without a gradient",
    "ms": "for one 299x299 image on one core",
}


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


def print_list(listed: list[dict[str, Any]], console: Console) -> None:
    """Print a line for each operation."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    for heading in ("random", "accuracy", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("what it does")
    for row in listed:
        figures = _figures(row)
        accuracy, ms = figures["accuracy"], figures["ms"]
        random = "yes" if row["random"] else "no"
        table.add_row(row["name"], random, accuracy, ms, escape(row["summary"]))
    console.print(table)
    console.print(
        "\naccuracy: of the model, relative to its accuracy without the defence.\n"
        "Join operations with +, as in fd+rdg or 'fd(step=20)*2+rdg(delta=0.1)'.\n"
        "'warpguard defenses fd+rdg' has the details; --picture FILE shows the effect.",
        highlight=False,
    )


def print_details(listed: list[dict[str, Any]], console: Console) -> None:
    """Print what is known of each operation."""
    for row in listed:
        console.print(f"[bold]{row['name']}[/]: {escape(row['summary'])}", highlight=False)
        parameters = ", ".join(
            f"{key}=FILE (needed)" if key in row["required"] else f"{key}={value}"
            for key, value in row["parameters"].items()
        )
        words = f"source: {row['reference']}\nparameters: {parameters}"
        console.print(Padding(escape(words), (0, 0, 0, 2)), highlight=False)
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, figure in _figures(row).items():
            table.add_row(name, figure, f"[dim]{_FIGURES[name]}[/]")
        console.print(Padding(table, (0, 0, 1, 2)), highlight=False)
    console.print(f"Measured with {measured().setting}. docs/defenses.md has the ranges.")


def _figures(row: dict[str, Any]) -> dict[str, str]:
    """Write the measured figures as text."""
    if row["measured"] is None:
        return dict.fromkeys(_FIGURES, "–")
    of = Measured(**row["measured"])
    return {
        "accuracy": f"{of.accuracy / of.undefended:.0%}",
        "l2": f"{of.l2_rms:.3f}",
        "SSIM": f"{of.ssim:.2f}",
        "draw distance": f"{of.draw_distance:.3f}" if of.draw_distance else "no",
        "zero-gradient": f"{of.zero_gradient_fraction:.0%}",
        "ms": f"{of.ms:.1f}",
    }
