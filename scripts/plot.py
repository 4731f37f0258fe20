"""Draw figures and tables from runs: python scripts/plot.py outputs/quickstart [--out FOLDER]."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ifl import gather, plots
from ifl.errors import IFLError

HEAD = """\
| group | data | seeds | mean % | local % | cross % | SD (points) | MB up total | MB up per client \
| MB down total | rounds | seconds |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |
"""
FOOT = "\n± is half the 95 % Student t interval of a mean over seeds; MB is 10^6 bytes.\n"


def markdown(table: pd.DataFrame) -> str:
    """Return the results table for people: in per cent, "-" where there is nothing."""
    text = HEAD
    for row in table.to_dict("records"):
        cells = [f"{row['label']}", f"{row['data']}", f"{row['seeds']}"]
        for name in plots.ACCURACIES:
            cell = f"{100 * row[name]:.1f} ± {100 * row[f'{name}_half_width']:.1f}"
            cells.append(cell.replace(" ± nan", ""))
        cells += [f"{row[name]:.2f}" for name in ("sd_points", *plots.UPLINK, "downlink_mb")]
        cells += [f"{row['rounds']:.0f}", f"{row['seconds']:.1f}"]
        text += f"| {' | '.join('-' if cell == 'nan' else cell for cell in cells)} |\n"
    return text + FOOT


def write(runs: Sequence[gather.Run], out: Path) -> list[Path]:
    """Write the figures of each data set and the table of all; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    files, tables = [], []
    for data in sorted({run.data for run in runs}):
        groups = gather.group_runs([run for run in runs if run.data == data])
        tables.append(plots.tabulate(groups))
        figures = {
            "accuracy-uplink": plots.draw_curves(groups, plots.UPLINK),
            "accuracy-rounds": plots.draw_curves(groups, plots.ROUNDS),
        }
        if matrices := plots.draw_matrices(groups):
            figures["compositions"] = matrices
        for name, figure in figures.items():
            for suffix in ("png", "pdf"):
                files.append(out / f"{name}-{data.replace('/', '_')}.{suffix}")
                figure.savefig(files[-1], dpi=150)
    table = pd.concat(tables)
    table.to_csv(out / "results.csv", index=False)
    (out / "results.md").write_text(markdown(table))
    return [*files, out / "results.csv", out / "results.md"]


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description="Draw all finished runs below a folder.")
    parser.add_argument("folder", type=Path, help="holds runs, at any depth")
    parser.add_argument("--out", type=Path, help="where to write (default: FOLDER/plots)")
    options = parser.parse_args()
    try:
        runs, notes = gather.load(options.folder)
        files = write(runs, options.out or options.folder / "plots")
    except (IFLError, OSError) as error:
        way_out = "; name another folder with --out" if isinstance(error, OSError) else ""
        print(f"Error: {error}{way_out}", file=sys.stderr)
        return 1
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    print(*files, "", files[-1].read_text(), sep="\n", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
