#!/bin/sh
# PostgreSQL in the directory of the trial. It refuses to be root: then it becomes the user postgres.
set -eu
data=$SUPERVISORD_RS_TRIAL/data
for bin in /usr/lib/postgresql/*/bin; do :; done
as=
mkdir -p "$data"
if [ "$(id -u)" = 0 ]; then
    chown postgres: "$data"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
cd "$data"
[ -e PG_VERSION ] || $as "$bin/initdb" -D . --username=postgres --auth=trust --no-sync >/dev/null
# Its shared memory is in its directory too: what a killed one has left in /dev/shm, the next one
# removes late.
exec $as "$bin/postgres" -D . -k "$data" -h '' -c dynamic_shared_memory_type=mmap
