# A supervisor that gives its workers limits moves into another cgroup and enables controllers
# beside it. When it is killed, systemd must be able to start its successor in the unit's own
# cgroup, and the worker runs on.
# shellcheck shell=bash source=tests/systemd/guest/lib.sh
. /mnt/guest/lib.sh

install_package
cgroup=/sys/fs/cgroup/system.slice/$unit
has_controllers memory pids
mkdir -p "$cgroup/supervisor" "$cgroup/probe"
first=$(main_pid)
echo "$first" >"$cgroup/supervisor/cgroup.procs"
setsid sleep 2d </dev/null >/dev/null 2>&1 &
stray=$!
echo $stray >"$cgroup/probe/cgroup.procs"
echo '+memory +pids' >"$cgroup/cgroup.subtree_control"
check "the worker has a limit" test -e "$cgroup/probe/memory.max"
kill -9 "$first"
becomes "the successor starts" succeeded "$first"
equal "at once" "$(show NRestarts)" 1
check "the worker lives" kill -0 $stray
kill $stray
