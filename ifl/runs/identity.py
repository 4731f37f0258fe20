"""Identifies a run by its configuration: what can change a result, and only that.

``fingerprint`` names the folder of a composed configuration; ``recipe`` is known before Hydra
composes one, to recognise finished runs fast.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from ifl.runs.folder import read_about

# What cannot change a result: places, resources, safeguards, and what figures call a method.
NEUTRAL = (
    "outputs", "study", "fresh", "data.root", "partition.owners", "anchors.root",
    "anchors.data.root", "runtime.device", "runtime.workers", "runtime.threads", "runtime.quiet",
    "runtime.resident",
    "checkpoint_every", "keep_state", "keep_predictions", "method.title", "objective", "logger",
    "engine",
)  # fmt: skip
NAMING = ("data", "clients", "method")  # groups whose choices name a run's folder
# Choices of groups that cannot change a result, by how their names begin.
NEUTRAL_CHOICES = ("launcher", "logger", "engine", "hydra/")
# Overrides that a recipe leaves out, by how they begin.
NEUTRAL_OVERRIDES = (
    "launcher=", "runtime.device=", "runtime.workers=", "runtime.threads=", "runtime.quiet=",
    "runtime.resident=",
    "method.title=", "objective=", "logger=", "logger.", "engine=",
    "engine.",
)  # fmt: skip
# What tells no run of a study from another: none of its identity, or told by its folder and data.
NOT_SETTINGS = (*NEUTRAL, "launcher", "hydra", "experiment", "data")
# Where a class that a configuration names has moved to. A fingerprint takes the address that it
# had first, so that a run keeps its folder; what is made from an old address is the class of now.
MOVED: Mapping[str, str] = {
    "ifl.partition.Iid": "ifl.data.partition.Iid",
    "ifl.partition.Dirichlet": "ifl.data.partition.Dirichlet",
    "ifl.partition.Classes": "ifl.data.partition.Classes",
    "ifl.augment.Distortion": "ifl.data.augment.Distortion",
    "ifl.codecs.Float32": "ifl.comm.codecs.Float32",
    "ifl.codecs.Float16": "ifl.comm.codecs.Float16",
    "ifl.codecs.BFloat16": "ifl.comm.codecs.BFloat16",
    "ifl.integers.Int8": "ifl.comm.quantise.Int8",
    "ifl.integers.Int4": "ifl.comm.quantise.Int4",
    "ifl.sparse.TopK": "ifl.comm.topk.TopK",
    "ifl.pool.Replay": "ifl.methods.parts.replay.Replay",
    "ifl.pool.Align": "ifl.methods.parts.replay.Align",
    "ifl.upload.Upload": "ifl.methods.parts.row_selection.Upload",
}
FIRST = {new: old for old, new in MOVED.items()}
# What cli.build tells a block that leaves it out, and what the ready-made blocks had to say before
# they could leave it out. A fingerprint has it either way.
TOLD = {"shape": "data.shape", "fusion_dim": "fusion.dim", "classes": "data.classes"}
READY_MADE: Mapping[str, tuple[str, ...]] = {
    "ifl.models.conv_base": ("shape", "fusion_dim"),
    "ifl.models.mlp_base": ("shape", "fusion_dim"),
    "ifl.models.resnet18_base": ("shape", "fusion_dim"),
    "ifl.models.vit_base": ("shape", "fusion_dim"),
    "ifl.models.mlp_modular": ("fusion_dim", "classes"),
}
# Settings that came later: by these values they tell no run apart from those of before. The first
# is the default, in conf/ and in the library (tests/cli/test_defaults.py).
LATER: Mapping[str, tuple[Any, ...]] = {
    "adversary._target_": ("ifl.client.adversary.Honest",),
    "anchors._target_": ("ifl.data.anchors.Nowhere",),
    "augment._target_": ("ifl.augment.Distortion",),
    "augment.degrees": (0,),
    "augment.shift": (0,),
    "augment.scale": (0,),
    "augment.shear": (0,),
    "augment.bend": (0,),
    "augment.knots": (5,),
    "evaluate.bases": (None,),
    "evaluate.modulars": (None,),
    "evaluate.local_only": (False,),
    "logit_adjustment": (0,),
    "method.anchors._target_": ("ifl.methods.parts.anchors.Anchored",),
    "method.anchors.rows": (0,),
    "method.anchors.send": ("predictions",),
    "method.anchors.weight": (1.0,),
    "method.anchors.start": (5,),
    "method.anchors.keep": (10,),
    "method.anchors.batch": (32,),
    "method.anchors.power": (2.0,),
    "method.anchors.weighted": (True,),
    "method.anchors.distort": (True,),
    "method.anchors.balance": (False,),
    "method.anchors.mixtures": (0,),
    "method.anchors.mixed": (8,),
    "method.anchors.mix": ("across",),
    "method.replay.rows": (None,),
    "optimizer.decay_rounds": (None,),
    "privacy.label_epsilon": (None,),
    "runtime.precision": ("float32",),
    "privacy.correction": ("backward",),
    "privacy.clip": (None,),
    "privacy.noise": (None, 0),
    "privacy.delta": (1e-5,),
    "stop.patience": (None,),
}
# Likewise of a method's own settings, by its address. The values are what runs of before did: where
# the default is another one now, these runs are found by the value, and never by the default.
LATER_OF: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "ifl.methods.fedproto.FedProto": {"predict": ("head",)},
    "ifl.methods.fedgh.FedGH": {"epochs": (1,), "batch_size": (None,)},
    "ifl.methods.ifl_statistics.IFLStatistics": {
        "covariance": ("diagonal",),
        "nonnegative": (False,),
    },
    "ifl.methods.ifl.IFL": {"robust": ("none",)},
    "ifl.methods.fl.FL": {"send": ("weights",), "error_feedback": (False,)},
    "ifl.methods.lg_fedavg.LGFedAvg": {"send": ("weights",), "error_feedback": (False,)},
}


# Interpolations by a resolver: its name and its first argument.
RESOLVER = re.compile(r"\$\{\s*([\w.]+)\s*:\s*['\"]?([^,}'\"\s$]*)")
PLACE = "root: ${oc.env:IFL_DATA,data}"  # of the ready-made data sets, which check what lies there
# Those that make the same of the same; contents of files are compared on their own.
PURE = (
    "run_name", "cores_of_run", "runs_at_once", "contents", "name_of", "home", "typed_from",
    "oc.select", "oc.decode", "oc.create", "oc.deprecated", "oc.dict.keys", "oc.dict.values",
)  # fmt: skip


def fingerprint(config: Mapping[str, Any], *without: str) -> str:
    """Return 8 hex digits of ``relevant(config, *without)``."""
    text = json.dumps(relevant(config, *without), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def relevant(config: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """Return what in a configuration can change a result, by dotted key.

    Args:
        config: nested mapping of plain values.
        without: more dotted keys to leave out, such as "seed" to group runs over seeds.
    """
    ignored = tuple(f"{name}." for name in (*NEUTRAL, *without))
    flat = {
        key: FIRST.get(value, value) if key.endswith("_target_") else value
        for key, value in spelt_out(flatten(config)).items()
    }
    own = LATER_OF.get(str(flat.get("method._target_")), {})
    later = {**LATER, **{f"method.{name}": values for name, values in own.items()}}
    return {
        key: value
        for key, value in flat.items()
        if not f"{key}.".startswith(ignored) and value not in later.get(key, ())
    }


def spelt_out(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat configuration in which the ready-made blocks say all that they are told."""
    full = dict(flat)
    for key, address in flat.items():
        if not re.fullmatch(r"clients\.members\.\d+\.(base|modular)\._target_", key):
            continue
        block = key.removesuffix("._target_")
        for name in READY_MADE.get(address, ()):
            if not _below(flat, f"{block}.{name}") and not _below(flat, f"{block}._args_"):
                for rest, value in _below(flat, TOLD[name]).items():
                    full[f"{block}.{name}{rest}"] = value
    return full


