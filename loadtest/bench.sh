#!/usr/bin/env bash
# Measures a release build with fusion on and off, and the peers in PEERS_DIR if there is such a folder, in turn:
# ours, peer, ours, peer. Prints one table; the lines behind it stay in target/bench.
#
#   loadtest/bench.sh                                  ours alone
#   PEERS_DIR=… loadtest/bench.sh                      with dramatiq, celery and restate
#   PEERS=dramatiq WORKLOADS=W1,W4 ROUNDS=1 …          some of it
#
# More arguments go to apg-loadtest as they are (--flows 200, --set engine.task_queue_size=5000).
set -euo pipefail
cd "$(dirname "$0")/.."

workloads=${WORKLOADS:-idle,W1,W2,W3,W4}
rounds=${ROUNDS:-2}
shapes=${SHAPES:-embedded cluster}
peers=${PEERS:-dramatiq celery restate}
unfused=${UNFUSED:-W1,W3}
out=target/bench
loadtest=target/release/apg-loadtest

cargo build --release -p cli -p loadtest
mkdir -p "$out"
lines="$out/$(date -u +%Y%m%dT%H%M%SZ).jsonl"
: >"$lines"

# A shape that cannot be measured leaves its lines out; the others still count.
ours() {
  local shape run=()
  for shape in $shapes; do
    run=()
    # The services are up only while they are used, so that they take nothing from a peer.
    [ "$shape" = cluster ] && run=(deploy/dev/services run)
    "${run[@]}" "$loadtest" --start "$shape" --workloads "$workloads" "$@" | tee -a "$lines" \
      || echo "bench: $shape was not measured to its end" >&2
    # Of these alone the steps follow one another.
    "${run[@]}" "$loadtest" --start "$shape" --workloads "$unfused" --set engine.fusion=false --variant unfused "$@" \
      | tee -a "$lines" || echo "bench: $shape was not measured to its end" >&2
  done
}

theirs() {
  # Their harness keeps its installations under a variable of the same name as ours.
  env -u PEERS WORKLOADS="$workloads" "$PEERS_DIR/$1/run.sh" | tee -a "$lines" \
    || echo "bench: $1 was not measured to its end" >&2
}

for _ in $(seq "$rounds"); do
  if [ -n "${PEERS_DIR:-}" ] && [ -d "$PEERS_DIR" ]; then
    for peer in $peers; do
      ours "$@"
      if [ -x "$PEERS_DIR/$peer/run.sh" ]; then theirs "$peer"; fi
    done
  else
    ours "$@"
  fi
done
if [ -n "${SCALE:-}" ]; then
  deploy/dev/services run "$loadtest" --start cluster --workloads scale "$@" | tee -a "$lines"
fi

echo
echo "lines: $lines"
"$loadtest" --table "$lines"
