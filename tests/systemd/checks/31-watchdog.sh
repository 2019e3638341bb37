# A supervisor whose loop is stuck is killed by systemd's watchdog; its workers keep their PIDs.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

mkdir -p /etc/systemd/system/supervisord-rs.service.d
printf '[Service]\nWatchdogSec=6s\nTimeoutAbortSec=1s\n' >/etc/systemd/system/supervisord-rs.service.d/soon.conf
install_configured <<'YAML'
version: 1
workers:
  api: { command: [sleep, 1d], restart: always }
YAML
becomes "the worker runs" is_running api
api=$(worker api pid)
sleep 15
equal "a loop that turns is left alone" "$(show NRestarts)" 0
stuck=$(main_pid)
# A stopped supervisor neither turns nor answers; a stuck loop looks the same to systemd.
kill -STOP "$stuck"
becomes "a successor" succeeded "$stuck"
becomes "the worker runs" is_running api
equal "with its PID" "$(worker api pid)" "$api"
check "the journal says why" sh -c "journalctl -q --no-pager -u $unit | grep -qi watchdog"
