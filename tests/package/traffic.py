#!/usr/bin/env python3
"""What stands around the installed gateway: an AS2 server, an endpoint for webhooks, and partners.

traffic.py stand-ins FOLDER   the server on port 10080 and the endpoint on 8090; each notes the Message-IDs it got
traffic.py message URL ID     sends one message; prints the status of the response
traffic.py load URL FILE      partners that send, each over a connection of its own, until SIGTERM; the figures go to FILE
traffic.py judge FILE N       prints the figures; exit status 1 if more than N failed, any was refused, or hardly any was sent
"""

import http.client
import http.server
import json
import pathlib
import signal
import sys
import threading
import time
import urllib.parse

PARTNERS = 4
# Longer than a restart with a full drain.
TIMEOUT = 60


def server(port, file):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            length = int(self.headers["Content-Length"] or 0)
            # A message that was cut off was not received.
            if len(self.rfile.read(length)) < length:
                self.close_connection = True
                return
            with lock, file.open("a") as ids:
                ids.write(self.headers.get("Message-ID", "") + "\n")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        # A gateway that is killed breaks its connections off.
        def handle_error(self, *_):
            pass

    lock = threading.Lock()
    file.touch()
    return Server(("127.0.0.1", port), Handler)


def stand_ins(folder):
    folder = pathlib.Path(folder)
    for port, name in [(10080, "received"), (8090, "webhooks")]:
        threading.Thread(target=server(port, folder / name).serve_forever).start()


def send(url, message_id):
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname, target.port or 80, timeout=TIMEOUT)
    headers = {
        "AS2-Version": "1.2",
        "AS2-From": "ACME",
        "AS2-To": "MY-OWN-ORG",
        "Message-ID": message_id,
        "Content-Type": "application/edifact",
        "Connection": "close",
    }
    try:
        connection.request("POST", target.path or "/", b"UNA:+.? 'UNB+UNOC:3'", headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def load(url, file):
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    figures = {"ok": 0, "refused": 0, "failed": 0, "slowest_ms": 0, "errors": []}
    lock = threading.Lock()
    run = time.time_ns()

    def partner(number):
        sent = 0
        while not over.is_set():
            began, outcome, error = time.monotonic(), "ok", None
            try:
                status = send(url, f"<{run}-{number}-{sent}@acme>")
                if status != 200:
                    outcome, error = "failed", f"status {status}"
            except ConnectionRefusedError as refused:
                outcome, error = "refused", repr(refused)
            except (OSError, http.client.HTTPException) as failure:
                outcome, error = "failed", repr(failure)
            took = int((time.monotonic() - began) * 1000)
            with lock:
                figures[outcome] += 1
                figures["slowest_ms"] = max(figures["slowest_ms"], took)
                if error:
                    figures["errors"] = sorted({*figures["errors"], error})[:5]
            sent += 1
            time.sleep(0.005)

    partners = [threading.Thread(target=partner, args=[number]) for number in range(PARTNERS)]
    for thread in partners:
        thread.start()
    # Only the main thread runs handlers of signals.
    while any(thread.is_alive() for thread in partners):
        time.sleep(0.05)
    pathlib.Path(file).write_text(json.dumps(figures))


def judge(file, tolerated):
    figures = json.loads(pathlib.Path(file).read_text())
    ok, refused, failed = figures["ok"], figures["refused"], figures["failed"]
    errors = "".join(f"; {error}" for error in figures["errors"])
    print(f"{ok:,} ok, {refused} refused, {failed} failed, the slowest {figures['slowest_ms']} ms{errors}")
    sys.exit(ok < 50 or refused > 0 or failed > int(tolerated))


def main():
    match sys.argv[1:]:
        case ["stand-ins", folder]:
            stand_ins(folder)
        case ["message", url, message_id]:
            print(send(url, message_id))
        case ["load", url, file]:
            load(url, file)
        case ["judge", file, tolerated]:
            judge(file, tolerated)
        case _:
            sys.exit(__doc__)


main()
