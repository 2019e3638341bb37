"""Answers each connection on the socket that it is passed (sd_listen_fds(3))."""
import signal
import socket
import sys

listener = socket.socket(fileno=3)
stopping = False


def stop(*_):
    """Between two connections: one that was accepted is answered."""
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
listener.settimeout(0.05)
print("serving")
while not stopping:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    connection.settimeout(5)
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
    connection.close()
sys.exit(0)
