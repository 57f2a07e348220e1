"""The figures were typed from the paper. Figures that the paper repeats must be equal."""

from harness.reproduce import published as paper


def test_table_3_is_a_part_of_table_7():
    for defense, rows in paper.TABLE_3.items():
        for row, pair in rows.items():
            assert paper.TABLE_7[defense][row] == pair, (defense, row)


def test_every_sweep_has_the_same_column_for_the_defaults():
    assert paper.TABLE_5[400.0] == paper.TABLE_7["fd+rand"]
    assert paper.TABLE_6[0.15] == paper.TABLE_7["fd+rdg"]
    assert paper.TABLE_9[0.5].items() <= paper.TABLE_7["fd+rand"].items()


def test_table_8_repeats_the_rates_of_table_7():
    for row, (_, _, acc, asr) in paper.TABLE_8.items():
        assert paper.TABLE_7["none"][row] == (acc, asr)


def test_shares_are_between_0_and_1():
    for table in (paper.TABLE_5, paper.TABLE_6, paper.TABLE_7, paper.TABLE_9):
        for column in table.values():
            assert all(0 <= share <= 1 for pair in column.values() for share in pair)
    assert all(0 < share <= 1 for row in paper.TABLE_1.values() for share in row)
