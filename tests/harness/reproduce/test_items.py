import pytest

from defenses import Pipeline
from harness.cli.main import REPRODUCED
from harness.reproduce import published
from harness.reproduce.items import BANK, ITEMS
from harness.reproduce.standard import canvas, distortion, padding


def test_the_command_line_names_every_item():
    assert set(REPRODUCED) == set(ITEMS)


@pytest.mark.parametrize("name", ITEMS)
def test_every_defence_can_be_had_and_is_written_in_its_shortest_form(name):
    for specification in ITEMS[name].defenses.values():
        if BANK not in specification:
            assert str(Pipeline.parse(specification)) == specification


def test_table_1_and_4_have_every_defence_of_the_paper_s():
    for name in ("table1", "table4"):
        assert {*published.TABLE_1, *published.TABLE_4} <= set(ITEMS[name].defenses)


def test_a_sweep_varies_one_parameter_around_the_default():
    assert canvas(400) == padding(0.5) == "fd+rand"
    assert canvas(450) == "fd+rand(canvas=450)"
    assert canvas(300) == "fd+rand(largest=300,canvas=300)"  # 330 px have no room there
    assert padding(0) == "fd+rand(value=0)"
    assert distortion(0.15) == "fd+rdg"
    assert distortion(0.05) == "fd+rdg(delta=0.05)"
