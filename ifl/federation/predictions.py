"""Keeps every guess of a run's last evaluation, and reads them back as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file
from torch import Tensor

from ifl.errors import IFLError
from ifl.federation.class_counts import Pair

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = "predictions.safetensors"


def write_predictions(folder: Path, guesses: Mapping[Pair, Tensor], labels: Tensor) -> None:
    """Keep the guessed classes (n,) of every composition and the labels (n,), as int32."""
    tensors = {f"{base}/{modular}": its.int() for (base, modular), its in guesses.items()}
    save_file({**tensors, "labels": labels.int().cpu()}, folder / PREDICTIONS)


def read_predictions(folder: Path) -> "pd.DataFrame":
    """Return a row per composition and test sample: base, modular, sample, label, guess.

    Raises:
        IFLError: the run of this folder kept none.
    """
    import pandas as pd

    path = folder / PREDICTIONS
    if not path.exists():
        raise IFLError(f"{folder} keeps no predictions; keep_predictions=true does")
    kept = load_file(path)
    labels = kept.pop("labels").numpy()
    tables = []
    for pair, its in kept.items():
        base, _, modular = pair.partition("/")
        columns = {"base": base, "modular": modular, "sample": range(len(labels))}
        tables.append(pd.DataFrame({**columns, "label": labels, "guess": its.numpy()}))
    return pd.concat(tables, ignore_index=True)
