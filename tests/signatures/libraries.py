"""Prints what the libraries of PyPI do with each delivery, as rows of the table of docs/verify.md."""

import base64
import importlib.metadata
import json
import sys

import standardwebhooks
import svix.webhooks


def verifies(verify, delivery):
    """Whether it takes the delivery, and not one with another body."""
    body = base64.b64decode(delivery["body"])
    try:
        verify(delivery["secret"], body, delivery["headers"])
    except Exception:
        return False
    try:
        verify(delivery["secret"], body + b" ", delivery["headers"])
    except Exception:
        return True
    sys.exit("another body was taken")


with open(sys.argv[1]) as file:
    *deliveries, plain = json.load(file)
version = importlib.metadata.version
for name, verify in [
    (
        f"PyPI `standardwebhooks` {version('standardwebhooks')}",
        lambda secret, body, headers: standardwebhooks.Webhook(secret).verify(body, headers),
    ),
    (
        "the same with `json_parse=False`",
        lambda secret, body, headers: standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False),
    ),
    (
        f"PyPI `svix` {version('svix')}",
        lambda secret, body, headers: svix.webhooks.Webhook(secret).verify(body, headers),
    ),
]:
    cells = ["yes" if verifies(verify, delivery) else "no" for delivery in deliveries]
    print(f"| {name} | {' | '.join(cells)} |")
    if verifies(verify, plain):
        sys.exit(f"{name} took a secret without whsec_")
