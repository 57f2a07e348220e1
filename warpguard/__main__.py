"""The two commands: ``python -m warpguard`` is ``warpguard``.

Our packages ``defenses``, ``harness``, ``models`` and ``service`` have general names. A command
takes those that lie beside this package, also where the working directory or ``PYTHONPATH`` has
others of the same name.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_OWN = ("defenses", "harness", "models", "service")
_FOLDER = str(Path(__file__).resolve().parents[1])


class _OwnFinder:
    """Finds our packages in our folder, and leaves every other module to the other finders."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path
        return PathFinder.find_spec(name, [_FOLDER], target) if name in _OWN else None


def main() -> int:
    """Run ``warpguard``, and return its exit code."""
    sys.meta_path.insert(0, _OwnFinder)
    from service.cli import main as command

    return command()


def harness() -> int:
    """Run ``warpguard-harness``, and return its exit code."""
    sys.meta_path.insert(0, _OwnFinder)
    from harness.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
