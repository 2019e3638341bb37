# systemctl does what a person expects.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
workers:
  api: { command: [python3, -m, http.server, "8080"], user: nobody, restart: always, ready: { tcp: 127.0.0.1:8080 } }
  tick: { worker: ticker, isolation: process, args: { interval: 100ms } }
YAML
becomes "the workers run" is_running api
becomes "the workers serve" curl -sf http://127.0.0.1:8080/
equal "as another user" "$(stat -c %U "/proc/$(worker api pid)")" nobody
usage() { supervisord-rs status | grep -E '^ *api ' | grep -qE '[0-9.]+ ?(M|K)'; }
check "what it uses is seen, though it is another user's" usage

first=$(main_pid)
kill -9 "$first"
becomes "killed, it is started again" succeeded "$first"
becomes "and its workers run" is_running api
incident() { supervisord-rs incidents 1 --json | grep -q SIGKILL; }
becomes "the incident says of what it died, which only systemd has seen" incident

check "systemctl reload" systemctl reload "$unit"
echo 'version: 1
workers: { broken: { command: 5 } }' >"$config"
refuses "systemctl reload refuses an invalid configuration" systemctl reload "$unit"
check "and goes on" systemctl is-active "$unit"
becomes "with its workers" is_running api

cat >"$config" <<'YAML'
version: 1
workers:
  stubborn: { command: [sh, -c, "trap '' TERM; setsid sleep 1d & sleep 1d"], stop: { timeout: 1s } }
YAML
before=$(main_pid)
incidents=$(supervisord-rs incidents | wc -l)
check "systemctl restart" systemctl restart "$unit"
differ "is another process" "$(main_pid)" "$before"
becomes "and runs what stands in the new file" is_running stubborn
# After a reload the main process is no child of systemd's.
equal "the end before was in order: no incident" "$(supervisord-rs incidents | wc -l)" "$incidents"

check "systemctl stop" systemctl stop "$unit"
equal "ends well" "$(show Result)" success
check "leaves no process" nobody
refuses "not even a daemon" pgrep -f 'sleep 1d'
