"""Reads an experiment's question and the paper's claim from the comment that heads its yaml."""

from pathlib import Path
from typing import NamedTuple

CLAIM_MARK = "Paper:"


class Header(NamedTuple):
    """The head of an experiment's yaml, as running text."""

    question: str
    paper: str  # the paper's claim; empty where the head has none


def header(conf: Path, name: str) -> Header | None:
    """Return the head of conf/experiment/NAME.yaml; None where there is no such experiment."""
    path = conf / "experiment" / f"{name}.yaml"
    if not path.is_file():
        return None
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            words += line.removeprefix("#").split()
    question, _, paper = " ".join(words).partition(CLAIM_MARK)
    return Header(question.strip(), paper.strip())
