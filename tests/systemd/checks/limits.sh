#!/usr/bin/env bash
# Limits of cgroups under the real systemd (252 or newer) with cgroup v2: they hold, and running out of memory is told apart
# from a SIGKILL by a person. Runs as root on a separate machine, with `supervisord-rs` in PATH. Leaves nothing behind.
set -euo pipefail

unit=supervisord-rs-limits-check
work=$(mktemp -d)
export RUNTIME_DIRECTORY=$work/run STATE_DIRECTORY=$work/state LOGS_DIRECTORY=$work/logs
export SUPERVISORD_RS_SOCKET=$work/run/control.sock
version=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')

for controller in memory cpu pids; do
    if ! grep -qw $controller /sys/fs/cgroup/cgroup.controllers; then
        echo "   SKIPPED: no controller $controller in this machine's cgroup tree"
        exit 77
    fi
done

say() { printf 'limits: %s\n' "$*"; }
fail() {
    say "FAILED: $*"
    supervisord-rs status || true
    supervisord-rs incidents || true
    journalctl --no-pager -n 40 -u "$unit" || true
    exit 1
}
wait_for() { # WORDS COMMAND...
    local what=$1
    shift
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited in vain for $what"
        sleep 0.1
    done
}
end() {
    systemctl stop "$unit" 2>/dev/null || true
    systemctl reset-failed "$unit" 2>/dev/null || true
    [ -z "${loop:-}" ] || losetup -d "$loop" || true
    rm -rf "$work"
}
trap end EXIT

# The first value of a key in the `status` of a worker.
field() { # WORKER KEY
    supervisord-rs status "$1" --json | tr -d ' \n' | sed 's/.*"workers"://' | grep -o "\"$2\":[^,}]*" | head -1 | cut -d: -f2 | tr -d '"'
}
is() { [ "$(field "$1" "$2")" = "$3" ]; }
has_incident() { supervisord-rs incidents | grep -q "$1"; }
cgroup_of() { echo "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")"; }
leaf() { # WORKER: where it is, once it runs
    local pid
    for _ in $(seq 100); do
        pid=$(field "$1" pid)
        if [ -e "/proc/${pid:-none}/cgroup" ]; then
            cgroup_of "$pid"
            return
        fi
        sleep 0.1
    done
}
# The growth of a counter in a second, by the clock and not by the time slept: the machine may be slow.
rate() { # FILE SED-SCRIPT
    local at count
    at=$(now) count=$(sed -n "$2" "$1")
    sleep 4
    echo $((($(sed -n "$2" "$1") - count) * 100 / ($(now) - at)))
}
now() { cut -d' ' -f1 /proc/uptime | tr -d .; }
has_restarted() { [ "$(field "$1" restarts)" -gt 0 ]; }
has_refused_forks() { grep -q '^max [1-9]' "$(leaf forker)/pids.events"; }
has_successor() { # OLD-PID
    local pid
    pid=$(main_pid)
    [ "$pid" != 0 ] && [ "$pid" != "$1" ] && is victim phase running
}
start() { # OPTION...
    systemctl reset-failed "$unit" 2>/dev/null || true
    systemd-run --quiet --collect --unit="$unit" -p Type=notify -p KillMode=mixed -p OOMPolicy=continue -p Restart=on-failure -p RestartSec=100ms \
        -E RUNTIME_DIRECTORY="$RUNTIME_DIRECTORY" -E STATE_DIRECTORY="$STATE_DIRECTORY" -E LOGS_DIRECTORY="$LOGS_DIRECTORY" \
        "$@" "$(command -v supervisord-rs)" run --no-guardian -c "$work/supervisord-rs.yaml"
}
main_pid() { systemctl show -P MainPID "$unit"; }

# A block device for the limits of `io`.
io=
truncate -s 64M "$work/disk"
if loop=$(losetup --show -f "$work/disk" 2>/dev/null); then
    io=", io: { $loop: { read_bytes: 1MiB } }"
else
    loop=
    say "no loop device: the limit of io is not looked at"
fi

cat >"$work/supervisord-rs.yaml" <<YAML
version: 1
defaults:
  ready: { after: 0s }
  restart: { backoff: { initial: 200ms, factor: 1, max: 200ms }, limit: { restarts: 1000, within: 60s } }
cells:
  box: { limits: { memory: 128MiB } }
workers:
  # One line of 200 MB, which is kept whole.
  eater: { shell: true, command: "sleep 5; head -c 200M /dev/zero | tail", limits: { memory: 64MiB } }
  victim: { command: [sleep, 1d], limits: { memory: 64MiB, cpu_weight: 60 } }
  # The inner shell ends when it cannot fork; what it has started stays, and so does the worker.
  forker: { shell: true, command: "sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 1d & done'; exec sleep 1d", limits: { pids: 6 }, autostart: false }
  burner: { shell: true, command: "while :; do :; done", limits: { cpu: 20% } }
  reader: { shell: true, command: "exec dd if=${loop:-/dev/null} of=/dev/null bs=64k iflag=direct; sleep 1d", autostart: false, restart: never, limits: { pids: 20$io } }
  free: { worker: ticker }
  boxed: { worker: ticker, isolation: thread, cell: box }
