"""A method has one colour in all figures, and at most eight lines of a figure have one."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import options
from matplotlib.colors import to_rgb
from written_runs import write_run

from ifl.analysis.collect import Group, group_runs, load_runs
from ifl.analysis.looks import GREY, METHODS, MOST, SPARE, colour, colours, shades, shown, styled

# How readers without one kind of cones see linear RGB (Machado, Oliveira & Fernandes 2009).
READERS = {
    "all cones": np.eye(3),
    "no long ones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no middle ones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def lab(name: str, reader: str) -> np.ndarray:
    """Return a colour as a reader sees it, in CIELAB."""
    rgb = np.array(to_rgb(name))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(READERS[reader] @ linear, 0, 1) / XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def grouped(root: Path) -> list[Group]:
    return group_runs(load_runs(root)[0])


def names(groups: list[Group]) -> set[str]:
    return {group.name for group in groups}


@pytest.mark.parametrize("reader", READERS)
def test_no_two_methods_look_alike_to_any_reader(reader: str) -> None:
    seen = {name: lab(name, reader) for name in colours([*METHODS, *"abcd"]).values()}
    seen["grey"] = lab(GREY["color"], reader)
    assert len(seen) == len(METHODS) + 5
    apart = min(np.linalg.norm(one - other) for one, other in combinations(seen.values(), 2))
    assert apart > 14  # 2.3 are just noticeable


def test_every_method_has_a_colour_of_its_own() -> None:
    assert {*options("method")} <= {*METHODS}
    fixed = [kind.colour for kind in METHODS.values()]
    assert len({*fixed, *SPARE}) == len(fixed) + len(SPARE)


def test_a_method_of_ones_own_has_a_spare_colour_whoever_is_beside_it() -> None:
    assert colour("mine") in SPARE
    assert colours(["ifl", "mine", "fsl"])["mine"] == colour("mine")
    many = [f"own{n}" for n in range(12)]
    assert colours(many) == colours(reversed(many))
    assert len({*colours(["ifl", *many]).values()}) == 13


def test_the_papers_ifl_the_best_of_its_kin_and_of_each_family_carry_colour(tmp_path: Path) -> None:
    ends = {"ifl": 0.3, "ifl_aligned": 0.4, "ifl_frugal": 0.5, "fsl": 0.6, "cse_fsl": 0.7}
    ends |= {"fl": 0.8, "lg_fedavg": 0.75, "fedgh": 0.2, "fedproto": 0.1, "feddistill": 0.15}
    for name, end in ends.items():
        write_run(tmp_path / name, f"method={name}", accuracy={1: end})
    groups = grouped(tmp_path)
    expected = ["ifl", "ifl_frugal", "fl", "cse_fsl", "fedgh", "feddistill"]
    for most, more in ((6, []), (7, ["lg_fedavg"]), (MOST, ["lg_fedavg", "fsl"])):
        assert names(shown(groups, most=most)) == {*expected, *more}
    assert "fedproto" in names(shown(groups, ["fedproto"], 6))
    assert len(shown(groups, most=20)) == len(ends)
    styles = [style for _, style in styled(groups)]
    assert sum(style is GREY for style in styles) == 2
    assert len({style["color"] for style in styles}) == MOST + 1


def test_variants_of_a_method_differ_by_dash_and_marker(tmp_path: Path) -> None:
    for codec in ("float32", "int8", "int4"):
        write_run(tmp_path / codec, f"codec={codec}")
    write_run(tmp_path / "fsl", "method=fsl")
    looks = {group.name: style for group, style in styled(grouped(tmp_path))}
    ifl = [style for name, style in looks.items() if name.startswith("ifl")]
    assert {style["color"] for style in ifl} == {colour("ifl")}
    assert len({style["linestyle"] for style in ifl}) == 3
    assert len({style["marker"] for style in looks.values()}) == 4


def test_where_all_are_of_one_method_each_has_a_shade(tmp_path: Path) -> None:
    for dim in (54, 108, 216):
        write_run(tmp_path / str(dim), f"fusion.dim={dim}")
    found = [style["color"] for _, style in styled(grouped(tmp_path))]
    assert found == shades(colour("ifl"), 3)
    light = [sum(to_rgb(name)) for name in found]
    assert light == sorted(light)
    assert len({*found}) == 3
