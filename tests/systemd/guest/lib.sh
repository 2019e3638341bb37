# Functions for all checks. Each check sources this file, and ends at its first failure.
# shellcheck shell=bash
set -euo pipefail

unit=supervisord-rs.service
config=/etc/supervisord-rs/supervisord-rs.yaml
export DEBIAN_FRONTEND=noninteractive

fail() {
    echo "   FAILED: $1"
    exit 1
}

# check WHAT COMMAND..: the command succeeds.
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "   ok: $what"
    else
        echo "$output" | tail -n 20
        fail "$what"
    fi
}

# refuses WHAT COMMAND..: the command fails.
refuses() {
    local what=$1
    shift
    ! "$@" >/dev/null 2>&1 || fail "$what"
    echo "   ok: $what"
}

# becomes WHAT COMMAND..: the command succeeds within two minutes; under emulation on a busy machine everything is slow.
becomes() {
    local what=$1 deadline=$((SECONDS + 120))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { systemctl status --no-pager "$unit" || true; fail "$what"; }
        sleep 0.2
    done
    echo "   ok: $what"
}

# equal WHAT ONE OTHER
equal() {
    [ "$2" = "$3" ] || fail "$1: $2 is not $3"
    echo "   ok: $1"
}

differ() {
    [ "$2" != "$3" ] || fail "$1: both are $2"
    echo "   ok: $1"
}

package() { ls /mnt/packages/supervisord-rs_*-"$1"_*.deb; }

install_package() {
    dpkg --install "$(package 1)" >/dev/null 2>&1 || fail "the package cannot be installed"
    becomes "the service is active" systemctl is-active "$unit"
}

# Installs the package and applies the configuration on standard input.
install_configured() {
    install_package
    cat >"$config"
    systemctl restart "$unit" || fail "it does not start with its configuration"
    becomes "with its configuration too" systemctl is-active "$unit"
}

show() { systemctl show --value --property "$1" "$unit"; }
main_pid() { show MainPID; }

# succeeded PID: another supervisor than this one runs and is ready.
succeeded() {
    local now
    now=$(main_pid)
    [ "$now" != 0 ] && [ "$now" != "$1" ] && systemctl -q is-active "$unit"
}

# worker NAME FIELD: a field of its status in JSON.
worker() {
    supervisord-rs status --json | python3 -c '
import json, sys
name, field = sys.argv[1:]
print(next(w for w in json.load(sys.stdin)["workers"] if w["name"] == name).get(field))' "$1" "$2"
}
is_running() { [ "$(worker "$1" phase)" = running ]; }

# has_controllers NAME..: in a container the host may keep them to itself.
has_controllers() {
    local name
    for name in "$@"; do
        if ! grep -qw "$name" /sys/fs/cgroup/cgroup.controllers; then
            echo "   SKIPPED: no controller $name in this machine's cgroup tree"
            exit 77
        fi
    done
}

# The processes in the unit's cgroup or below it.
members() { find "/sys/fs/cgroup/system.slice/$unit" -name cgroup.procs -exec cat {} + 2>/dev/null || true; }
nobody() { [ -z "$(members)" ]; }
