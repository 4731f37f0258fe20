"""Tables in all their forms, and the numbers that stand in them."""

import csv
import io
from math import nan

import numpy as np
import pytest

from ifl.analysis.tables import PERCENT, Cell, Table, Value, over_seeds

T2 = 0.95 / np.sqrt(2 * 0.975 * 0.025)  # 97.5 % quantile of Student's t with 2 degrees of freedom
TABLE = Table(
    "name",
    "A & B: 50 % <all>",
    ["method", "seeds", "at 1 MB (%)"],
    [["IFL_1", 3, Value(81.25, 0.5, note="†")], ["a|b", 1, Value(nan)]],
    "† ended",
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(1.25, digits=2), "1.25"),
        (Value(81.94, 0.46), "81.9 ± 0.5"),
        (Value(2, nan, 0, "(1 of 3)"), "2 (1 of 3)"),
        (Value(nan), "-"),
        (Value(nan, note="not reached"), "not reached"),
    ],
)
def test_a_value_shows_its_interval_and_its_note(value: Value, text: str) -> None:
    assert str(value) == text


def test_a_mean_over_seeds_says_of_how_many() -> None:
    whole = over_seeds([0.1, 0.2, 0.6], 1, 100)
    assert whole.mean == pytest.approx(30)
    assert whole.half == pytest.approx(T2 * np.std([10, 20, 60], ddof=1) / np.sqrt(3))
    assert whole.note == ""
    assert str(over_seeds([0.5, None, nan], 0, 100)) == "50 (1 of 3)"
    assert str(over_seeds([None, None], none="not reached")) == "not reached"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([33.1, 91.2], "33.1; 91.2"),  # two seeds say nothing of an interval
        ([50, 50], "50.0 ± 0.0"),
        ([50, 51, 52], "51.0 ± 2.5"),
        ([10, 10, 77], "10.0; 10.0; 77.0"),  # below 0 %
        ([40, 99, 98.5, 99], "40.0; 99.0; 98.5; 99.0"),  # above 100 %
        ([70, None, 90], "70.0; 90.0 (2 of 3)"),
    ],
)
def test_the_seeds_stand_where_an_interval_of_an_accuracy_cannot_be(
    values: list[float | None], text: str
) -> None:
    assert str(over_seeds(values, limits=PERCENT)) == text


def test_what_is_no_accuracy_may_go_beyond_100_and_two_differences_stand_for_themselves() -> None:
    assert str(over_seeds([10, 10, 77])) == "32.3 ± 96.1"
    assert str(over_seeds([100.5, 101], 1)) == "100.5; 101.0"
    assert str(over_seeds([-1, 3])) == "-1.0; 3.0"


def test_seeds_have_a_column_of_their_own_in_csv() -> None:
    rows: list[list[Cell]] = [["IFL", over_seeds([33.1, 91.2])], ["FSL", over_seeds([50, 51, 52])]]
    head, first, second = csv.reader(io.StringIO(Table("t", "", ["method", "%"], rows).csv()))
    assert head == ["method", "%", "%, ±", "%, seeds"]
    assert first == ["IFL", "62.15", "", "33.1; 91.2"]
    assert second == ["FSL", "51", "2.48414", ""]


def test_markdown_aligns_numbers_and_breaks_on_no_bar() -> None:
    head, rule, first, second, *rest = TABLE.markdown().splitlines()
    assert head == "| method | seeds | at 1 MB (%) |"
    assert rule == "| --- | --: | --: |"
    assert first == "| IFL_1 | 3 | 81.2 ± 0.5 † |"
    assert second == "| a/b | 1 | - |"
    assert rest == ["", "† ended"]


def test_latex_is_escaped_and_of_booktabs() -> None:
    text = TABLE.latex()
    assert r"\caption{A \& B: 50 \% $<$all$>$}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"IFL\_1 & 3 & 81.2 $\pm$ 0.5 $\dagger$ \\" in text
    order = [text.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert order == sorted(order)


def test_csv_has_intervals_and_notes_in_columns_of_their_own() -> None:
    head, first, second = csv.reader(io.StringIO(TABLE.csv()))
    assert head == ["method", "seeds", "at 1 MB (%)", "at 1 MB (%), ±", "at 1 MB (%), note"]
    assert first == ["IFL_1", "3", "81.25", "0.5", "†"]
    assert second == ["a|b", "1", "", "", ""]


def test_nothing_is_less_than_zero_by_rounding() -> None:
    assert str(Value(-0.0001, digits=2)) == "0.00"
    assert str(Value(-0.01, digits=2)) == "-0.01"
