"""Asks the server at the address again and again; ends with a failure when it gets no answer."""
import socket
import sys
import time

host, port = sys.argv[1].split(":")
answered = 0
while True:
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.settimeout(10)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = connection.makefile("rb").read()
    if not answer.endswith(b"ok\n"):
        sys.exit(f"no answer after {answered}: {answer!r}")
    answered += 1
    print("answered", answered)
    time.sleep(0.002)
