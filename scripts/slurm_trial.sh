#!/bin/bash
# slurm_trial.sh FOLDER: does launcher=slurm do on a cluster what launcher=local does here?
#
# Sets up a Slurm of one node on this machine (Debian, as root; missing packages are installed, none
# is ever removed), runs a grid of 8 small runs on it, has one job requeued half-way and kills
# another, gives the same command again until all runs have finished, and compares every number
# with the same grid under launcher=local. Everything lies below FOLDER, listens on the loopback
# address only and is stopped at the end. The last line is the verdict; exit code 0 if it passed.
#   PYTHON  the interpreter that has this project's dependencies (default: python)
#   PORT    first of three free ports (default: 26817)
set -euo pipefail
[ $# -eq 1 ] && [ "$(id -u)" = 0 ] || { echo "usage, as root: $0 FOLDER" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd -P)
mkdir -p "$1"; dir=$(cd "$1" && pwd -P)
python=$(command -v "${PYTHON:-python}"); port=${PORT:-26817}; rounds=40
export PATH=$PATH:/usr/sbin SLURM_CONF=$dir/slurm.conf PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$dir"/{log,run,munge,ctld,slurmd,db}; chmod 755 "$dir"; chmod 700 "$dir"/{munge,ctld,db}

# --- processes: only those whose pid file is ours and whose name is right -----------------------
is() { [ -n "$1" ] && [[ $(cat "/proc/$1/stat" 2>/dev/null) == "$1 ($2) "[!ZX]* ]]; }  # PID NAME
alive() { is "$(cat "$dir/run/$1.pid" 2>/dev/null)" "$1"; }                              # NAME
stop() {                                                                                 # NAME
    local pid n=100; pid=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 0
    is "$pid" "$1" && kill -TERM "$pid"
    while is "$pid" "$1" && [ $((n -= 1)) -gt 0 ]; do sleep 0.1; done
    if is "$pid" "$1"; then kill -KILL "$pid"; fi
    rm -f "$dir/run/$1.pid"
}
die() { echo "slurm_trial: $*" >&2; echo "see $dir/log" >&2; exit 1; }
wait_for() {  # SECONDS WHAT COMMAND...: poll until the command succeeds
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || die "$what: not after the time given for it"
        sleep 0.3
    done
}
end() {
    set +e
    alive slurmctld && scancel --user=root && for _ in {1..60}; do idle && break; sleep 0.5; done
    for name in slurmd slurmctld slurmdbd mariadbd munged; do stop $name; done
}
idle() { [ -z "$(squeue -h -o %A)" ]; }
trap end EXIT

# --- packages ------------------------------------------------------------------------------------
missing=()
for package in munge slurmctld slurmd slurm-client slurmdbd mariadb-server-core mariadb-client-core; do
    dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q 'ok installed' || missing+=($package)
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "Installing ${missing[*]}"
    policy=/usr/sbin/policy-rc.d  # while this says 101, no package starts a service of its own
    if [ ! -e $policy ]; then
        made=$policy; trap 'rm -f $policy; end' EXIT; printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } \
        >"$dir/log/apt.log" 2>&1 || die "apt-get failed"
    [ -z "${made:-}" ] || rm -f "$made"
    trap end EXIT
fi

