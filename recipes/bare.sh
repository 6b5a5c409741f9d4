#!/usr/bin/env bash
# A Ray cluster over machines that ssh reaches, for one sweep: recipes/bare.sh HEAD NODE… -- SWEEP ARGUMENTS…
#
#   recipes/bare.sh node1 node2 node3 -- +model=resnet conversions=cpu_all dispatch.working_dir=.
#
# Start it on HEAD, which the others must be able to reach by that name. SWEEP_PYTHON is the interpreter of the
# environment with sweep in it, at the same path on every machine (default: python).
set -euo pipefail

python=${SWEEP_PYTHON:-python}
remote=${SWEEP_SSH:-ssh}
port=${SWEEP_PORT:-6379}
head=$1
nodes=()
shift
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    nodes+=("$1")
    shift
done
shift

# what is measured must not yield to all else on a machine, as Ray's workers do by themselves
export RAY_worker_niceness=0

stop() {
    for node in "${nodes[@]}"; do
        "$remote" "$node" "$python -m ray.scripts.scripts stop" || true
    done
    "$python" -m ray.scripts.scripts stop
}
trap stop EXIT
"$python" -m ray.scripts.scripts start --head --node-ip-address="$head" --port="$port" --disable-usage-stats
for node in "${nodes[@]}"; do
    "$remote" "$node" "RAY_worker_niceness=0 $python -m ray.scripts.scripts start --address=$head:$port --disable-usage-stats"
done
"$python" -m sweep dispatch.address=auto "$@"
