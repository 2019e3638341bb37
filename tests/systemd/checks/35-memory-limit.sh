# A worker that hits its memory limit: an incident of its own kind, and no other worker restarts.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh
has_controllers memory

install_configured <<'YAML'
version: 1
workers:
  hog:
    command: [python3, -c, "import time; time.sleep(1); x = bytearray(200 << 20); time.sleep(1000)"]
    limits: { memory: 64MiB }
    restart: { policy: always, backoff: { initial: 20s } }
  api: { command: [sleep, 1d], restart: always }
YAML
becomes "the others run" is_running api
api=$(worker api pid) before=$(main_pid)
told() { supervisord-rs incidents | grep -q 'out-of-memory'; }
becomes "the incident is out-of-memory" told
equal "the other kept its PID" "$(worker api pid)" "$api"
equal "the supervisor too" "$(main_pid)" "$before"
equal "systemd had nothing to do" "$(show NRestarts)" 0

killed=$(main_pid)
kill -9 "$killed"
becomes "a successor starts though controllers are enabled" succeeded "$killed"
becomes "the others run" is_running api
