# A unit without an fd store has a guardian. Killed at any time under load, it takes everything down in order, and the
# unit starts again: with the default KillMode=, which ends the whole cgroup, and with KillMode=process, where the next
# `run` is there before the old supervisor has ended. SUPERVISORD_RS_GUARDIAN_KILLS: how often each (3).
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

unit=supervisord-rs-plain.service
plain=/run/supervisord-rs-plain
logs=/var/log/supervisord-rs-plain
orderly=4
mkdir -p /etc/supervisord-rs
cat >/etc/supervisord-rs/plain.yaml <<'YAML'
version: 1
workers:
  orderly:
    instances: 4
    command: [sh, -c, "trap 'echo BYE; exit 0' TERM; echo UP; while :; do sleep 1d & wait $!; done"]
  busy: { worker: ticker, instances: 4, isolation: process, args: { interval: 1ms } }
  cell: { worker: ticker, instances: 2, isolation: thread, cell: c, args: { interval: 1ms } }
YAML

# A field of the supervisor in its status.
supervisor() {
    supervisord-rs status --json --socket "$plain/control.sock" | python3 -c '
import json, sys
print(json.load(sys.stdin)["supervisor"][sys.argv[1]])' "$1"
}
all_up() {
    supervisord-rs status --json --socket "$plain/control.sock" | python3 -c '
import json, sys
report = json.load(sys.stdin)
is_other = report["supervisor"]["guardian"] not in (None, int(sys.argv[1]))
sys.exit(not (is_other and all(worker["phase"] == "running" for worker in report["workers"])))' "$1" &&
        [ "$(said UP)" = $((orderly + $(said BYE))) ]
}
said() { cat "$logs"/orderly.*.log 2>/dev/null | grep -c "$1" || true; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }

for mode in control-group process; do
    cat >/etc/systemd/system/$unit <<UNIT
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=$(command -v supervisord-rs) run -c /etc/supervisord-rs/plain.yaml
Restart=always
KillMode=$mode
RuntimeDirectory=supervisord-rs-plain
RuntimeDirectoryPreserve=yes
StateDirectory=supervisord-rs-plain
LogsDirectory=supervisord-rs-plain
UNIT
    rm -rf "$logs"
    systemctl daemon-reload
    systemctl start $unit
    guardian=0
    for round in $(seq "${SUPERVISORD_RS_GUARDIAN_KILLS:-3}"); do
        becomes "$mode, $round: all workers run" all_up "$guardian"
        guardian=$(supervisor guardian) supervisor=$(supervisor pid)
        equal "$mode, $round: the guardian is the main process" "$guardian" "$(main_pid)"
        kill -9 "$guardian"
        becomes "$mode, $round: the supervisor ends" is_gone "$supervisor"
        equal "$mode, $round: each worker was asked to end" "$(said BYE)" $((round * orderly))
    done
    becomes "$mode: all workers run again" all_up "$guardian"
    systemctl stop $unit
    check "$mode: a stop leaves no process" [ -z "$(cat /sys/fs/cgroup/system.slice/$unit/cgroup.procs 2>/dev/null)" ]
    equal "$mode: and is in order" "$(said BYE)" "$(said UP)"
done
