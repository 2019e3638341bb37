# Several supervisors on one machine.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_package
for name in one two; do
    printf 'version: 1\nworkers: { api: { command: [sleep, 1d] } }\n' >"/etc/supervisord-rs/$name.yaml"
    check "instance $name" systemctl start "supervisord-rs@$name"
done
runs() { supervisord-rs status "$@" | grep -q running; }
becomes "the first answers" runs --socket /run/supervisord-rs-one/control.sock
becomes "the second answers" runs --socket /run/supervisord-rs-two/control.sock
check "one is stopped" systemctl stop supervisord-rs@one
becomes "the other goes on" runs --socket /run/supervisord-rs-two/control.sock
check "it is upgraded with the package" dpkg --install "$(package 2)"
becomes "and goes on" runs --socket /run/supervisord-rs-two/control.sock