def _below(flat: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return what a flat configuration has at a key and below it, by the rest of the key."""
    return {k[len(key) :]: v for k, v in flat.items() if f"{k}.".startswith(f"{key}.")}


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return {dotted key: plain value}; whole floats become ints, so that 1.0 is 1."""
    if isinstance(config, Mapping):
        items: Iterable[tuple[Any, Any]] = config.items()
    elif isinstance(config, list | tuple):
        items = enumerate(config)
    else:
        whole = isinstance(config, float) and config.is_integer()
        return {prefix: int(config) if whole else config}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def recipe(overrides: Iterable[str], name: str, folders: Iterable[str]) -> str:
    """Return 16 hex digits of all that a configuration is composed from, known before it is.

    Equal recipes in one study make equal configurations. Different ones may too, where
    their difference changes no result: that only ``fingerprint`` can tell. What the environment
    says counts where it is referred to; what only composing tells, such as the time, makes a
    recipe that no other is equal to.

    Args:
        overrides: as typed, in their order; those of launcher, logger and runtime do not count.
        name: of the primary configuration.
        folders: where configurations are looked for.
    """
    kept = [o for o in overrides if not o.lstrip("+~").startswith(NEUTRAL_OVERRIDES)]
    digest = hashlib.sha256(json.dumps([name, kept]).encode())
    texts = [re.sub(r"\\(.)", r"\1", override) for override in kept]  # as sweeps escape them
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.yaml")):
            content = path.read_bytes()
            texts.append(content.decode(errors="replace").replace(PLACE, ""))
            digest.update(f"{path.relative_to(folder)} ".encode(errors="surrogateescape"))
            digest.update(hashlib.sha256(content).digest())
    variables = set[str]()
    for resolver, first in (found for text in texts for found in re.findall(RESOLVER, text)):
        if resolver == "oc.env" and re.fullmatch(r"\w+", first):
            variables.add(first)
        elif resolver not in PURE:
            return uuid4().hex[:16]
    digest.update(json.dumps([[v, os.environ.get(v)] for v in sorted(variables)]).encode())
    return digest.hexdigest()[:16]


def finished(study: Path) -> dict[str, dict[str, Any]]:
    """Return {recipe: run.json, with "folder" added} of the finished runs in a folder.

    Left out are those whose folder is not, or no longer, named after their configuration.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(study.glob("*/run.json")):
        folder, about = path.parent, read_about(path.parent)
        config = (about or {}).get("config")
        if not about or not about.get("finished") or not isinstance(config, Mapping):
            continue
        if fingerprint(config) in folder.name:
            found.setdefault(about.get("recipe", ""), {**about, "folder": str(folder)})
    return found
