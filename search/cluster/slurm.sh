#!/bin/bash
# A search on the machines of a Slurm job:
#   sbatch search/cluster/slurm.sh --name fleet --trials 400 --workers 8 --set search.gpus_per_worker=0.5
# Submit it from an environment that has `paretolens` and `ray` on its PATH. What follows the script's name goes to
# `paretolens search`; --name is needed, so that a requeued job finds its study. Without search.gpus_per_worker, workers of a
# cluster train on the CPU.
# Environment: PARETOLENS_WORKSPACE (on storage that all nodes mount), LATENCY_RESOURCE (e.g. latency:h200: the last node of the
# job then only times students), GPUS_PER_NODE, REQUEUE_AFTER (seconds after Slurm's warning, which comes 300 s before the end).
# See docs/cluster.md.
#SBATCH --job-name=paretolens
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=paretolens-%j.log
set -euo pipefail

: "${PARETOLENS_WORKSPACE:=$PWD/runs}" "${GPUS_PER_NODE:=1}" "${LATENCY_RESOURCE:=}" "${RAY_PORT:=6379}" "${REQUEUE_AFTER:=240}"
export PARETOLENS_WORKSPACE
cpus=${SLURM_CPUS_PER_TASK:-1}
export SRUN_CPUS_PER_TASK=$cpus # since Slurm 22.05 srun does not take it from the job: all workers of a node would share one core

name=""
previous=""
for argument in "$@"; do
    [ "$previous" = --name ] && name=$argument
    case $argument in --name=*) name=${argument#--name=} ;; esac
    previous=$argument
done
[ -n "$name" ] || { echo "slurm.sh: give the study a --name, so that a requeued job can go on with it" >&2; exit 2; }

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
if [ -n "$LATENCY_RESOURCE" ] && [ "${#nodes[@]}" -lt 2 ]; then
    echo "slurm.sh: LATENCY_RESOURCE=$LATENCY_RESOURCE takes the last node for timing alone, but the job has ${#nodes[@]}: ask for" \
        "--nodes=2 or more, or leave LATENCY_RESOURCE empty, so that each worker times its own students" >&2
    exit 2
fi

head=${nodes[0]}
# Its first IPv4 address that others can reach. Debian's nodes give themselves 127.0.1.1 by name: only then all are asked for, among
# which a bridge of containers may come first.
first_address() { tr -s ' ' '\n' | awk -v kind="$1" '/^[0-9.]+$/ && (/^127\./ ? "loopback" : "reachable") == kind && !found { found = $0 } END { print found }'; }
said=""
address=""
for which in --ip-address --all-ip-addresses; do
    [ -z "$address" ] || break
    answer=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname "$which" || true)
    said="$said $answer"
    address=$(first_address reachable <<<"$answer")
done
[ -n "$address" ] || address=$(first_address loopback <<<"$said")
if [ -z "$address" ]; then
    echo "slurm.sh: Ray's head needs an IPv4 address that the other nodes reach; of $head, hostname tells:${said//$'\n'/ }" >&2
    exit 2
fi
address=$address:$RAY_PORT

# Whoever reaches Ray's ports may run code: one token per job, in a folder that only this user can read.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$PARETOLENS_WORKSPACE/.ray-$SLURM_JOB_ID/auth_token"
mkdir -p "$PARETOLENS_WORKSPACE" && (umask 077 && mkdir -p "${RAY_AUTH_TOKEN_PATH%/*}" && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")

steps=()
driver=""
patience=""

start_node() { # node, further arguments of `ray start`
    local node=$1
    shift
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" ray start --block --disable-usage-stats "$@" &
    steps+=($!)
}

# shellcheck disable=SC2329 # traps call it
finish() {
    trap - EXIT
    [ -z "$patience" ] || kill "$patience" 2>/dev/null || true
    for step in "${steps[@]}"; do kill -TERM "$step" 2>/dev/null || true; done
    wait "${steps[@]}" 2>/dev/null || true
    rm -rf "${RAY_AUTH_TOKEN_PATH%/*}"
}
trap finish EXIT

warned=0
# Slurm's time is nearly up, or the job is preempted: end the search cleanly, then queue the job again. A search that takes too
# long over its end is not waited for: what its journal holds is safe.
# shellcheck disable=SC2329 # traps call it
warn() {
    [ "$warned" -eq 0 ] || return 0
    warned=1
    [ -z "$driver" ] || kill -USR1 "$driver" 2>/dev/null || true
    (
        trap 'kill "$!"; exit' TERM
        sleep "$REQUEUE_AFTER" &
        wait "$!" && exec scontrol requeue "$SLURM_JOB_ID"
    ) >/dev/null 2>&1 &
    patience=$!
}
trap warn USR1

start_node "$head" --head --port="$RAY_PORT" --num-cpus="$cpus" --num-gpus="$GPUS_PER_NODE" --include-dashboard=false
for attempt in $(seq 60); do
    ray status --address "$address" >/dev/null 2>&1 && break
    [ "$attempt" -lt 60 ] || { echo "slurm.sh: Ray did not start on $head" >&2; exit 1; }
    sleep 2
done
last=$((${#nodes[@]} - 1))
for index in $(seq 1 "$last"); do
    if [ -n "$LATENCY_RESOURCE" ] && [ "$index" -eq "$last" ]; then
        start_node "${nodes[$index]}" --address="$address" --num-cpus=0 --num-gpus="$GPUS_PER_NODE" --resources="{\"$LATENCY_RESOURCE\": 1}"
    else
        start_node "${nodes[$index]}" --address="$address" --num-cpus="$cpus" --num-gpus="$GPUS_PER_NODE"
    fi
done

arguments=("$@" --address "$address")
[ -z "$LATENCY_RESOURCE" ] || arguments+=(--set "search.latency_resource=$LATENCY_RESOURCE")
[ ! -e "$PARETOLENS_WORKSPACE/studies/$name/study.yaml" ] || arguments+=(--resume)

code=138
if [ "$warned" -eq 0 ]; then
    paretolens search "${arguments[@]}" &
    driver=$!
    while kill -0 "$driver" 2>/dev/null; do # `wait` returns early when a signal is trapped
        wait "$driver" && code=0 || code=$?
    done
fi
if [ "$warned" -eq 1 ] && [ "$code" -ge 128 ]; then
    echo "slurm.sh: stopped before Slurm's limit; the job is queued again and goes on"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
