from dataclasses import dataclass
from typing import Literal

import pytest

from defenses import (
    SpecificationError,
    choices,
    format_arguments,
    read_arguments,
    split_terms,
)


@dataclass(frozen=True)
class Blur:
    exact: bool = False
    radius: int = 3
    strength: float = 0.5
    step: int | float = 30
    name: str = "plain"
    phase: int | str = 0
    cell: int | None = None
    border: Literal["wrap", "mirror"] = "wrap"
    weights: tuple[float, ...] = (0.0,)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ("", {}),
        ("exact=true,border=mirror", {"exact": True, "border": "mirror"}),
        ("radius=-7,step=20,cell=9", {"radius": -7, "step": 20, "cell": 9}),
        ("strength=8/255,step=2e1", {"strength": 8 / 255, "step": 20.0}),
        ("strength=1", {"strength": 1.0}),
        ("name=7,phase=7,cell=None", {"name": "7", "phase": 7, "cell": None}),
        ("phase=random,weights=0/0.9/1e-3", {"phase": "random", "weights": (0.0, 0.9, 1e-3)}),
    ],
)
def test_a_value_is_read_by_the_type_of_its_field(arguments, values):
    read = read_arguments("blur", arguments, Blur)
    assert read == values
    assert [type(each) for each in read.values()] == [type(each) for each in values.values()]
    written = format_arguments(Blur(**read))
    assert Blur(**read_arguments("blur", written[1:-1], Blur)) == Blur(**values)


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("radius=2.5", "radius must be a whole number, not '2.5'."),
        ("strength=nan", "strength must be a number, not 'nan'."),
        ("strength=1/0", "strength must be a number, not '1/0'."),
        ("cell=none", "cell must be a whole number or None, not 'none'."),
        ("exact=True", "exact must be true or false, not 'True'."),
        ("border=fill", "border must be wrap or mirror, not 'fill'."),
        ("weights=0/x", "weights must be a number, not '0/x'."),
    ],
)
def test_a_value_of_another_type_is_an_error_or_stays_text(argument, answer):
    with pytest.raises(SpecificationError) as caught:
        read_arguments("blur", argument, Blur)
    assert str(caught.value) == f"blur: {answer}"
    key, _, text = argument.partition("=")
    assert read_arguments("blur", argument, Blur, strict=False) == {key: text}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        (
            " a ( x = 1 ,\ty=~/b+c*2.npz ) * 3\n+ b-2 ",
            [("a", "x=1,y=~/b+c*2.npz", "3"), ("b-2", "", "")],
        ),
        ("a()", [("a", "", "")]),
        ("", []),
        ("a+", []),
        ("a((x=1))", []),
        ("a(x=1 2)", []),
        ("A", []),
    ],
)
def test_terms_are_split_outside_of_brackets(text, terms):
    assert split_terms(text) == terms


def test_choices_are_the_values_that_can_be_listed():
    listed = {key: values for key, values in choices(Blur).items() if values}
    assert listed == {
        "exact": {"true": True, "false": False},
        "border": {"wrap": "wrap", "mirror": "mirror"},
    }
