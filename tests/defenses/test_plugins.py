"""Operations of installed packages: found, refused, and never a danger to the others."""

import sys

import pytest

from defenses import OPERATIONS, DefenseError, Operation, Pipeline, PluginError, Registry

GOOD = """
from dataclasses import dataclass
from typing import ClassVar
from defenses import Draw, StraightThrough, image_size

@dataclass(frozen=True)
class Same(StraightThrough[Draw]):
    name: ClassVar[str] = "same"
    summary: ClassVar[str] = "Does nothing"
    reference: ClassVar[str] = "none"
    random = False

    def sample(self, rng, shape):
        return Draw(image_size(shape))

    def _apply(self, image, params):
        return image.copy()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package with one module, as pip would: its code, metadata and entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(package, code, *points):
        module = package.replace("-", "_")
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        lines = ["[warpguard.defenses]", *(f"{n} = {module}:{kind}" for n, kind in points)]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    return installed


@pytest.fixture
def registry(monkeypatch):
    """A registry as that of the defences, which has not looked for packages yet."""
    fresh = Registry(
        "warpguard.defenses", Operation, OPERATIONS._own.values(), check=OPERATIONS._check
    )
    monkeypatch.setattr("defenses.pipeline.OPERATIONS", fresh)
    return fresh


def test_an_operation_of_a_package_is_one_like_ours(install, registry):
    install("wg-same", GOOD, ("same", "Same"))
    assert str(Pipeline.parse("fd + same")) == "fd+same"
    assert list(registry)[-1] == "same"
    assert len(registry) == len(list(registry))
    assert "same" in registry
    assert registry.broken == ()


def test_our_own_names_need_no_search(registry, monkeypatch):
    monkeypatch.setattr("defenses.plugins.entry_points", None)
    assert "fd" in registry
    assert str(Pipeline.parse("fd+rdg")) == "fd+rdg"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("", "AttributeError: module 'wg_bad' has no attribute 'Same'"),
        ("Same = 3", "it is not a dataclass that extends Operation"),
        ("class Same: name = 'same'", "it is not a dataclass that extends Operation"),
        (GOOD.replace("def _apply", "def other"), "it does not define _apply"),
        (GOOD.replace('"same"', '"other"'), "its name is 'other'; the entry point must have"),
        (GOOD.replace("summary:", "about:"), "it has no text 'summary'"),
        (
            GOOD.replace("random = False", "random = property(lambda self: self.lost)"),
            "'Same' object has no attribute 'lost'",
        ),
    ],
)
def test_a_broken_package_is_named_and_harms_nothing_else(install, registry, code, reason):
    install("wg-bad", code, ("same", "Same"))
    install("wg-good", GOOD.replace("same", "good"), ("good", "Same"))
    assert str(Pipeline.parse("fd+rdg+good")) == "fd+rdg+good"
    assert "same" not in registry
    (problem,) = registry.broken
    assert problem.startswith("The package wg-bad 1.5: 'same' (wg_bad:Same) cannot be used: ")
    assert reason in problem
    with pytest.raises(PluginError, match="The package wg-bad"):
        registry["same"]
    for _ in range(2):
        with pytest.raises(DefenseError, match="The package wg-bad") as raised:
            Pipeline.parse("fd+same")
        assert str(raised.value) == problem
    with pytest.raises(DefenseError, match=r"Unknown defence 'missing'\..* good, none\.$"):
        Pipeline.parse("missing")


@pytest.mark.parametrize("name", ["fd", "none"])
def test_a_name_of_ours_is_not_replaced(install, registry, name):
    install("wg-clash", GOOD.replace("same", name), (name, "Same"))
    assert registry["fd"] is OPERATIONS["fd"]
    assert list(registry) == list(OPERATIONS)
    (problem,) = registry.broken
    assert problem.startswith(f"The package wg-clash 1.5: '{name}' is a name of warpguard's own")


def test_two_packages_with_one_name_are_both_refused(install, registry):
    install("wg-one", GOOD, ("same", "Same"))
    install("wg-two", GOOD, ("same", "Same"))
    (problem,) = registry.broken
    expected = (
        "The package wg-one 1.5 and The package wg-two 1.5 have the same name 'same'; "
        "uninstall all but one."
    )
    assert problem == expected.replace("and The", "and the")
    with pytest.raises(DefenseError, match="uninstall all but one"):
        Pipeline.parse("same")


@pytest.mark.parametrize("name", ["Same", "a_b", "a b"])
def test_a_name_must_fit_a_specification(install, registry, name):
    install("wg-odd", GOOD.replace('"same"', repr(name)), (name, "Same"))
    (problem,) = registry.broken
    assert "lower-case letters, digits and hyphens" in problem
