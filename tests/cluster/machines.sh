#!/usr/bin/env bash
# Four machines: network namespaces with veth pairs on one bridge, each with its own address, sockets and state. One has the
# scheduler, two have pools with workers; the programs are started on the fourth, whose pool has none. Joining is by
# invitation, everything between the machines is under TLS. Where namespaces cannot be made, the pools share the loopback
# interface, which exercises all of it but the certificates; the last line says which of both it was.
#
#   machines.sh SHEAF EXAMPLES [faults]
set -euo pipefail
sheaf=$1 examples=$2 faults=${3:-}
work=$(mktemp -d /tmp/sheaf-machines-XXXXXX)
tag=sm$$
machines=(sched near far1 far2)
pids=()
mode=namespaces

finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  pkill -9 -f "$work/" 2>/dev/null || true # what was launched outlives whoever launched it
  if [ $mode = namespaces ]; then
    for name in hub "${machines[@]}"; do ip netns del "$tag-$name" 2>/dev/null || true; done
  fi
  rm -rf "$work"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  tail -n 30 "$work"/*.log >&2 || true
  exit 1
}

make_machines() {
  ip netns add "$tag-hub" 2>/dev/null || return 1
  ip -n "$tag-hub" link add br0 type bridge 2>/dev/null || return 1
  ip -n "$tag-hub" link set br0 up
  local i=1 name
  for name in "${machines[@]}"; do
    ip netns add "$tag-$name"
    ip -n "$tag-$name" link set lo up
    ip link add "p-$name" netns "$tag-hub" type veth peer name eth0 netns "$tag-$name" || return 1
    ip -n "$tag-hub" link set "p-$name" master br0 up
    ip -n "$tag-$name" addr add "10.77.0.$i/24" dev eth0
    ip -n "$tag-$name" link set eth0 up
    i=$((i + 1))
  done
}

# on MACHINE COMMAND...: with its own home, state and runtime directory.
on() {
  local name=$1 home=$work/$1
  shift
  local prefix=()
  if [ $mode = namespaces ]; then prefix=(ip netns exec "$tag-$name"); fi
  "${prefix[@]}" env -u SHEAF_ADDRESS HOME="$home" XDG_RUNTIME_DIR="$home" XDG_STATE_HOME="$home" \
    SHEAF_CACHE="$home/programs" "$@"
}

await() {
  for _ in $(seq 200); do
    if [ -s "$1" ]; then return; fi
    sleep 0.05
  done
  fail "nothing was written to $1"
}

start_pool() {
  local name=$1 workers=$2 how
  rm -f "$work/$name/address"
  if [ $mode = namespaces ]; then
    [ -s "$work/$name/invitation" ] || on sched "$sheaf" token create --out "$work/$name/invitation" 2>/dev/null
    how=(--join 10.77.0.1:7400 --token-file "$work/$name/invitation")
  else
    how=(--scheduler "$(cat "$work/sched/address")")
  fi
  on "$name" "$sheaf" pool start --workers "$workers" --id "$name" --store 2GiB --drain 1 "${how[@]}" \
    --address-file "$work/$name/address" >>"$work/$name.log" 2>&1 &
  pids+=($!)
  eval "pid_$name=$!"
  await "$work/$name/address"
}

# Three of ten frames of that machine are lost, each way: its link is replaced by one that does so, with the same addresses.
lose_frames() {
  local name=$1 address mac
  address=$(ip -n "$tag-$name" -br addr show eth0 | awk '{print $3}')
  mac=$(ip -n "$tag-$name" -br link show eth0 | awk '{print $3}')
  python3 "$(dirname "$0")/lossy_link.py" "$tag-hub" "l-$name" "$tag-$name" lossy "$2" 1 >"$work/lossy" 2>>"$work/lossy.log" &
  lossy=$!
  pids+=($lossy)
  for _ in $(seq 50); do [ -s "$work/lossy" ] && break; kill -0 $lossy 2>/dev/null || return 1; sleep 0.05; done
  ip -n "$tag-hub" link set "p-$name" down
  ip -n "$tag-$name" addr del "$address" dev eth0
  ip -n "$tag-$name" link set lossy address "$mac" up
  ip -n "$tag-$name" addr add "$address" dev lossy
  ip -n "$tag-hub" link set "l-$name" master br0 up
  lossy_address=$address
}
lose_none() {
  kill $lossy
  wait $lossy 2>/dev/null || true
  ip -n "$tag-$1" addr add "$lossy_address" dev eth0
  ip -n "$tag-hub" link set "p-$1" up
}

# Programs on the machine without workers.
run() { on near env SHEAF_ADDRESS="$(cat "$work/near/address")" timeout 300 "$@"; }

make_machines || {
  for name in hub "${machines[@]}"; do ip netns del "$tag-$name" 2>/dev/null || true; done
  mode=loopback
}
for name in "${machines[@]}"; do mkdir -m 700 "$work/$name"; done
listen=127.0.0.1:0
[ $mode = loopback ] || listen=10.77.0.1:7400
on sched "$sheaf" scheduler start --listen "$listen" --address-file "$work/sched/address" >"$work/sched.log" 2>&1 &
pids+=($!)
await "$work/sched/address"
start_pool near 0
start_pool far1 1
start_pool far2 1

if [ $mode = namespaces ]; then
  # The invitation was good once, and plain connections are good for nothing.
  on far1 timeout 20 "$sheaf" pool start --workers 1 --id thief --join 10.77.0.1:7400 \
    --token-file "$work/far1/invitation" >"$work/thief.log" 2>&1 && fail "an invitation was good twice"
  grep -q "used already" "$work/thief.log" || fail "a used invitation is refused without saying why"
  on far1 timeout 20 "$sheaf" pool start --workers 1 --scheduler 10.77.0.1:7400 >"$work/plain.log" 2>&1 &&
    fail "a pool without credentials reached a scheduler of other machines"
  [ "$(stat -c %a "$work/sched/sheaf/scheduler/pki")" = 700 ] || fail "the authority's directory is open"
fi

run "$examples/hello_task" >"$work/out" || fail "hello_task"
grep -q "hello world, from process" "$work/out" || fail "hello_task said: $(cat "$work/out")"
run "$examples/star_map" >"$work/out" || fail "star_map"
grep -q "y = 2.000" "$work/out" || fail "star_map said: $(cat "$work/out")"
run "$examples/pipeline" >"$work/out" || fail "pipeline"
grep -q ": right" "$work/out" || fail "pipeline said: $(cat "$work/out")"
run "$examples/train_batch" >"$work/out" || fail "train_batch"
grep -q "accuracy" "$work/out" || fail "train_batch said: $(cat "$work/out")"
run "$examples/sheaf_demo" --epochs 1 >"$work/out" 2>&1 || fail "the demo: $(tail -n 3 "$work/out")"
grep -q "test accuracy" "$work/out" || fail "the demo said: $(tail -n 3 "$work/out")"
on sched "$sheaf" status --address "$(cat "$work/sched/address")" >"$work/out" || fail "status"
for name in near far1 far2; do grep -q "^$name " "$work/out" || fail "status does not name $name"; done

if [ -n "$faults" ] && [ $mode = namespaces ]; then
  # A long program while its links are cut; it must end with the right answer.
  for fault in ${SHEAF_TEST_LINK_FAULTS:-both away back flap loss}; do
    run "$examples/sheaf_demo" --epochs "$([ $fault = loss ] && echo 40 || echo 3)" >"$work/demo-$fault" 2>&1 &
    demo=$!
    sleep 2
    case $fault in
      both) ip -n "$tag-hub" link set p-far1 down; sleep 4; ip -n "$tag-hub" link set p-far1 up ;;
      away) ip -n "$tag-near" route add blackhole 10.77.0.3; sleep 4; ip -n "$tag-near" route del blackhole 10.77.0.3 ;;
      back) ip -n "$tag-far1" route add blackhole 10.77.0.2; sleep 4; ip -n "$tag-far1" route del blackhole 10.77.0.2 ;;
      flap) for _ in 1 2 3 4 5 6; do
              ip -n "$tag-hub" link set p-far1 down; sleep 0.3; ip -n "$tag-hub" link set p-far1 up; sleep 0.3
            done ;;
      loss) lose_frames far1 0.3 && sleep 15 && lose_none far1 ||
              { echo "no TAP devices here: loss was not tried"; kill $demo; wait $demo || true; continue; } ;;
    esac
    wait $demo || fail "the demo ended with $? under the fault '$fault': $(tr '\r' '\n' <"$work/demo-$fault" | tail -n 5)"
    grep -q "test accuracy" "$work/demo-$fault" || fail "the demo under '$fault' said: $(tail -n 3 "$work/demo-$fault")"
    echo "survived: $fault"
  done
fi
if [ $mode = namespaces ]; then
  # A second cluster, started from its first machine over what stands in for ssh, and ended again.
  for name in far1 far2 near; do on sched "$sheaf" drain "$name" >"$work/out" || fail "drain $name: $(cat "$work/out")"; done
  cat >"$work/ssh" <<SSH
#!/usr/bin/env bash
home=$work/\$1
exec ip netns exec $tag-\$1 env HOME=\$home XDG_RUNTIME_DIR=\$home XDG_STATE_HOME=\$home bash -c "\$2"
SSH
  chmod 700 "$work/ssh"
  on sched "$sheaf" launch ssh far1 far2 --ssh "$work/ssh" --remote-sheaf "$sheaf" --workers 1 >"$work/out" ||
    fail "launch ssh: $(cat "$work/out" "$work"/far*/sheaf/pool.log)"
  grep -q "2 pools serve" "$work/out" || fail "launch said: $(cat "$work/out")"
  await "$work/far1/sheaf/pool.address"
  on far1 env SHEAF_ADDRESS="$(cat "$work/far1/sheaf/pool.address")" timeout 60 "$examples/hello_task" >"$work/out" ||
    fail "hello_task on the launched cluster"
  on sched "$sheaf" launch ssh far1 far2 --ssh "$work/ssh" --remote-sheaf "$sheaf" --workers 1 >"$work/out" ||
    fail "launch ssh, again: $(cat "$work/out")"
  grep -q "far1: a pool of that name serves already" "$work/out" || fail "launch said, again: $(cat "$work/out")"
  on sched "$sheaf" launch ssh far1 far2 --down >"$work/out" || fail "launch --down: $(cat "$work/out")"
fi

echo "passed on $mode"
