"""The smallest application of the Web Server Gateway Interface (PEP 3333): it says which instance served."""

import os


def application(environ, start_response):
    body = f"instance {os.environ.get('INSTANCE')} serves\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
