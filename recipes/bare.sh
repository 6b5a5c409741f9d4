#!/usr/bin/env bash
# A Ray cluster over machines that ssh reaches, for one sweep: recipes/bare.sh HEAD NODE… -- SWEEP ARGUMENTS…
#
#   recipes/bare.sh node1 node2 node3 -- +model=resnet conversions=cpu_all dispatch.working_dir=. hydra.sweep.dir=run
#
# Start it on HEAD, which the others must be able to reach by that name. SWEEP_PYTHON is the interpreter of the
# environment with sweep in it, at the same path on every machine (default: python). The same command again goes on
# with the sweep (resume=auto), and with a finished one does nothing.
#
# This Ray has a port and temporary folders of its own, and only this one is ended: another Ray on these machines stays
# as it is. The port is 6379, or any other where that is taken; SWEEP_PORT names one that must be free.
set -euo pipefail

python=${SWEEP_PYTHON:-python}
remote=${SWEEP_SSH:-ssh}
head=$1
nodes=()
shift
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    nodes+=("$1")
    shift
done
shift
case " $* " in *" resume="*) ;; *) set -- resume=auto "retry=[lost]" "$@" ;; esac

# that of Ray, and one for its clients, which would take a port that another Ray has
ports=$("$python" - "${SWEEP_PORT:-}" <<'PYTHON'
import socket, sys


def free(*wanted):
    for number in wanted:
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", number))
        except OSError:
            continue
        return probe
    sys.exit(f"recipes/bare.sh: port {wanted[0]} is taken, perhaps by another Ray: leave SWEEP_PORT out, or name a free one")


found = [free(int(sys.argv[1])) if sys.argv[1] else free(6379, 0), free(0)]
print(*(probe.getsockname()[1] for probe in found))
PYTHON
) || exit 2
read -r port client <<<"$ports"

# as `ray start` does by itself; who connects to an address must do the same
if [ -z "${RAY_AUTH_MODE:-}" ] && { [ -n "${RAY_AUTH_TOKEN:-}" ] || [ -e "${HOME:-}/.ray/auth_token" ]; }; then
    export RAY_AUTH_MODE=token
fi

# The words for a shell on any machine: a Ray that ends when its standard input does, and its temporary folder with it.
# What is measured must not yield to all else on a machine, as Ray's workers do by themselves (niceness).
a_ray() {
    echo "d=\$(mktemp -d /tmp/sweep-ray-XXXXXX) || exit; RAY_worker_niceness=0 $python -m ray.scripts.scripts start $*" \
        "--temp-dir=\$d --dashboard-agent-listen-port=0 --disable-usage-stats --block </dev/null 2>&1 &" \
        "cat >/dev/null; kill \$! 2>/dev/null; wait \$!; rm -rf \$d"
}

# Everyone reads this pipe, and only this shell may write to it: however it ends, they all come to the pipe's end.
folder=$(mktemp -d)
mkfifo "$folder/alive"
exec 9<>"$folder/alive"
bash -c "$(a_ray --head --node-ip-address="$head" --port="$port" --ray-client-server-port="$client" \
    --include-dashboard=false)" <"$folder/alive" >"$folder/0.log" 9>&- &
end() {
    exec 9>&-
    wait
    rm -rf "$folder"
}
trap end EXIT

# until all of so many say that they run; who comes later is used too
wait_for() {
    for _ in $(seq "${SWEEP_PATIENCE:-60}"); do
        [ "$(cat "$folder"/*.log 2>/dev/null | grep -c "Ray runtime started")" -ge "$1" ] && return
        sleep 1
    done
    cat "$folder"/*.log >&2
    return 1
}
if ! wait_for 1; then
    echo "recipes/bare.sh: no Ray could be started on $head; what it said is above" >&2
    exit 2
fi
for number in "${!nodes[@]}"; do
    "$remote" "${nodes[number]}" "$(a_ray --address="$head:$port")" \
        <"$folder/alive" >"$folder/$((number + 1)).log" 9>&- &
done
wait_for $((${#nodes[@]} + 1)) || echo "recipes/bare.sh: going on without the nodes that did not start" >&2

set -m # or it would ignore Ctrl-C, being in the background, which it is so that signals can be passed on to it
"$python" -m sweep "dispatch.address=$head:$port" "$@" 9>&- &
sweep=$!
set +m
trap 'kill -INT "$sweep"' INT
trap 'kill -TERM "$sweep"' TERM HUP
code=0
wait "$sweep" || code=$?
while kill -0 "$sweep" 2>/dev/null; do # a signal ends `wait`, and not what it waits for
    code=0
    wait "$sweep" || code=$?
done
exit "$code"
