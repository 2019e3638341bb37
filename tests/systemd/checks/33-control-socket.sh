# The control API's socket held by systemd: the first client starts the supervisor, a death refuses no client.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_package
systemctl stop "$unit"
check "the socket unit" systemctl start supervisord-rs-control.socket
check "the first client starts the supervisor" supervisord-rs status
check "it is the service" systemctl is-active "$unit"
kill -9 "$(main_pid)"
check "after a death the next client is served" supervisord-rs status
systemctl stop "$unit"
check "a stop leaves the socket" test -S /run/supervisord-rs/control.sock
check "which starts it again" supervisord-rs status
systemctl stop supervisord-rs-control.socket "$unit"
