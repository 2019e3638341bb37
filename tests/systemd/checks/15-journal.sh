# The journal's fields: journalctl WORKER=api shows the worker's output and the entries about it.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
supervisor: { fault_injection: allow }
workers:
  api: { command: [sh, -c, "echo hello from api; exec sleep 1d"], restart: always, logs: { stdout: journald } }
YAML
becomes "the worker runs" is_running api
# Entries of this supervisor: the journal has those of other checks too.
entries() { journalctl -q --no-pager -o json "_PID=$(main_pid)" "$@"; }
has() { local text=$1 && shift && entries "$@" | grep -q "$text"; }
becomes "its own words" has 'hello from api' WORKER=api
becomes "that it runs" has 'running' WORKER=api "_SYSTEMD_UNIT=$unit" SYSLOG_IDENTIFIER=supervisord-rs
supervisord-rs inject api signal-kill >/dev/null
becomes "its incident, by number" has 'incident 1' WORKER=api INCIDENT=1
becomes "with its fault domain, as a warning" has 'incident 1' INCIDENT=1 FAULT_DOMAIN=api PRIORITY=4
two_entries() { [ "$(entries INCIDENT=1 | wc -l)" = 2 ]; }
becomes "one entry when it opens, and one when it is settled" two_entries
equal "and nothing twice" "$(entries INCIDENT=1 -o cat | sort | uniq -d | wc -l)" 0
check "systemctl status shows it too" sh -c "systemctl status --no-pager -n 50 $unit | grep -q 'incident 1'"
