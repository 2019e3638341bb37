"""Writes numbers to Redis, and says which it has acknowledged. After each death of Redis it looks
whether all of them are there."""
import os
import socket
import sys
import time

PATH = os.path.join(os.environ["SUPERVISORD_RS_TRIAL"], "redis.sock")


def connected():
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(PATH)
            return connection.makefile("rwb")
        except OSError:
            connection.close()
            time.sleep(0.01)


def ask(stream, *words):
    """The first line of the answer."""
    stream.write(b"*%d\r\n" % len(words))
    for word in words:
        stream.write(b"$%d\r\n%s\r\n" % (len(word), word))
    stream.flush()
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    if line.startswith(b"-LOADING"):
        time.sleep(0.01)
        return ask(stream, *words)
    if line.startswith(b"-"):
        sys.exit(line.decode())
    return line.strip()


def looked_through(count):
    """Whether all are there; another death of Redis begins the look again."""
    while True:
        stream = connected()
        try:
            for number in range(1, count + 1):
                if ask(stream, b"SISMEMBER", b"numbers", b"%d" % number) != b":1":
                    sys.exit(f"{number} is lost")
            return stream
        except (OSError, EOFError):
            continue


acknowledged = 0
stream = connected()
while True:
    try:
        ask(stream, b"SADD", b"numbers", b"%d" % (acknowledged + 1))
        acknowledged += 1
        print("acknowledged", acknowledged)
        time.sleep(0.001)
    except (OSError, EOFError):
        stream = looked_through(acknowledged)
        print(f"back after {acknowledged}, all there")
