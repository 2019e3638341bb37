# A supervisor killed at any time: its process workers keep their PIDs, nothing is started twice.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_configured <<'YAML'
version: 1
workers:
  api: { command: [python3, -m, http.server, "8080"], restart: always, ready: { tcp: 127.0.0.1:8080 } }
  tick: { worker: ticker, isolation: process, args: { interval: 100ms } }
YAML
becomes "the workers run" is_running api
becomes "both" is_running tick
api=$(worker api pid) tick=$(worker tick pid)
for round in 1 2 3; do
    killed=$(main_pid)
    kill -9 "$killed"

    becomes "kill $round: a successor" succeeded "$killed"
    becomes "kill $round: the worker runs" is_running api
    equal "kill $round: with its PID" "$(worker api pid)" "$api"
    equal "kill $round: the other one too" "$(worker tick pid)" "$tick"
    check "kill $round: it serves" curl -sf http://127.0.0.1:8080/
done
equal "there is one of it" "$(pgrep -fc 'http.server 8080')" 1
check "systemctl stop ends them" systemctl stop "$unit"
check "and leaves no process" nobody
