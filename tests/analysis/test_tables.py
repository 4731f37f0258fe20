"""Tables in all their forms, and the numbers that stand in them."""

import csv
import io
from math import nan

import numpy as np
import pytest

from ifl.analysis.tables import Table, Value, over_seeds

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
