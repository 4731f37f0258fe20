"""Names every method of conf/, with what it cannot do without."""

from collections.abc import Mapping

from ifl.cli.config import CONF

PUBLIC = ("anchors=held_out", "anchors.count=64")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "fedmd": (*PUBLIC, "method.rows=16"),
    "ds_fl": (*PUBLIC, "method.rows=16"),
    "ifl_anchored": (*PUBLIC, "method.anchors.rows=16", "method.anchors.start=1"),
    "feddf": (*PUBLIC, "method.batch=16", "method.steps=3"),
}


def every_method() -> list[str]:
    """Return the options of conf/method, sorted."""
    return sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def chosen(method: str) -> list[str]:
    """Return the overrides that choose a method."""
    return [f"method={method}", *NEEDS.get(method, ())]
