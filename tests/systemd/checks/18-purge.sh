# Removing the package stops it; purging leaves nothing.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
workers:
  api: { command: [sleep, 1d], restart: always, logs: { stdout: api.log } }
YAML
becomes "the worker runs" is_running api
check "remove" dpkg --remove supervisord-rs
refuses "the supervisor is gone" pgrep -x supervisord-rs
refuses "the worker is gone" pgrep -f 'sleep 1d'
check "the configuration is kept" test -e "$config"
check "purge" dpkg --purge supervisord-rs
rest() {
    find / -xdev -name '*supervisord-rs*' -not -path '/mnt/*' -not -path '/proc/*' -not -path '/var/lib/dpkg/*'
    find /run /sys/fs/cgroup -name '*supervisord-rs*' 2>/dev/null
    getent group supervisord-rs || true
    systemctl list-unit-files --no-legend '*supervisord-rs*'
}
equal "nothing is left" "$(rest)" ""
