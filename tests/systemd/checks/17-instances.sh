# Several supervisors beside each other, and one of a user.
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

if ! [ -e /usr/lib/systemd/user/dbus.socket ] && ! loginctl --version >/dev/null; then
    echo "   no user's manager here"
    exit 0
fi
useradd --create-home worker 2>/dev/null || true
install -d -o worker /home/worker/.config 2>/dev/null || mkdir -p /home/worker/.config
mkdir -p /home/worker/.config/supervisord-rs
printf 'version: 1\nworkers: { api: { command: [sleep, 1d] } }\n' >/home/worker/.config/supervisord-rs/supervisord-rs.yaml
chown -R worker: /home/worker
systemctl start "user@$(id -u worker).service"
as_user() { setpriv --reuid worker --regid worker --init-groups env XDG_RUNTIME_DIR="/run/user/$(id -u worker)" HOME=/home/worker "$@"; }
check "a user's own" as_user systemctl --user start supervisord-rs
mine() { as_user supervisord-rs status | grep -q running; }
becomes "answers its user" mine
check "is stopped by its user" as_user systemctl --user stop supervisord-rs
refuses "and leaves nobody" pgrep -u worker -x sleep
systemctl stop "user@$(id -u worker).service"
