"""Writes numbers to PostgreSQL, and says which it has committed. After each death of PostgreSQL it
looks whether all of them are there."""
import os
import subprocess
import sys
import time

DATA = os.path.join(os.environ["SUPERVISORD_RS_TRIAL"], "data")
PSQL = ["psql", "--no-psqlrc", "-qAt", "-h", DATA, "-U", "postgres"]


class Session:
    """One connection; each question is one line of SQL with one line of answer."""

    def __init__(self):
        self.psql = subprocess.Popen(
            PSQL, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, sql):
        self.psql.stdin.write(sql + ";\n")
        self.psql.stdin.flush()
        answer = self.psql.stdout.readline()
        if not answer.endswith("\n"):
            raise EOFError
        return answer.strip()


def connected(count):
    """A session in which all are there; another death of PostgreSQL begins it again."""
    while True:
        try:
            session = Session()
            session.ask("SET client_min_messages = error; "
                        "CREATE TABLE IF NOT EXISTS numbers (number integer PRIMARY KEY); SELECT 1")
            found = session.ask(f"SELECT count(*) FROM numbers WHERE number <= {count}")
            if int(found) != count:
                sys.exit(f"{count} were committed, and {found} are there")
            return session
        except (OSError, EOFError):
            time.sleep(0.02)


committed = 0
session = connected(0)
while True:
    try:
        number = committed + 1
        session.ask(f"INSERT INTO numbers VALUES ({number}) ON CONFLICT DO NOTHING; SELECT {number}")
        committed = number
        print("committed", committed)
    except (OSError, EOFError):
        session = connected(committed)
        print(f"back after {committed}, all there")
