"""A whole exchange with the gateway of this network: a partner's message goes through to an AS2 server, and its webhook
comes."""

import http.client
import http.server
import json
import queue
import threading


def serve(port, status):
    """An endpoint that keeps what it gets."""
    received = queue.Queue()

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put((self.path, self.headers, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return received


as2_server, hook = serve(10080, 200), serve(9000, 204)
document = b"UNA:+.? 'UNB+UNOC:3+ACME+MY-OWN-ORG+261201:1200+1'"
head = {
    "AS2-Version": "1.2",
    "AS2-From": "ACME",
    "AS2-To": "MY-OWN-ORG",
    "Message-ID": "<container@acme.example>",
    "Content-Type": "application/edifact",
    "Content-Disposition": "attachment; filename=order.edi",
}
partner = http.client.HTTPConnection("127.0.0.1", 8080, timeout=30)
partner.request("POST", "/as2", document, head)
assert partner.getresponse().status == 200
path, headers, body = as2_server.get(timeout=30)
assert (path, headers["AS2-From"], body) == ("/as2", "ACME", document), (path, headers.items(), body)
path, headers, body = hook.get(timeout=30)
event = json.loads(body)
assert (path, headers["X-AS2-Event"]) == ("/hook", "message.received"), (path, headers.items())
assert event["attachments"][0]["name"] == "order.edi", event
print("a message passed, and its webhook came:", event["as2MessageId"])
