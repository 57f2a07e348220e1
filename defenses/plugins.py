"""Operations and attacks of other packages, found by their entry points.

A package's ``pyproject.toml`` names them, and ``CONTRIBUTING.md`` has an example::

    [project.entry-points."warpguard.defenses"]
    mirror = "warpguard_mirror:RandomMirror"

A package that cannot be used does no harm: its names raise an error when they are used, and
:attr:`Registry.broken` says why.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from defenses.specification import SpecificationError

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9-]*")


class PluginError(SpecificationError):
    """An operation or an attack of an installed package cannot be used; it names the package."""


class Registry(Mapping[str, type[T]]):
    """Kinds by their names: our own, and then those of installed packages.

    Packages are looked for when a name is not one of ours, or when the names are listed.
    """

    def __init__(
        self,
        group: str,
        base: type[Any],
        kinds: Iterable[type[T]],
        *,
        check: Callable[[type[T]], object],
    ) -> None:
        """Set up a registry.

        Args:
            group: the group of entry points.
            base: the class of which all kinds are subclasses.
            kinds: our own kinds, which have an attribute ``name``.
            check: does with a kind what a list of kinds does; it may raise any error.
        """
        self._group, self._base, self._check = group, base, check
        self._own = {str(getattr(kind, "name", "")): kind for kind in kinds}

    def __getitem__(self, name: str) -> type[T]:
        """Return the kind of a name.

        Raises:
            KeyError: there is none.
            PluginError: it is that of a package that cannot be used.
        """
        if name in self._own:
            return self._own[name]
        found = self._installed[name]
        if isinstance(found, str):
            raise PluginError(found)
        return found

    def __contains__(self, name: object) -> bool:
        """Return whether there is a kind of the name that can be used."""
        return name in self._own or name in list(self)

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        for name, found in self._installed.items():
            if name not in self._own and not isinstance(found, str):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def broken(self) -> tuple[str, ...]:
        """What is wrong with packages that cannot be used, in a sentence for each name."""
        return tuple(found for found in self._installed.values() if isinstance(found, str))

    @cached_property
    def _installed(self) -> dict[str, type[T] | str]:
        """Return the kinds of installed packages, or why a kind cannot be used."""
        by_name = defaultdict(list)
        for point in entry_points(group=self._group):
            by_name[point.name].append(point)
        return {name: self._one(name, by_name[name]) for name in sorted(by_name)}

    def _one(self, name: str, points: list[EntryPoint]) -> type[T] | str:
        packages = " and ".join(sorted(map(_package, points)))
        packages = f"{packages[0].upper()}{packages[1:]}"
        if name in self._own or name == "none":
            return f"{packages}: {name!r} is a name of warpguard's own; ask its author for another."
        if len(points) > 1:
            return f"{packages} have the same name {name!r}; uninstall all but one."
        try:
            return self._loaded(points[0])
        # What another package's code may raise has no common base; it may also exit.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            reason = f"{type(error).__name__}: {error}".rstrip(".: ")
            return (
                f"{packages}: {name!r} ({points[0].value}) cannot be used: {reason}. "
                "Repair or uninstall the package."
            )

    def _loaded(self, point: EntryPoint) -> type[T]:
        found = point.load()
        if not (inspect.isclass(found) and issubclass(found, self._base) and is_dataclass(found)):
            raise TypeError(f"it is not a dataclass that extends {self._base.__name__}")
        kind: Any = found
        if inspect.isabstract(kind):
            missing = ", ".join(sorted(kind.__abstractmethods__))
            raise TypeError(f"it does not define {missing}")
        for attribute in ("name", "summary", "reference"):
            if not isinstance(getattr(kind, attribute, None), str):
                raise TypeError(f"it has no text {attribute!r}")
        if kind.name != point.name or not _NAME.fullmatch(point.name):
            raise ValueError(
                f"its name is {kind.name!r}; the entry point must have the same, in lower-case "
                "letters, digits and hyphens"
            )
        self._check(kind)
        return cast(type[T], kind)


def _package(point: EntryPoint) -> str:
    found = point.dist
    return "an unknown package" if found is None else f"the package {found.name} {found.version}"
