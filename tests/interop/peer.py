"""An AS2 server of django-pyas2 in one process, driven over HTTP.

peer.py FOLDER PORT CONFIG: FOLDER gets its database and files; CONFIG is JSON with `me`, `key` (PEM with
the certificate behind it), `other`, `other_certificate`, `target_url` and `mdn_url`.

    POST /pyas2/as2receive   the AS2 server
    POST /control/send       sends a message; the body is JSON: the partner's settings and `text`
    POST /control/mdns       sends the asynchronous MDNs that wait
    GET  /control/messages   what became of every message
"""

import json
import sys
import uuid
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

folder, port = Path(sys.argv[1]), int(sys.argv[2])
config = json.loads(Path(sys.argv[3]).read_text())
folder.mkdir(parents=True, exist_ok=True)

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": folder / "db.sqlite3",
            "OPTIONS": {"timeout": 30},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "pyas2"],
    MEDIA_ROOT=folder / "media",
    PYAS2={"MDN_URL": config["mdn_url"]},
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from pyas2.models import (  # noqa: E402
    Mdn,
    Message,
    Organization,
    Partner,
    PrivateKey,
    PublicCertificate,
)
from pyas2.views import ReceiveAs2Message  # noqa: E402
from pyas2lib import Message as AS2Message  # noqa: E402


def set_up():
    """The one organization and its one partner."""
    call_command("migrate", verbosity=0)
    pem = Path(config["key"]).read_bytes()
    key, _ = PrivateKey.objects.get_or_create(name="own", defaults={"key": pem, "key_pass": ""})
    certificate, _ = PublicCertificate.objects.get_or_create(
        name="other",
        defaults={
            "certificate": Path(config["other_certificate"]).read_bytes(),
            "verify_cert": False,
        },
    )
    Organization.objects.update_or_create(
        as2_name=config["me"],
        defaults={"name": config["me"], "encryption_key": key, "signature_key": key},
    )
    Partner.objects.update_or_create(
        as2_name=config["other"],
        defaults={
            "name": config["other"],
            "target_url": config["target_url"],
            "encryption_cert": certificate,
            "signature_cert": certificate,
            "subject": "interop",
            "content_type": "application/EDIFACT",
        },
    )


@csrf_exempt
def send(request):
    """Sends one message under these settings of the partner, as the server's own form does."""
    wishes = json.loads(request.body)
    text = wishes.pop("text").encode()
    Partner.objects.filter(as2_name=config["other"]).update(**wishes)
    partner = Partner.objects.get(as2_name=config["other"])
    organization = Organization.objects.get(as2_name=config["me"])
    message = AS2Message(sender=organization.as2org, receiver=partner.as2partner)
    message.build(
        text,
        filename=f"{uuid.uuid4()}.edi",
        subject=partner.subject,
        content_type=partner.content_type,
        disposition_notification_to="no-reply@interop.test",
    )
    stored, _ = Message.objects.create_from_as2message(
        as2message=message, payload=text, filename="order.edi", direction="OUT", status="P"
    )
    stored.send_message(message.headers, message.content)
    # What we sign or encrypt the server asks of the partner as well: the next one may be otherwise.
    Partner.objects.filter(as2_name=config["other"]).update(signature=None, encryption=None)
    return JsonResponse(described(stored))


@csrf_exempt
def mdns(_request):
    """Sends what waits."""
    waiting = list(Mdn.objects.filter(status="P"))
    for mdn in waiting:
        mdn.send_async_mdn()
    return JsonResponse({"sent": [mdn.mdn_id for mdn in waiting if mdn.status == "S"]})


def messages(_request):
    """What became of every message."""
    return JsonResponse({"messages": [described(one) for one in Message.objects.all()]})


def described(message):
    """As JSON; the status is S, E, W, P or R."""
    message.refresh_from_db()
    return {
        "id": message.message_id,
        "direction": message.direction,
        "status": message.status,
        "detail": message.detailed_status,
        "encrypted": message.encrypted,
        "signed": message.signed,
        "compressed": message.compressed,
    }


urlpatterns = [
    path("pyas2/as2receive", ReceiveAs2Message.as_view()),
    path("control/send", send),
    path("control/mdns", mdns),
    path("control/messages", messages),
]


class Server(ThreadingMixIn, WSGIServer):
    """Each request on a thread: a message and its MDN may pass at once."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, *_):
        pass


set_up()
make_server("127.0.0.1", port, get_wsgi_application(), Server, Handler).serve_forever()
