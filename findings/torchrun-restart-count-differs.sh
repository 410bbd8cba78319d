#!/usr/bin/env bash
# torchrun of torch 2.15.0: TORCHELASTIC_RESTART_COUNT is no number of the job's restart. Each agent counts the failures of its own
# workers. Where a worker of one of two agents fails, both agents start their workers anew, but only the agent of the failed worker
# counts: in the restarted job rank 0 reads 0 and rank 1 reads 1. MASTER_ADDR, MASTER_PORT and TORCHELASTIC_RUN_ID are those
# of the first start, so no variable that all ranks share tells the two starts apart. A program that refuses peers by this count
# refuses ranks of its own start, and one that ignores it may meet a process of the start before.
# Seen: first start 0 and 0, second start 0 and 1, one port.
# It downloads and unpacks some 5 GB.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir torch==2.15.0
cat >"$dir/worker" <<'SH'
#!/bin/sh
# Rank 1 fails once, when both agents have watched their workers for a while; rank 0 waits to be stopped for that.
echo "rank $RANK: restart count $TORCHELASTIC_RESTART_COUNT, port $MASTER_PORT"
if [ -e "$DIR/failed" ]; then exit 0; fi
if [ "$RANK" = 1 ]; then sleep 5; : >"$DIR/failed"; exit 1; fi
exec sleep 120
SH
chmod +x "$dir/worker"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
agent() { # agent RANK
  DIR=$dir timeout 180 "$dir/venv/bin/torchrun" --nnodes 2 --node-rank "$1" --nproc-per-node 1 --max-restarts 2 --rdzv-backend c10d \
    --rdzv-endpoint "127.0.0.1:$port" --rdzv-id finding --no-python "$dir/worker" >"$dir/agent-$1" 2>"$dir/said-$1"
}
agent 0 &
agent 1 &
wait || true
got=$(cat "$dir"/agent-* | sort)
printf '%s\n' "$got"
counts=$(printf '%s\n' "$got" | sed 's/, port.*//')
ports=$(printf '%s\n' "$got" | sed 's/.*port //' | sort -u | wc -l)
want='rank 0: restart count 0
rank 0: restart count 0
rank 1: restart count 0
rank 1: restart count 1'
[ "$counts" = "$want" ] && [ "$ports" = 1 ] || { cat "$dir"/said-* | tail -n 20; echo "torchrun behaves otherwise now; expected, with one port:"; echo "$want"; exit 1; }
