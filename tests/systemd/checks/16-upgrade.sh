# A newer package over an older one. 32-reexec checks an upgrade in place.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
workers:
  api: { command: [sleep, 1d], restart: always }
YAML
becomes "the worker runs" is_running api
systemctl disable -q "$unit"
check "the upgrade" dpkg --install "$(package 2)"
becomes "the worker runs" is_running api
check "the administrator's configuration is kept" grep -q 'sleep, 1d' "$config"
equal "what was disabled stays disabled" "$(systemctl is-enabled "$unit" || true)" disabled
equal "nothing was restarted by its death" "$(show NRestarts)" 0
