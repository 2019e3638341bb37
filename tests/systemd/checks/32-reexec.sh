# A newer package: the supervisor takes over the new binary, workers and clients notice nothing.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
workers:
  api: { command: [python3, -m, http.server, "8080"], restart: always, ready: { tcp: 127.0.0.1:8080 } }
YAML
becomes "the worker runs" is_running api
api=$(worker api pid) before=$(main_pid)
(
    failed=0
    while ! [ -e /run/enough ]; do curl -sf -o /dev/null http://127.0.0.1:8080/ || failed=$((failed + 1)); done
    echo $failed >/run/failed
) &
check "the upgrade" dpkg --install "$(package 2)"
becomes "the worker runs" is_running api
equal "with its PID" "$(worker api pid)" "$api"
refuses "another supervisor" test "$(main_pid)" = "$before"
refuses "it runs the new binary" sh -c "readlink /proc/$(main_pid)/exe | grep -q deleted"
touch /run/enough
wait
equal "no request failed" "$(cat /run/failed)" 0
rm -f /run/enough /run/failed
equal "nothing was restarted" "$(show NRestarts)" 0
