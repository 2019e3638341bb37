# The leftovers of a supervisor that does not stop in time, or claims success without having stopped.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

mkdir -p /etc/systemd/system/supervisord-rs.service.d
printf '[Service]\nTimeoutStopSec=5s\n' >/etc/systemd/system/supervisord-rs.service.d/short.conf
install_configured <<'YAML'
version: 1
workers:
  api: { command: [sleep, 1d], restart: always }
  stubborn: { command: [sh, -c, "trap '' TERM; sleep 1d & wait; wait"], stop: { timeout: 1m } }
YAML
becomes "the worker runs" is_running api

# A process that no supervisor knows, as an adopted one would be.
stray() { setsid sleep 2d </dev/null >/dev/null 2>&1 & echo $! >"/sys/fs/cgroup/system.slice/$unit/stray/cgroup.procs"; }
mkdir "/sys/fs/cgroup/system.slice/$unit/stray"
stray
kill -9 "$(main_pid)"
becomes "killed, it is started again" is_running api
check "a death leaves the others alone" pgrep -f 'sleep 2d'

check "systemctl stop of a supervisor that takes too long" systemctl stop "$unit"
equal "is a timeout" "$(show Result)" timeout
check "and leaves no process" nobody
refuses "not even what it did not know" pgrep -f 'sleep 2d'
becomes "nor anything in the cgroup tree" test ! -d "/sys/fs/cgroup/system.slice/$unit/stray"

systemctl reset-failed "$unit"
systemctl start "$unit"
becomes "the worker runs again" is_running api
first=$(main_pid)
# systemd counts an end by SIGPIPE as clean, and would not restart after it. An answer afterwards shows the restart.
kill -PIPE "$first"
becomes "it answers after a SIGPIPE" is_running api
equal "which is no reason to die" "$(main_pid)" "$first"
