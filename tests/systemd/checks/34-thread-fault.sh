# A thread worker kills the supervisor: process workers keep their PIDs, the incident says who was lost.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
supervisor: { fault_injection: allow }
workers:
  culprit: { worker: ticker, isolation: thread, args: { interval: 100ms } }
  api: { worker: ticker, isolation: process, args: { interval: 100ms } }
YAML
becomes "the workers run" is_running api
becomes "both" is_running culprit
api=$(worker api pid) before=$(main_pid)
supervisord-rs inject culprit segfault >/dev/null 2>&1 || true
becomes "a successor" succeeded "$before"
becomes "the culprit runs again" is_running culprit
equal "the process has its PID" "$(worker api pid)" "$api"
told() { supervisord-rs incidents | grep -q 'segfault in culprit.*lost culprit.*survived api'; }
becomes "the incident says who was lost" told
