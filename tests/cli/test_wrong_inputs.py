"""Wrong command lines as a user would type them: each is one sentence, and nothing is trained."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import forked
from conftest import ROOT

from ifl.cli import plot, run
from ifl.trials.attack import command as attack
from ifl.trials.bench import command as bench
from ifl.trials.bench import scale
from ifl.trials.faults import command as faults

RUN = {
    # typos in groups, options and keys
    "method=fedavg": "method=fedavg is not there; choose one of centralized, ",
    "launcher=lokal": "launcher=lokal is not there; choose one of basic, local, slurm",
    "logger=tensorbord": "logger=tensorbord is not there; choose one of mlflow, none, ",
    "logger=null": "a group needs an option, not null",
    "logger.mode=online": "logger.mode is not in the configuration",
    "+logger.mode=online": "logger.mode is a key that nothing reads; logger takes nothing",
    "logger=tensorboard +logger.flush=3": "logger.flush is a key that nothing reads; logger takes",
    "logger=wandb +logger.projet=mine": "nothing reads; did you mean logger.project?",
    "logger=wandb logger.mode=offlin": "logger.mode must be one of offline, online, got offlin",
    "logger=wandb logger.entity=5": "logger.entity must be text that is not empty, got 5",
    "logger=wandb logger.project=null": "logger.project must be text that is not empty, got null",
    "logger=mlflow logger.tracking_uri=mlruns": "logger.tracking_uri must begin with one of",
    "logger=mlflow logger.tracking_uri=null": "logger.tracking_uri must be text that is not empty,",
    "engine=nonsense": "engine=nonsense is not there; choose one of flare, grpc, local, ",
    "engine=null": "a group needs an option, not null",
    "engine.hosts=2": "engine.hosts is not in the configuration",
    "engine=processes engine.hosts=0": "engine.hosts must be a whole number >= 1, got 0",
    "engine=flare engine.hosts=0": "engine.hosts must be a whole number >= 1, got 0",
    "engine=flare engine.timeout=0": "engine.timeout must be a number > 0, got 0",
    "engine=grpc engine.timeout=0": "engine.timeout must be a number > 0, got 0",
    "engine=grpc engine.message_mb=3000": "message_mb must be at most 2000, got 3000",
    "engine=ray engine.timeout=soon": "engine.timeout must be a number > 0, got soon",
    "engine=ray engine.address=head": "engine.address must be null, auto or the address of a Ray",
    "engine=ray engine.hosts=0": "engine.hosts must be a whole number >= 1, got 0",
    "engine=processes engine.hosts=two": "engine.hosts must be a whole number >= 1, got two",
    "engine=processes engine.host=2": "engine.host is not in the configuration",
    "engine._target_=builtins.list": "engine is a list without live; give its class what ",
    "logger._target_=builtins.list": "logger is a list without a method begin(about, ",
    "logger._target_=my.Logger": "Error locating target 'my.Logger'",
    "local=tau3": "local=tau3 is not there; choose one of tau1, tau10",
    "experiment=paper/accuracy": "experiment=paper/accuracy is not there; choose one of bench/w1, ",
    "experiment=quick": "experiment=quick is not there; choose one of bench/w1, bench/w2, ",
    "methd=ifl": "methd is not in the configuration; did you mean method?",
    "tau=5": "tau is not in the configuration; did you mean local.tau or method.tau?",
    "optimizer.base.momentumm=1": "did you mean optimizer.base.momentum or optimizer.modular",
    "optimizer.base.weight_decay=1": "not set; optimizer.weight_decay sets it for both blocks, +",
    "clients.members.1.batch_size=4": "a member has those of all; +clients.members.1.batch_size",
    "clients.members.1.lr.base=4": "a member has those of all; +clients.members.1.lr.base sets",
    "-m 'seed=${oc.env:IFL_NOWHERE}'": "${oc.env:IFL_NOWHERE} is a variable of the environment",
    "-m 'rounds=${round}' seed=0,1": "${round} refers to a key that is not in the configuration",
    "stop.uplnk_mb=8": "stop.uplnk_mb is not in the configuration; did you mean stop.uplink_mb?",
    "partition=dirichlet partition.min_sample=3": "did you mean partition.min_samples",
    "plots": "plots is neither key=value nor a command; ifl plot FOLDER draws, --help lists",
    "qwxyz=1": "qwxyz is not in the configuration; --cfg job shows those that are",
    "+tau=5": "tau is a key that nothing reads",
    "+stop.hours=3": "stop.hours is a key that nothing reads",
    "+stop.patient=3": "nothing reads; did you mean stop.patience or stop.per_client?",
    "+runtime.worker=3": "nothing reads; did you mean runtime.workers?",
    "+fusion.dims=3": "fusion.dims is a key that nothing reads; did you mean fusion.dim?",
    "+local.tau_max=3": "nothing reads; did you mean local.tau?",
    "+local.taus.most=3": "local.taus is a key that nothing reads; did you mean local.tau?",
    "+local.lr=3": "local.lr is a key that nothing reads",
    "+method.lr=3": "method.lr is a key that nothing reads",
    "+my.lr=3": "my.lr is a key that nothing reads",
    "+data.clases=3": "data.clases is a key that nothing reads; did you mean data.classes?",
    "+method.replay.pool=3": "method.replay.pool is a key that nothing reads; did you mean method",
    "+clients.members.0.base.width=3": "clients.members.0.base.width is a key that nothing reads",
    "+optimizer.decay_round=5": "nothing reads; did you mean optimizer.decay_rounds?",
    "optimizer.scheduler=step": "optimizer.scheduler is a key that nothing reads",
    "optimizer.weigth_decay=1": "nothing reads; did you mean optimizer.weight_decay?",
    "optimizer=adam optimizer.momentum=0": "optimizer.momentum is a key that nothing reads",
    "+optimizer.base.momentumm=3": "nothing reads; did you mean optimizer.base.momentum?",
    "+seed=3": "+seed would add what is there already; leave out the +",
    "+method=fl": "method is chosen twice; method=option without a + replaces it",
    "method=null": "a group needs an option, not null",
    "~method": "method is needed by every run",
    "~rounds": "rounds is needed by every run",
    # what Hydra cannot read
    "seed==": "seed== cannot be read as key=value",
    "seed": "seed is neither key=value nor a command; ifl plot FOLDER draws",
    "data.shape=[1,28": "data.shape=[1,28 cannot be read as key=value; put what holds brackets",
    "seed=1,2": "seed=1,2 has several values: with -m they are run in turn",
    "'rounds=${round}'": "${round} refers to a key that is not in the configuration",
    "clients.members.9.name=x": "clients.members.9.name=x does not fit the configuration",
    "-m seed=choice()": "seed=choice() cannot be read: choice() says empty choice is not legal",
    "-m seed=range(a)": "seed=range(a) cannot be read: range(a) says mismatch type argument start",
    # sweeps of no value, or of too many
    "-m optimizer.lr=interval(0,1)": "lr=interval(0,1) holds endlessly many values, and a grid",
    "-m seed=range(0)": "seed=range(0) holds no number; range(a,b) has those from a to below b",
    "-m seed=range(5,0)": "seed=range(5,0) holds no number",
    "-m seed=shuffle(range(3,3))": "seed=shuffle(range(3,3)) holds no number",
    "-m seed=range(0,1,0)": "seed=range(0,1,0) holds more than 100000 numbers, or has no end",
    "-m seed=range(1e9)": "seed=range(1e9) holds more than 100000 numbers, or has no end",
    "-m method=glob(zz*)": "method=glob(zz*) fits no option of its group; --help lists",
    "-m '+hydra.sweeper.params.seed=\"range(0)\"'": "seed=range(0) holds no number",
    "-m hydra/sweeper=optuna local.tau=range(1,5,0)": "has no end; range(a,b,step) has those",
    "seed=1 ''": "an empty argument is no key=value; leave it out",
    "-m seed=0,1 '' rounds=1": "an empty argument is no key=value; leave it out",
    "data=": "data= is not there; choose one of arrays, breast_cancer, digits",
    "+logger=wandb": "logger is chosen twice; logger=option without a + replaces it",
    "+logger.depth=3": "logger.depth is a key that nothing reads; logger takes nothing",
    "+loggers=wandb": "loggers is a key that nothing reads; --cfg job shows",
    "+loggers.depth=3": "loggers.depth is a key that nothing reads; --cfg job shows",
    "--package clients": "--package names the part of the configuration that --cfg job shows",
    "-p=clients seed=1": "--package names the part of the configuration that --cfg job shows",
    "--resolve": "The --resolve flag can only be used in conjunction with --cfg or --help",
    # numbers
    "seed=abc": "seed must be a whole number >= 0, got abc",
    "seed=-1": "seed must be a whole number >= 0, got -1",
    "seed=null": "seed must be a whole number >= 0, got null",
    "seed='${oc.env:NO_SUCH_VARIABLE}'": "is a variable of the environment that is not set; set it",
    "seed='${oc.env:IFL_DATA}'": "seed must be a whole number >= 0, got nowhere",
    "seed=[1,2]": "seed must be a whole number >= 0, got [1, 2]",
    "rounds=0": "rounds must be a whole number >= 1, got 0",
    "rounds=2.5": "rounds must be a whole number >= 1, got 2.5",
    "rounds=true": "rounds must be a whole number >= 1, got true",
    "eval_every=0": "eval_every must be a whole number >= 1, got 0",
    "checkpoint_every=-5": "checkpoint_every must be a whole number >= 1, got -5",
    "batch_size=0": "batch_size must be a whole number >= 1, got 0",
    "batch_size=nan": "batch_size must be a whole number >= 1, got nan",
    "local.tau=0": "local.tau must be a whole number >= 1, got 0",
    "local.tau=1.5": "local.tau must be a whole number >= 1, got 1.5",
    "fusion.dim=wide": "fusion.dim must be a whole number >= 1, got wide",
    "clients.count=0": "clients.count must be a whole number >= 1, got 0",
    "clients.count=4.0": "clients.count must be a whole number >= 1, got 4.0",
    "runtime.resident=0": "runtime.resident must be a whole number >= 1, got 0",
    "runtime.resident=2 engine=processes": "engine=local alone; choose that, or",
    "runtime.threads=0": "runtime.threads must be a whole number >= 1, got 0",
    "runtime.workers=many": "runtime.workers must be a whole number >= 1, got many",
    "launcher=local runtime.workers=many": "runtime.workers must be a whole number >= 1, got many",
    "launcher=local runtime.threads=0": "runtime.threads must be a whole number >= 1, got 0",
    "launcher=local hydra.launcher.n_jobs=0": "n_jobs == 0 in Parallel has no meaning",
    "objective=accuracy": "objective must be one of accuracy_mean, accuracy_local, accuracy_cross",
    "hydra/sweeper=optuna objective=loss": "objective must be one of accuracy_mean, accuracy_local",
    "hydra/sweeper=optuna": "hydra/sweeper=optuna is for sweeps and searches; add -m, or leave it",
    "hydra/sweeper=optuna -m": "hydra/sweeper=optuna has nothing to search for; write for example",
    "hydra/sweeper=optuna seed=0,1 -m": "seed is nothing to search for: the best would be luck",
    "hydra/sweeper=optuna 'optimizer.lr=interval(1,0.1)' -m": "must go from a smaller number",
    "hydra/sweeper=optuna 'optimizer.lr=tag(log,interval(0,1))' -m": "must begin above 0 for",
    "hydra/sweeper=optuna 'local.tau=range(5,5)' -m": "holds no number; range(a,b) has",
    "hydra/sweeper=optuna 'local.tau=tag(log,range(1,9,2))' -m": "must have steps of 1, or be an",
    "hydra/sweeper=optuna local.tau=1,2 hydra.sweeper.n_trials=0 -m": "n_trials must be a whole",
    "hydra/sweeper=optuna local.tau=1,2 hydra.sweeper.n_jobs=x -m": "n_jobs must be a whole number",
    "hydra/sweeper=optuna local.tau=1,2 hydra.sweeper.direction=up -m": "must be one of maximize, ",
    "hydra/sweeper=optuna local.tau=1,2 hydra.sweeper.sampler.seed=null -m": "seed is needed",
    "hydra/sweeper=optuna local.tau=1,2 hydra.sweeper.storage=x -m": "storage=x cannot be used",
    "hydra/sweeper=optuna local.tau=1,2 hydra.sweeper.grids=[{seed:0}] -m": "for hydra/sweeper=",
    "stop.uplink_mb=-1": "stop.uplink_mb must be a number > 0, got -1; null means no such limit",
    "stop.uplink_mb=inf": "stop.uplink_mb must be a number > 0, got inf",
    "stop.seconds=nan": "stop.seconds must be a number > 0, got nan",
    "stop.seconds=1h": "stop.seconds must be a number > 0, got 1h",
    "stop.accuracy=90": "stop.accuracy is a fraction and must be <= 1, got 90; write 0.9 for 90 %",
    "partition.alpha=-1": "partition.alpha must be > 0",
    "partition=dirichlet partition.alpha=-1": "partition.alpha must be a number > 0, got -1",
    "partition=dirichlet partition.alpha=nan": "partition.alpha must be a number > 0, got nan",
    "partition=dirichlet partition.min_samples=no": "min_samples must be a whole number >= 0",
    "partition=dirichlet partition.max_redraws=0": "max_redraws must be a whole number >= 1, got 0",
    "partition=classes partition.per_client=0": "per_client must be a whole number >= 1, got 0",
    # switches and names
    "fresh=maybe": "fresh must be true or false, got maybe",
    "runtime.quiet=2": "runtime.quiet must be true or false, got 2",
    "stop.uplink_mb=1 stop.per_client=all": "stop.per_client must be true or false, got all",
    "method=fsl method.sync_base=1": "method.sync_base must be true or false, got 1",
    "method=fsl method.server=two": "method.server must be one of shared, per_client, got two",
    "method.stage2=both": "method.stage2 must be one of pooled, per_client, got both",
    "method.upload_batch=null": "method.upload_batch must be one of fresh, last, got null",
    "method.replay=3": "method.replay must have the settings pools, steps, rows, got 3; set th",
    "method.anchors.rows=16": "method.anchors.rows=16 needs as many anchors, got 0; choose",
    "method.anchors.send=logits": "method.anchors.send must be one of predictions, z, both, got lo",
    "method.anchors.mixtures=9": "mixtures=9 needs method.anchors.rows of 1",
    "method.anchors.mixtures=9 method.anchors.rows=40": "rows=40 needs as many anchors, got 4 cli",
    "method.anchors.mixtures=9 method.anchors.rows=9 anchors=held_out": "stands in for public samp",
    "method=fedmd": "method.rows=256 needs as many anchors, got 0; choose anchors=held_out",
    "anchors=held_out anchors.count=2000": "anchors.count must be below the number of training",
    "anchors=held_out anchors.count=0": "anchors.count must be a whole number >= 1, got 0",
    "anchors=folder": "anchors.root",
    "anchors=folder anchors.root=nowhere": "anchors.root: nowhere was looked for in",
    "anchors=synthetic data=breast_cancer clients=tabular": "anchors=synthetic gives images of 0",
    "anchors=null": "a group needs an option, not null",
    "adversary=mallory": "adversary",
    "adversary=noise adversary.scale=0": "adversary.scale must be a number > 0, got 0; adversary=",
    "adversary=scaled adversary.factor=inf": "adversary.factor must be a finite number, got inf",
    "adversary=constant adversary.value=x": "adversary.value must be a finite number, got x",
    "adversary=label_flip clients.count=3": "must name clients from 0 to 2, got [3]",
    "adversary=label_flip adversary.clients=3": "adversary.clients must be a list such as [64, 32]",
    "adversary=label_flip adversary.clients=[]": "must name each client that lies once",
    "adversary=label_flip method=local": "z that clients upload, and Local uploads none",
    "adversary.clients=[0]": "adversary.clients",
    "method.robust=krum": "method.robust must be one of none, trimmed, median, clip, got krum",
    "method.robust=median method.stage2=per_client": "method.stage2=per_client needs each client's",
    "method.robust=median privacy.label_epsilon=2": "chooses by labels, which privacy.",
    "method.align.weight=1": "method.align.weight=1 needs pools whose class means it can take, got",
    "method.align=null": "method.align must have the settings weight, got null; set these, not",
    "method.upload.rows=400": "method.upload.rows must not exceed the smallest shard, got 400",
    "method.replay.pool=3": "method.replay.pool is not in the configuration; did you mean",
    "method=ifl_anchored anchors=held_out method.anchors.send=z": "balances predictions that",
    "logit_adjustment=-1": "logit_adjustment must be a number >= 0, got -1",
    "method=fsl logit_adjustment=1": "logit_adjustment=1 needs the class shares of a client where",
    "runtime.precision=float16": "runtime.precision must be one of float32, bfloat16, got",
    "runtime.device=gpu": "runtime.device must be cpu, cuda or cuda:0, cuda:1, ..., or",
    "evaluate.bases=0": "evaluate.bases must be a whole number >= 1, got 0",
    "evaluate.modulars=2 evaluate.local_only=true": "evaluate.modulars=2 samples the compositions",
    "evaluate.local_only=1": "evaluate.local_only must be true or false, got 1",
    "eval_every=null stop.patience=3": "stop.patience=3 needs evaluations before the end; set",
    "stop.patience=0": "stop.patience must be a whole number >= 1, got 0",
    "eval_every=null stop.accuracy=0.9": "stop.accuracy=0.9 needs evaluations before the end; set",
    "keep_state=maybe": "keep_state must be true or false, got maybe",
    "keep_predictions=2": "keep_predictions must be true or false, got 2",
    "study=null": "study must be text that is not empty, got null",
    "outputs=": "outputs must be text that is not empty, got ''",
    "-m outputs=": "outputs must be text that is not empty, got ''",
    "stop=3": "stop must have the settings accuracy, patience, per_client, seconds, uplink_mb",
    # optimisers
    "optimizer.lr=-1": "optimizer.base refuses its settings (Invalid learning rate: -1)",
    "optimizer.lr=0": "optimizer.base.lr must be a number > 0, got 0",
    "optimizer.modular.lr=fast": "optimizer.modular refuses its settings",
    "optimizer.lr=nan": "optimizer.base.lr must be a finite number, got nan",
    "optimizer.base.momentum=1.5": "optimizer.base.momentum must be a number >= 0 and < 1, got",
    "optimizer.modular.momentum=false": "momentum must be a number >= 0 and < 1, got false; 0 is",
    "optimizer=adam +optimizer.base.betas=[0.9,2]": "refuses its settings (Invalid beta parameter",
    "optimizer.base._target_=torch.optim.LBFGS": "optimizer.base.fused is a key that nothing reads",
    "optimizer.base._target_=torch.optim.Adamm": "Error locating target 'torch.optim.Adamm'",
    "optimizer.modular=null": "optimizer.modular refuses its settings",
    # codecs
    "codec=int16": "choose one of bfloat16, float16, float32, int4, int8, topk",
    "codec=int8 codec.per=column": "codec.per must be one of row, tensor, got column",
    "codec=int4 codec.rounding=up": "codec.rounding must be one of nearest, stochastic, got up",
    "codec=topk codec.fraction=0": "codec.fraction must be a number > 0, got 0; codec=float32",
    "codec=topk codec.fraction=10": "codec.fraction must be <= 1, got 10; write 0.1 for a tenth",
    "codec=topk codec.fraction=nan": "codec.fraction must be a number > 0, got nan",
    "codec=int4 codec.labels=nibbles": "codec.labels must be one of bytes, packed, got nibbles",
    "codec=int8 codec.zstd=23": "codec.zstd must be from 1 to 22, got 23; null is none",
    "codec=float16 codec.zstd=max": "codec.zstd must be a whole number >= 1, got max",
    "+codec.zstd=0": "codec.zstd must be a whole number >= 1, got 0",
    "+codec.per=row": "codec.per is a key that nothing reads",
    "codec.zstd=3": "codec.zstd is not in the configuration",
    # privacy
    "privacy.label_epsilon=0": "privacy.label_epsilon must be a number > 0, got 0; null sends true",
    "privacy.label_epsilon=-1": "privacy.label_epsilon must be a number > 0, got -1",
    "privacy.label_epsilon=nan": "privacy.label_epsilon must be a number > 0, got nan",
    "privacy.label_epsilon=one": "privacy.label_epsilon must be a number > 0, got one",
    "privacy.noise=0.5": "privacy.noise=0.5 needs privacy.clip, the norm that it is a multiple of",
    "privacy.clip=0": "privacy.clip must be a number > 0, got 0; null is no clipping",
    "privacy.clip=1 privacy.noise=-1": "privacy.noise must be a number >= 0, got -1; null or 0 is",
    "privacy.delta=1": "privacy.delta must be below 1, got 1; 1e-5 is usual",
    "privacy=full": "privacy must have the settings clip, correction, delta, label_epsilon, noise",
    "privacy.epsilon=1": "privacy.epsilon is not in the configuration; did you mean privacy.label",
    "method=fsl privacy.label_epsilon=1": "are kept by methods that hide what they send, not by",
    "method=ifl_frugal method.title=null": "method.title must be text that is not empty, got null",
    "method.upload.pick=loss privacy.clip=1": "method.upload.pick=loss tells by its choice what",
    # clients
    "clients.members=3": "each with a batch_size and an lr if it is to have its own, got 3",
    "clients.members=[]": "the number of clients.members must be a whole number >= 1, got 0",
    "~clients.members.0.base": "clients.members must be a list of {name, base, modular}, each",
    "clients.members.0.base._target_=foo.Bar": "Error locating target 'foo.Bar'",
    "clients.members.1.base.widths=[0]": "client 1 (fully connected): widths must hold whole",
    "clients.members.1.base.widths=64": "widths must be a list such as [64, 32], got 64",
    "clients.members.0.base.channels=[8,8,8,8,8]": "leave no pixel of a 28 x 28 image",
    "clients=vit clients.members.0.base.heads=3": "hidden must be a multiple of heads",
    "clients=vit clients.members.0.base.patch=5": "choose a patch that divides the side",
    # data
    "data=kmnist data.root=nonexistent/there": "KMNIST is not whole in data.root=nonexistent/there",
    "data=kmnist10k": "t10k-images-idx3-ubyte.gz was looked for in nowhere/KMNIST/raw",
    "data=mnist data.dataset=MNISTT": "data.dataset=MNISTT is not in torchvision.datasets",
    "data.classes=5": "data.classes=5 allows 0 to 4; correct data.classes",
    "data.classes=ten": "data.classes must be a whole number >= 2, got ten",
    "data.shape=28": "data.shape must be a list such as [64, 32], got 28",
    "data=folder": "data.root has to be set",
    "data=folder data.root=nowhere": "data.root: nowhere was looked for in ",
    "data=arrays data.root=nowhere.npz": "data.root: nowhere.npz was looked for in ",
    "data=arrays data.root=/dev/null": "/dev/null cannot be read (",
    "data.shape=[28,28]": "data.shape must be channels, height and width, got [28, 28]",
    "data.shape=[3,28,28]": "data.shape=[3, 28, 28]; it needs one label per sample",
    "data=breast_cancer": "client 0 (convolutional): conv_base takes images of channels, height",
    "data=breast_cancer clients=tabular data.shape=[5,6]": "data.shape=[5, 6]; it needs one label",
    "data=breast_cancer clients=vit": "vit_base takes images of channels, height and width, got",
    "data=breast_cancer clients=resnet18": "resnet18_base takes images of channels, height and",
    "data=breast_cancer clients=tabular augment=affine": "augment distorts images of channels,",
    "data._target_=builtins.dict": "data is a dict; its _target_ has to return an",
    "data.name=null": "data.name must be text that is not empty, got null",
    # choices that contradict each other
    "rounds=null": "rounds=null needs another end: set stop.uplink_mb, or stop.seconds",
    "stop.per_client=true": "stop.per_client=true says how to count stop.uplink_mb; set that too",
    "stop.uplink_mb=0.2": "stop.uplink_mb=0.2 is below what the first round sends, 0.221",
    "stop.uplink_mb=0.05 stop.per_client=true": "=0.05 per client is below what the first round",
    "method=local rounds=null stop.uplink_mb=8": "=8 is never reached, since Local sends nothing",
    "partition=by": "partition=by needs the owner of each training sample; name them in partition",
    "partition=by partition.owners=nowhere.csv": "nowhere.csv was looked for in ",
    "partition=by partition.owners=/dev/null": "must be a .npy, .csv or .txt file with the owner",
    "partition=quantity partition.beta=0": "partition.beta must be a number > 0, got 0",
    "partition=quantity clients.count=60": "gave some client fewer than min_samples=32",
    "clients.count=null": "clients.count must be a whole number >= 1, got null",
    "partition.alpha=0.3": "partition.alpha must be > 0 and goes with partition=dirichlet, got 0.3",
    "partition=classes partition.per_client=11": "it must be between 3 and 10",
    "batch_size=400": "batch_size must not exceed the smallest shard, got 400",
    "clients.count=2000": "clients.count must be between 1 and the 1438 training samples, got 2000",
    "partition=dirichlet clients.count=60": "gave some client fewer than min_samples=32",
    "+clients.members.0.base.fusion_dim=100": "expected (2, 432) torch.float32; its last layer",
    "clients.members.0.base.fusion_dim=100": "base.fusion_dim is not set: a block gets fusion.dim;",
    "clients.members.1.base._target_=torch.nn.Flatten": "1.base.widths is a key that nothing reads",
    "method=fl clients=paper": "use clients=cnn_homogeneous or clients=mlp_homogeneous",
    "method=relative fusion.dim=2000 clients.count=2": "takes as many anchors as fusion.dim",
    "method=fedlite method.width=5": "method.width * method.groups must divide fusion.dim=432, got",
    "method=fedlite method.codes=6": "method.codes must be a power of 2 from 2 to 256, so that",
    "method=fedtgp method.margin=0": "method.margin must be a number > 0, got 0",
    "method=late_vendor method.after=1": "method.after must be a whole number >= 2, got 1",
    "method=late_vendor method.join=late": "method.join must be one of block, ifl, got late",
    "method=late_vendor method.partner=3": "there from the start, 0 to 2, got 3 of clients.count=4",
    "method=late_vendor clients.count=1": "needs a client before the last one, got clients.count=1",
    "method=fml method.alpha=2": "method.alpha must be <= 1, got 2; 1 is learning from labels",
    "method=fml method.architecture=4": "method.architecture must name a client from 0 to 3, got 4",
    "method=fsl_sage method.h=11": "method.h must be at most local.tau=10, or nothing is ever sent",
    "method=fedproto method.lam=-1": "method.lam must be a number >= 0, got -1",
    "method=feddistill method.gamma=much": "method.gamma must be a number >= 0, got much",
    "method=ifl_statistics method.steps=0": "method.steps must be a whole number >= 1, got 0",
    "method=ifl_statistics method.covariance=none": "one of diagonal, full, pooled, got none",
    "method=ifl_statistics method.nonnegative=relu": "nonnegative must be true or false, got relu",
    "method=ifl_statistics method.replay.steps=3": "did you mean method.steps?",
    "method=cse_fsl method.h=11": "method.h must be at most local.tau=10, or nothing is ever sent",
    "method=cse_fsl": "or method.sync_clients=false (CSE-FSL without averaging)",
    "method=fedproto method.predict=nearest": "must be one of prototypes, head, got nearest",
    "method=fedgh method.epochs=0": "method.epochs must be a whole number >= 1, got 0",
    "method=fedgh method.batch_size=all": "method.batch_size must be a whole number >= 1, got all",
    "method=fl method.send=gradients": "method.send must be one of weights, updates, got gradients",
    "method=fl method.error_feedback=true": "got method.send=weights; use method.send=updates",
    "method=lg_fedavg method.send=updates method.error_feedback=2": "must be true or false, got 2",
    "method=fedgh": "use clients=paper_one_head, clients=cnn_homogeneous or clients=mlp_homogen",
    "method=lg_fedavg": "use clients=paper_one_head, clients=cnn_homogeneous or clients=mlp_",
    "method=fsl method.sync_base=true": "method.sync_base=true averages parameters and needs one",
    "method=centralized method.architecture=4": "must name a client from 0 to 3, got 4",
    "augment=mine": "augment=mine is not there; choose one of affine, elastic, none",
    "augment._target_=torch.nn.Flatten": "is a key that nothing reads; augment takes start_dim, ",
    # places
    "outputs=/dev/null": "/dev/null",
    "outputs=/proc/runs": "/proc/runs",
    "outputs=~nobody-of-this-name/x": "names ~nobody-of-this-name, and there is no such home",
    "'outputs=\"~nobody-of-this-name/x\"'": "such home folder; write ./~nobody-of-this-name/x for",
    "-m seed=0,1 outputs=~nobody-of-this-name/x": "names ~nobody-of-this-name, and there is",
    "data=arrays data.root=~/there-is-none.npz": "there-is-none.npz was looked for",
}


def typed_in(
    main: Callable[[], int], monkeypatch: pytest.MonkeyPatch, program: str, line: str
) -> int | str | None:
    monkeypatch.setattr(sys, "argv", [program, *shlex.split(line)])
    try:
        return main()
    except SystemExit as end:  # argparse's own
        return end.code


@pytest.mark.parametrize("line", RUN)
def test_a_wrong_run_is_one_sentence_and_exit_code_1(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IFL_DATA", "nowhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    where = "" if "outputs=" in line else f"outputs={tmp_path} "
    assert typed_in(run.main, monkeypatch, "run.py", f"{where}{line}") == 1
    said, complained = capsys.readouterr()
    (sentence,) = complained.splitlines()
    assert sentence.startswith("Error: ")
    assert RUN[line] in sentence
    assert "Traceback" not in said
    assert "Finished" not in said
    assert not list(tmp_path.rglob("*.csv"))
    assert not list(tmp_path.rglob("run.json"))


SCRIPTS = {
    "plot.py nowhere": "Error: nowhere is no folder; name one that holds runs, such as outputs",
    "plot.py ~nobody-of-this-name": "argument folder: there is no such home folder: ~nobody-of",
    "plot.py EMPTY": "(no run.json); make one with scripts/run.py",
    "plot.py": "the following arguments are required: folder",
    "plot.py outputs --form pdf": "unrecognized arguments: --form pdf",
    "bench.py --blocks 0": "argument --blocks: must be a whole number >= 1, got 0",
    "bench.py --blocks few": "argument --blocks: must be a whole number >= 1, got few",
    "bench.py --only W3": "argument --only: invalid choice: 'W3'",
    "bench.py --data cifar": "argument --data: invalid choice: 'cifar'",
    "bench.py --data kmnist10k": "Error: t10k-images-idx3-ubyte.gz was looked for in nowhere",
    "bench.py --grid 15": "--grid must be a multiple of 10, got 15",
    "bench.py --json EMPTY": "--json must name a file in a folder that is there, got",
    "bench.py --json nowhere/figures.json": "got nowhere/figures.json",
    "faults.py --kills 0": "argument --kills: must be a whole number >= 1, got 0",
    "faults.py --seed -1": "argument --seed: must be a whole number >= 1, got -1",
    "faults.py --soak 500": "--soak must be more than the 500 rounds that memory has to settle",
    "faults.py --fuzz 9 --soak 600": "argument --soak: not allowed with argument --fuzz",
    "faults.py --fuzz 9 --kills 3": "--kills is not for --fuzz; leave one of them out",
    "attack.py --seeds 0,x": "argument --seeds: must be whole numbers such as 0,1,2, got 0,x",
    "attack.py seed=3": "argument key=value: seed=3 is said with --seeds here",
    "attack.py experiment=frugal": "argument key=value: experiment=frugal is said with --targets",
    "attack.py --targets fruga": "argument --targets: invalid choice: 'fruga' (choose from",
    "attack.py --targets paper one_round_statistics": "Error: method must be one whose class is",
    "attack.py --epochs 0": "argument --epochs: must be a number > 0, got 0",
    "attack.py --views -1": "argument --views: must be a whole number >= 0, got -1",
    "attack.py --tries 0": "argument --tries: must be a whole number >= 1, got 0",
    "attack.py tau=5": "Error: tau is not in the configuration; did you mean local.tau",
    "attack.py method=fsl": "Error: method must be one whose class is ifl.methods.ifl.IFL, got ifl",
    "attack.py --clip 0": "argument --clip: must be a number > 0, got 0",
    "attack.py --noise -1": "Error: --noise must be a number >= 0, got -1",
    "attack.py --images 999": "Error: --images must not exceed the smallest shard, 359 images, got",
    "attack.py --data breast_cancer clients=tabular": "attacks reconstruct images of 11 x 11",
    "attack.py clients.count=1": "Error: clients.count must be at least 2, a victim and an",
    "attack.py --data kmnist10k": "Error: t10k-images-idx3-ubyte.gz was looked for in nowhere",
    "scale.py --clients 0": "argument --clients: must be a whole number >= 1, got 0",
    "scale.py --many --clients 99": "--many draws 100 clients, so that --clients must be as many",
    "scale.py --clients 4 --data cifar": "argument --data: invalid choice: 'cifar'",
    "scale.py --clients 4 --out /dev/null/x": "Error: [Errno 20] Not a directory: '/dev/null/x'",
    "scale.py --one --clients 999 --data digits": "Error: batch_size must not exceed the smallest",
}


@pytest.mark.parametrize("line", SCRIPTS)
def test_a_wrong_use_of_another_script_is_one_sentence(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("IFL_DATA", "nowhere")
    program, _, arguments = line.replace("EMPTY", str(tmp_path)).partition(" ")
    scripts = {"plot": plot, "bench": bench, "faults": faults, "scale": scale, "attack": attack}
    main = scripts[program.removesuffix(".py")].main
    code = typed_in(main, monkeypatch, program, arguments)
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert SCRIPTS[line] in sentence
    assert code == (1 if sentence.startswith("Error: ") else 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "sentence", "code"),
    [
        ("run.py tau=5", "Error: tau is not in the configuration; did you mean local.tau", 1),
        ("run.py rounds=0", "Error: rounds must be a whole number >= 1, got 0", 1),
        ("run.py --sweep", "run.py: error: unrecognized arguments: --sweep", 2),
        ("plot.py nowhere", "Error: nowhere is no folder", 1),
    ],
)
def test_so_it_is_in_a_process_of_its_own(
    line: str, sentence: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *arguments = line.split()
    monkeypatch.chdir(tmp_path)
    typed = [str(ROOT / "scripts" / program), *arguments]
    ended = forked(typed, {**os.environ, "COLUMNS": "200"})
    assert ended.returncode == code
    assert ended.stderr.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in ended.stderr + ended.stdout
    assert not list(tmp_path.rglob("*.csv"))
