"""Writes the runs of every study."""

from pathlib import Path

from conftest import CONF
from written_runs import write_run

from ifl.cli.missing import wanted
from ifl.comm.channel import UPLINK

TYPED = {  # a few points of each grid
    "paper/accuracy_vs_uplink": "seed=0,1,2",
    "paper/composition": "seed=0,1",
    "open/clients": "clients.count=2,4,8",
    "open/fusion_dim": "fusion.dim=54,432",
    "open/tau": "local.tau=1,10",
    "open/alpha": "partition.alpha=0.1,1 seed=0,1",
    "open/optimizer": "optimizer.lr=0.01 seed=0,1",
    "open/family_rates": "seed=0",
    "open/shard_size": "validation=0.2,0.5 seed=0,1",
    "open/upload_rows": "seed=0,1",
    "open/statistics": "seed=0,1",
    "open/privacy": "seed=0",
    "open/late_vendor": "seed=0,1",
    "open/byzantine": "seed=0,1 adversary=none,label_flip method.robust=none,median",
    "open/skew": "seed=0,1",
    "open/skew_choices": "seed=0 optimizer.lr=0.01",
    "open/anchors": "seed=0",
    "beyond/pareto": "seed=0",
    "beyond/ablation": "seed=0,1",
    "beyond/choices": "seed=0 optimizer.lr=0.01 optimizer=momentum",
    "beyond/frontier": "seed=0 method.align.weight=0,1 optimizer.lr=0.01",
    "beyond/codecs": "seed=0",
    "beyond/transfer": "seed=0",
}


ONLY = {"beyond/choices": ("ifl", "ifl_frugal", "fedgh", "local")}  # methods; of the others none


UPLINK_BYTES = {"ifl": 2_000_000, "fsl": 6_000_000, "fl": 20_000_000}  # a round, four clients


KINDS = {"ifl": "z", "fsl": "z", "fl": "params"}


def fill(root: Path, study: str, best: float = 0.9) -> list[Path]:
    """Write a run for every combination that the study's experiment and TYPED span.

    Evaluated in rounds 4, 8 and 12: IFL rises to ``best``, the others stay 0.1 below.
    """
    typed = f"python scripts/run.py -m experiment={study} data=digits {TYPED.get(study, '')}"
    paths, jobs = [], wanted(CONF / "experiment" / f"{study}.yaml", [typed])
    if study in ONLY:
        jobs = [job for job in jobs if job["method"] in ONLY[study]]
    for n, job in enumerate(jobs):
        method = job.get("method", "ifl").removesuffix("_aligned")
        seed = int(job.get("seed", 0))
        count = int(job.get("clients.count", 2 if study == "paper/homogeneous" else 4))
        own = best - 0.1 * (method != "ifl") + 0.01 * seed
        cross = own - {"ifl": 0.01, "local": 0.7}.get(method, 0)
        owners = {"ifl": count, "late_vendor": count, "local": count}.get(method, 1)
        if study == "open/byzantine":
            owners = count
        matrix = {
            (str(k), str(i)): own if k == i else cross for k in range(owners) for i in range(owners)
        }
        uplink = UPLINK_BYTES.get(method, 0) * count // 4
        paths.append(
            write_run(
                root / study / str(n),
                f"experiment={study}",
                "data=digits",
                *(f"{key}={value}" for key, value in job.items()),
                accuracy={4: own - 0.3, 8: own - 0.1, 12: own},
                matrix=matrix,
                uplink=uplink,
                traffic={(UPLINK, KINDS[method]): uplink} if method in KINDS else None,
                command=typed,
            )
        )
    return paths
