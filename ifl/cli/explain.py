"""Explains an error that ends the command in one sentence, where Hydra prints a paragraph."""

import difflib
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from ifl.cli.unread import alike
from ifl.errors import IFLError
from ifl.runs.identity import TOLD, flatten

LAUNCHERS = {"submitit_slurm": "submitit", "joblib": "joblib"}
PLAINER = {  # how Hydra's first line begins: what is said instead
    r"Ambiguous value for argument '(.+)'": r"\1 has several values: with -m they are run in turn, "
    "in brackets they are one list",
    r"Could not append to config\. An item is already at '(.+)'\.": r"+\1 would add what is there "
    "already; leave out the +",
    r"Multiple values for (\S+)\..*": r"\1 is chosen twice; \1=option without a + replaces it",
    r"Config group override must be a string or a list\. Got NoneType": "a group needs an option, "
    "not null; --help lists them",
    r"Error merging override (.+)": r"\1 does not fit the configuration; --cfg job shows it",
    r"Interpolation key '(.+)' not found": r"${\1} refers to a key that is not in the "
    "configuration; --cfg job shows those that are",
}


def explained(error: Exception, conf: Path, typed: Sequence[str]) -> str:
    """Return the sentence.

    Args:
        conf: the folder of the configuration.
        typed: the arguments of the command.
    """
    if isinstance(error, IFLError):
        return str(error)
    if isinstance(error, OverrideParseException):
        if not str(error.override or "").strip():
            return "an empty argument is no key=value; leave it out, or look at what made it"
        if str(error.override).isidentifier():
            return (
                f"{error.override} is neither key=value nor a command; ifl plot FOLDER draws, "
                "--help lists the keys"
            )
        if wrong := re.search(r"while evaluating '(.+)': (.+)", str(error)):
            return f"{error.override} cannot be read: {wrong[1]} says {wrong[2]}"
        if nobody := re.search(r"[=,(\[](~[\w.-]*)", str(error.override)):
            return (
                f"{error.override} names {nobody[1]}, and there is no such home folder; write "
                f"./{nobody[1]} for a folder of this name"
            )
        return (
            f"{error.override} cannot be read as key=value; put what holds brackets or spaces in "
            "quotes, such as 'data.shape=[1,28,28]'"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        if "/" not in error.missing_cfg_file:
            return (
                f"{error.missing_cfg_file}.yaml is in no folder of the configuration; "
                "--config-dir names one beside that of this project, --config-path one instead"
            )
        group, _, option = error.missing_cfg_file.rpartition("/")
        if group.startswith("experiment"):  # in folders, of which Hydra lists the first
            option, group = f"{group}/{option}".partition("/")[2], "experiment"
            files = sorted((conf / group).rglob("*.yaml"))
            return _no_option(group, option, [str(f.relative_to(conf / group))[:-5] for f in files])
        return _no_option(group, option, error.options or [])
    if isinstance(error, YAMLError):
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        place = f"{mark.name}, line {mark.line + 1}" if mark else "a file of the configuration"
        return f"{place} cannot be read as yaml: {' '.join(str(problem).split())}"
    if told := without_place(error):
        return told
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{error.filename or 'outputs'} cannot be written ({error.strerror}); make room or "
            "choose another folder with outputs=..."
        )
    lacking = re.search(r"Missing mandatory value: .*\n\s*full_key: (\S+)", str(error))
    if lacking:
        return f"{lacking[1]} has to be set: {lacking[1]}=..."
    line = str(error).strip().partition("\n")[0]
    line = re.sub(r"^(\w+ raised while resolving interpolation: )+", "", line)
    if unset := re.fullmatch(r"[\"']*Environment variable '(.+)' not found[\"']*", line):
        return (
            f"${{oc.env:{unset[1]}}} is a variable of the environment that is not set; set it, or "
            f"give a value for then: ${{oc.env:{unset[1]},0}}"
        )
    if unknown := re.match(r"Could not override '(.+)'", line):
        return _no_key(unknown[1], conf, typed)
    for hydras, ours in PLAINER.items():
        if re.fullmatch(hydras, line):
            return re.sub(hydras, ours, line)
    return line


def without_place(error: BaseException) -> str | None:
    """Return the sentence for what can be nowhere: a temporary file, one of a foreign name.

    A user's code that ends the process has no place either.
    """
    if isinstance(error, SystemExit):
        frames = traceback.extract_tb(error.__traceback__)
        place = [frame for frame in frames if "_sitebuiltins" not in frame.filename][-1]
        return (
            f"line {place.lineno} of {place.filename} ends the process (exit code {error.code}), "
            "and the run with it; let it raise an error that says why"
        )
    if isinstance(error, OSError) and "temporary directory" in str(error):
        return (
            "no folder for temporary files can be written to; set TMPDIR to one, as in "
            "TMPDIR=$HOME/tmp"
        )
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object} has letters that no file can be named with in this locale; set "
            "PYTHONUTF8=1, or LC_ALL=C.UTF-8"
        )
    return None


def _no_option(group: str, option: str, options: Sequence[str]) -> str:
    if group == "hydra/launcher" and option in LAUNCHERS:
        return (
            "this launcher is a plugin of Hydra's that is not installed: "
            f"pip install hydra-{LAUNCHERS[option]}-launcher"
        )
    way_out = f"choose one of {', '.join(options)}" if options else "--help lists the groups"
    return f"{group}={option} is not there; {way_out}"


def _no_key(key: str, conf: Path, typed: Sequence[str]) -> str:
    """Say that there is no such key, and which are like it among those that are chosen."""
    choices = [a for a in typed if (conf / a.replace("=", "/")).with_suffix(".yaml").is_file()]
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", choices))
    groups = [path.name for path in conf.iterdir() if path.is_dir()]
    keys = [*groups, *flatten(config)]
    if key in keys:
        return (
            f"{key} is not in the configuration that was named; begin it with "
            "defaults: [config, _self_]"
        )
    last = key.rpartition(".")[2]
    if key.startswith("clients.members.") and last in TOLD:
        return f"{key} is not set: a block gets {TOLD[last]}; +{key} sets another value"
    if re.fullmatch(r"clients\.members\.\d+\.(batch_size|lr)(\.\w+)?", key):
        return f"{key} is not set: a member has those of all; +{key} sets its own"
    if block := re.fullmatch(r"optimizer\.(base|modular)\.(\w+)", key):
        there = [k.rpartition(".")[2] for k in keys if k.startswith(f"optimizer.{block[1]}.")]
        if not difflib.get_close_matches(last, there, cutoff=0.7):
            return (
                f"{key} is not set; optimizer.{last} sets it for both blocks, +{key} for this one"
            )
    hint = alike(key, keys, "--cfg job shows those that are")
    return f"{key} is not in the configuration; {hint}"
