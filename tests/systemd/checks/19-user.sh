# A user's own supervisor, by `systemctl --user`.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_package
useradd --create-home worker
trap 'systemctl stop "user@$uid.service"; userdel --remove worker 2>/dev/null' EXIT
uid=$(id -u worker)
mkdir -p /home/worker/.config/supervisord-rs
printf 'version: 1\nworkers: { api: { command: [sleep, 1d] } }\n' >/home/worker/.config/supervisord-rs/supervisord-rs.yaml
chown -R worker: /home/worker
as_user() { setpriv --reuid worker --regid worker --init-groups env XDG_RUNTIME_DIR="/run/user/$uid" HOME=/home/worker "$@"; }

# What pam_systemd does where it is installed.
mkdir -p /run/systemd/system/user@.service.d
printf '[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n' >/run/systemd/system/user@.service.d/pam.conf
systemctl daemon-reload
check "a user's manager" systemctl start "user@$uid.service"
check "the supervisor" as_user systemctl --user start supervisord-rs
mine() { as_user supervisord-rs status | grep -q running; }
becomes "answers its user" mine
user_pid() { as_user systemctl --user show --value -p MainPID supervisord-rs; }
before=$(user_pid)
kill -9 "$before"
again() { [ "$(user_pid)" != 0 ] && [ "$(user_pid)" != "$before" ] && mine; }
becomes "killed, it is started again" again
check "is stopped by its user" as_user systemctl --user stop supervisord-rs
refuses "and leaves no process" pgrep -u worker -x sleep
