# A fresh installation runs, matches the documentation, and systemd understands its units.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_package
check "it is enabled" systemctl is-enabled "$unit"
status() { systemctl status --no-pager "$unit" | grep -q 'Status: "supervising 0 workers"'; }
becomes "systemctl status says what is going on" status
equal "nothing was restarted" "$(show NRestarts)" 0
equal "the type is understood" "$(show Type)" notify
check "supervisord-rs status answers" supervisord-rs status
check "the configuration is valid" supervisord-rs check
check "the group for the control API is there" getent group supervisord-rs
equal "the state directory is the supervisor's" "$(stat -c %a /var/lib/supervisord-rs)" 700

# Only messages about these units: systemd-analyze also verifies the units that they pull in.
verify() {
    local output
    output=$(systemd-analyze verify --man=no "$@" 2>&1 | grep -i supervisord || true)
    echo "$output"
    [ -z "$output" ]
}
check "systemd-analyze verify has nothing to say about the service" verify "$unit"
check "nor about the instances" verify supervisord-rs@one.service
check "nor about the socket" verify supervisord-rs-control.socket
check "nor about the users' service" verify --user /usr/lib/systemd/user/supervisord-rs.service
echo "   $(systemd-analyze security "$unit" --no-pager | tail -n 1)"
check "the exposure is below 4.0" systemd-analyze security --threshold=40 "$unit" --no-pager