# --- a cluster of one node -----------------------------------------------------------------------
host=$(hostname -s); cpus=$(nproc); [ "$cpus" -ge 2 ] || cpus=2
[ -s "$dir/munge/munge.key" ] || (umask 077; head -c 128 /dev/urandom >"$dir/munge/munge.key")
# cred_expire is also how long a requeued job waits; config_overrides: believe CPUs, not the hardware
cat >"$SLURM_CONF" <<CONF
ClusterName=trial
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/ctld
SlurmdSpoolDir=$dir/slurmd
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
JobRequeue=1
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
KillWait=5
MinJobAge=3600
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$dir/run/munge.socket
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$((cpus * 1100)) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
(umask 077; cat >"$dir/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile=$dir/run/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
CONF
socket=$dir/db/mariadb.socket  # in a folder that only root may enter
database=(--no-defaults --user=root --socket="$socket")
alive munged || munged --force --key-file="$dir/munge/munge.key" --socket="$dir/run/munge.socket" \
    --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
    --seed-file="$dir/munge/munge.seed" 2>>"$dir/log/munged.err.log" || die "munged failed"
wait_for 10 munged munge --socket="$dir/run/munge.socket" -n
[ -d "$dir/db/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$dir/db" --skip-test-db \
    --auth-root-authentication-method=socket >"$dir/log/mariadb-install.log" 2>&1 || die "no database"
alive mariadbd || setsid mariadbd "${database[@]}" --datadir="$dir/db" --pid-file="$dir/run/mariadbd.pid" \
    --skip-networking --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
    >"$dir/log/mariadb.log" 2>&1 </dev/null &
wait_for 30 mariadbd mariadb "${database[@]}" -e "select 1"
alive slurmdbd || MYSQL_UNIX_PORT=$socket slurmdbd || die "slurmdbd failed"
wait_for 30 slurmdbd sacctmgr -n show cluster
alive slurmctld || slurmctld || die "slurmctld failed"
wait_for 30 slurmctld sh -c "scontrol ping | grep -q 'is UP'"
alive slurmd || slurmd || die "slurmd failed"
wait_for 30 "the node" sh -c "sinfo -h -p main -t idle -o %n | grep -q ."
echo "Slurm is up: $(sinfo -h -p main -o '%n %T, %c cores, %m MB')"

# --- the grid, with one job requeued and one killed ------------------------------------------------
cd "$root"
out=$(mktemp -d "$dir/grid.XXXXXX")
grid=(method=ifl,local "seed=0,1,2,3" clients=mlp_homogeneous rounds=$rounds eval_every=$((rounds / 4)) runtime.threads=1)
slurm=("$python" scripts/run.py launcher=slurm "${grid[@]}" outputs="$out/slurm" hydra.launcher.mem_gb=1
    hydra.launcher.timeout_min=30 hydra.launcher.signal_delay_s=10 hydra.launcher.array_parallelism="$cpus")
# The first argument of these is a run's number in the grid, which is its index in the job array.
half_way() { grep -qs "^round $((rounds / 2))/" "$out"/slurm/runs/.submitit/*/*_"$1"_0_log.out; } 
raw() { squeue -h -r -t R -o "%K %A" | awk -v i="$1" '$1 == i {print $2}'; }
interpreter() {
    for pid in $(scontrol listpids "$(raw "$1")" | awk 'NR > 1 && $1 > 0 {print $1}'); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q '^[^ ]*python.* submitit'; then echo "$pid"; fi
    done
}
"${slurm[@]}" & parent=$!
wait_for 120 "half of run 0" half_way 0
array=$(squeue -h -t R -o %F | head -n 1)
kill -USR2 "$(interpreter 0)" && echo "Asked to requeue itself, as before a preemption: run 0"
wait_for 120 "half of run 3" half_way 3
kill -KILL "$(interpreter 3)" && echo "Killed, half-way: run 3"
wait $parent && die "the first command did not notice the killed run"
wait_for 300 "end of the other jobs" idle
for attempt in 2 3 4; do
    echo "The same command, time $attempt"
    "${slurm[@]}" && break
    wait_for 300 "end of the jobs" idle
done
echo "Jobs of the first command by their end:"; sacct -D -X -n -j "$array" -o State | sort | uniq -c
requeued=$(sacct -D -X -n -j "$array" -o State | grep -c REQUEUED || true)
killed=$(sacct -D -X -n -j "$array" -o State | grep -c FAILED || true)

echo "The same grid, launcher=local"
"$python" scripts/run.py launcher=local "${grid[@]}" outputs="$out/local"

# --- equal? ---------------------------------------------------------------------------------------
"$python" - "$out/slurm" "$out/local" "$requeued" "$killed" <<'PY'
import csv, json, sys
from pathlib import Path
from ifl.runs.folder import fingerprint

def tables(outputs):
    """The rows of rounds.csv without the seconds, of the finished run of every configuration."""
    found = {}
    for path in Path(outputs).rglob("run.json"):
        about = json.loads(path.read_text())
        if about["finished"]:
            with open(path.with_name("rounds.csv"), newline="") as file:
                rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
            found[fingerprint(about["config"])] = rows
    return found

slurm, local = map(tables, sys.argv[1:3])
requeued, killed = map(int, sys.argv[3:])
equal = sum(slurm.get(name) == rows and len(rows) > 0 for name, rows in local.items())
passed = len(slurm) == len(local) == equal == 8 and requeued >= 1 and killed >= 1
print(f"{'PASSED' if passed else 'FAILED'}: {equal} of 8 runs are equal in every column but seconds "
      f"({len(slurm)} finished under Slurm, {len(local)} here; jobs requeued: {requeued}, killed: {killed})")
sys.exit(not passed)
PY