YAML
# In the machine of tests/systemd/run, each check brings its package.
if ! command -v supervisord-rs >/dev/null && [ -e /mnt/guest/lib.sh ]; then
    dpkg --install /mnt/packages/supervisord-rs_*-1_*.deb >/dev/null 2>&1
    systemctl stop supervisord-rs.service
fi
supervisord-rs check "$work/supervisord-rs.yaml" >/dev/null

check_enforced() { # WAY
    wait_for "the workers" is boxed phase running
    local base free victim
    free=$(field free pid)
    victim=$(field victim pid)
    base=/sys/fs/cgroup/system.slice/$unit.service
    [ "$(cgroup_of "$(main_pid)")" = "$base/supervisor" ] || fail "$1: the supervisor is in $(cgroup_of "$(main_pid)")"
    case $(leaf free) in "$base"/supervisord-rs-*/worker-free*) ;; *) fail "$1: a leaf is $(leaf free)" ;; esac

    wait_for "an incident out of memory" has_incident 'out-of-memory in eater'
    [ "$(field free pid)" = "$free" ] || fail "$1: free was restarted"
    [ "$(field victim pid)" = "$victim" ] || fail "$1: victim was restarted"
    [ "$(field free restarts)" = 0 ] || fail "$1: free was restarted"
    [ "$(field boxed restarts)" = 0 ] || fail "$1: boxed was restarted"
    wait_for "the eater to be back" has_restarted eater

    kill -KILL "$victim"
    wait_for "an incident by hand" has_incident ': killed in victim'
    wait_for "the victim to be back" is victim phase running
    ! has_incident 'out-of-memory in victim' || fail "$1: a person's SIGKILL was taken for the kernel's"
    [ "$(cat "$(leaf victim)/memory.max")" = $((64 << 20)) ] || fail "$1: memory.max"
    [ "$(cat "$(leaf victim)/cpu.weight")" = 60 ] || fail "$1: cpu.weight"
    [ "$(field victim memory)" = $((64 << 20)) ] || fail "$1: status does not show the limit"
    [ "$(cat "$(leaf boxed)/memory.max")" = $((128 << 20)) ] || fail "$1: memory.max of the cell"

    supervisord-rs start forker >/dev/null
    wait_for "processes refused by pids.max" has_refused_forks
    [ "$(cat "$(leaf forker)/pids.current")" -le 6 ] || fail "$1: more processes than allowed"
    supervisord-rs stop forker >/dev/null

    # 20% are 200 ms of a second; a period more is within the rule.
    local place used
    place=$(leaf burner)
    used=$(rate "$place/cpu.stat" 's/^usage_usec //p')
    say "$1: cpu: 20% took $((used / 1000)) ms a second"
    [ "$used" -gt 0 ] || fail "$1: the burner does not run"
    [ "$used" -lt 260000 ] || fail "$1: cpu.max does not hold"

    if [ -n "$loop" ]; then
        supervisord-rs start reader >/dev/null
        place=$(leaf reader)
        # A line for each device: the executable is read from another.
        local device
        device=$(cat "/sys/block/${loop##*/}/dev")
        wait_for "a reader" grep -q "^$device .*rbytes=" "$place/io.stat"
        used=$(rate "$place/io.stat" "s/^$device .*rbytes=\\([0-9]*\\).*/\\1/p")
        say "$1: io: 1 MiB/s read $((used / 1024)) KiB a second"
        [ "$used" -gt 0 ] || fail "$1: the reader reads nothing"
        [ "$used" -lt $((3 << 19)) ] || fail "$1: io.max does not hold"
        supervisord-rs stop reader >/dev/null
    fi

    # A successor finds the place of its predecessor.
    local old
    old=$(main_pid)
    kill -KILL "$old"
    wait_for "a successor and its workers" has_successor "$old"
    [ "$(cat "$(leaf victim)/memory.max")" = $((64 << 20)) ] || fail "$1: memory.max after the supervisor's death"
    systemctl stop "$unit"
    [ ! -e "$base" ] || [ -z "$(cat "$base"/cgroup.procs)" ] || fail "$1: something is left"
    rm -rf "$work/state" "$work/run"
    say "$1: ok"
}

start -p Delegate=yes
check_enforced "Delegate=yes"
if [ "$version" -ge 254 ]; then
    start -p Delegate=yes -p DelegateSubgroup=supervisor
    check_enforced "DelegateSubgroup=supervisor"
else
    say "systemd $version has no DelegateSubgroup=: not looked at"
fi

start -p Delegate=no
wait_for "a refusal" bash -c "supervisord-rs status victim --json | grep -q 'cannot enforce its limits: .*Delegate=yes'"
wait_for "what has no limits" is free phase running
[ "$(cgroup_of "$(main_pid)")" = "/sys/fs/cgroup/system.slice/$unit.service" ] || fail "it moved in a cgroup that is not its own"
systemctl stop "$unit"
say "Delegate=no: refused, ok"
say "all held"
