"""The paper's figures are typed from it; where it says the same thing twice, so must they."""

from harness.reproduce import published as paper


def test_table_3_is_a_part_of_table_7():
    for defense, rows in paper.TABLE_3.items():
        for row, pair in rows.items():
            assert paper.TABLE_7[defense][row] == pair, (defense, row)


def test_the_defaults_are_the_same_column_in_every_sweep():
    assert paper.TABLE_5[400.0] == paper.TABLE_7["fd+rand"]
    assert paper.TABLE_6[0.15] == paper.TABLE_7["fd+rdg"]
    assert paper.TABLE_9[0.5].items() <= paper.TABLE_7["fd+rand"].items()


def test_table_8_has_the_rates_of_table_7():
    for row, (_, _, acc, asr) in paper.TABLE_8.items():
        assert paper.TABLE_7["none"][row] == (acc, asr)


def test_shares_are_shares():
    for table in (paper.TABLE_5, paper.TABLE_6, paper.TABLE_7, paper.TABLE_9):
        for column in table.values():
            assert all(0 <= share <= 1 for pair in column.values() for share in pair)
    assert all(0 < share <= 1 for row in paper.TABLE_1.values() for share in row)
