# An invalid configuration: exit status 78, reported once, no restart loop.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_package
echo 'version: 1
workers: { api: { comand: [sleep, 1d] } }' >"$config"
systemctl stop "$unit"
refuses "it does not start" systemctl start "$unit"
equal "for its configuration" "$(show ExecMainStatus)" 78
equal "and is not tried again" "$(show NRestarts)" 0
equal "it has failed" "$(systemctl is-failed "$unit" || true)" failed
said() { journalctl -q -u "$unit" --no-pager | grep -q 'comand'; }
becomes "the journal says what is wrong" said
