"""Names stand where lines end, and none covers another."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ifl.analysis.charts import draw_points, finish, narrow, panels
from ifl.analysis.labels import spread
from ifl.analysis.looks import GREY


def drawn(ends: list[float], count: int = 1) -> tuple[Figure, list[Axes]]:
    """Return panels with a line to each of these ends, named after its place in the list."""
    figure, all_axes = panels(count, 4)
    for axes in all_axes:
        axes.set_ylim(0, 100)
        for n, end in enumerate(ends):
            axes.plot([0, 1 + n % 3], [10, end], label=f"line {n}")
    return finish(figure, "A title"), [*all_axes]


def boxes(figure: Figure, axes: Axes) -> dict[str, Bbox]:
    figure.draw_without_rendering()
    return {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text()}


@pytest.mark.parametrize(
    ("wanted", "high", "expected"),
    [
        ([1, 5, 9], 10, [1, 5, 9]),
        ([5, 5, 5], 10, [3, 5, 7]),
        ([0, 0, 9.5], 10, [1, 3, 9]),
        ([9, 9, 9], 6, [1, 3, 5]),
        ([2, 8, 8, 8.5], 20, [2, 6.166667, 8.166667, 10.166667]),
    ],
)
def test_places_are_close_to_those_wanted(
    wanted: list[float], high: float, expected: list[float]
) -> None:
    assert spread(wanted, [2] * len(wanted), high) == pytest.approx(expected)


@pytest.mark.parametrize("ends", [[80, 81, 82, 80, 79, 83, 80, 81], [0, 0, 1, 99, 100, 50]])
def test_names_stand_at_the_ends_in_their_order_and_never_overlap(ends: list[float]) -> None:
    figure, (axes,) = drawn(ends)
    found = boxes(figure, axes)
    assert {*found} == {f"line {n}" for n in range(len(ends))}
    for one, other in combinations(found.values(), 2):
        assert not one.overlaps(other)
    places = [found[f"line {n}"].y0 for n in np.argsort(ends, kind="stable")]
    assert places == sorted(places)
    for box in found.values():
        assert box.x0 > axes.get_window_extent().x1
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= axes.get_window_extent().y0 - 2
    assert not figure.legends
    assert axes.get_legend() is None


def test_of_panels_with_the_same_lines_the_last_has_their_names() -> None:
    figure, (left, right) = drawn([20, 80], 2)
    assert (len(boxes(figure, left)), len(boxes(figure, right))) == (0, 2)
    with narrow():
        figure, (upper, lower) = drawn([20, 80], 2)
    assert (len(boxes(figure, upper)), len(boxes(figure, lower))) == (2, 2)


def test_names_that_do_not_fit_stand_in_a_legend() -> None:
    figure, (axes,) = drawn([*range(24)])
    assert not boxes(figure, axes)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 24


def test_marks_and_grey_lines_are_named_below() -> None:
    figure, (axes,) = panels(1)
    axes.plot([0, 1], [0, 1], label="IFL")
    axes.plot(0.5, 0.5, "*", label="the paper's")
    for n in range(3):
        axes.plot([0, 1], [n, n], **GREY, label=f"_{n}")
    finish(figure, "A title")
    assert [*boxes(figure, axes)] == ["IFL"]
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["the paper's", "3 more, named in the table"]


def test_level_lines_and_intervals_have_names_too() -> None:
    figure, (axes,) = panels(1)
    axes.axhline(5, label="level")
    draw_points(axes, [], [], lambda run: 0, {"color": "black"}, "nothing")
    axes.errorbar([1, 2], [2, 8], [1, 1], label="points")
    finish(figure, "A title")
    found = boxes(figure, axes)
    assert found["level"].y0 < found["points"].y0
