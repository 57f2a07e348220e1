"""How figures are written, in the terminal, in Markdown and on the page."""

from service.evaluate.intervals import Difference, Rate


def percent(share: float) -> str:
    """Write a share as a percentage: ``94.5 %``."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def rate(measured: Rate | None) -> tuple[str, str]:
    """Write a share and its interval: ``94.5 %`` and ``[90…97]``."""
    if measured is None:
        return "–", ""
    return percent(measured.share), f"[{100 * measured.low:.0f}…{100 * measured.high:.0f}]"


def difference(measured: Difference) -> tuple[str, str]:
    """Write a difference in percentage points, and its interval: ``−2.5`` and ``[−6…+1]``."""
    low, high = (_signed(100 * each, 0) for each in (measured.low, measured.high))
    return _signed(100 * measured.share, 1), f"[{low}…{high}]"


def number(measured: float) -> str:
    """Write a number with three digits, or with all digits before the decimal point."""
    return f"{measured:,.0f}" if abs(measured) >= 100 else f"{measured:.3g}"


def _signed(points: float, decimals: int) -> str:
    text = f"{points:+.{decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else "0"
