//! TLS: verification of the endpoint, and client certificates.

use std::sync::Arc;

use as2hook_event::{Endpoint, Tls};
use as2hook_sink::{
    Client, DeliveryError, EndpointResponse, Guard, Request, RequestBody, client::ConnectError,
};
use bytes::Bytes;
use http::HeaderMap;
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslAcceptor, SslMethod, SslVerifyMode, SslVersion},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
        store::X509StoreBuilder,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

use crate::support::{
    AMPLE,
    sink::{Reply, Sink},
};

/// A certificate and its key.
struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

impl Identity {
    fn authority(name: &str) -> Self {
        Self::issue(name, None, &[])
    }

    fn server(&self, names: &[&str]) -> Self {
        Self::issue("endpoint", Some(self), names)
    }

    fn issue(name: &str, issuer: Option<&Self>, names: &[&str]) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(fastrand::u32(1..)).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        match issuer {
            None => {
                builder.set_issuer_name(&subject).unwrap();
                let ca = BasicConstraints::new().critical().ca().build().unwrap();
                builder.append_extension(ca).unwrap();
            }
            Some(issuer) => builder.set_issuer_name(issuer.certificate.subject_name()).unwrap(),
        }
        if !names.is_empty() {
            let mut alternative = SubjectAlternativeName::new();
            for name in names {
                match name.parse::<std::net::IpAddr>() {
                    Ok(_) => alternative.ip(name),
                    Err(_) => alternative.dns(name),
                };
            }
            let context = builder.x509v3_context(None, None);
            let extension = alternative.build(&context).unwrap();
            builder.append_extension(extension).unwrap();
        }
        let signer = issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }
}

fn acceptor(
    identity: &Identity,
    clients: Option<&Identity>,
    newest: Option<SslVersion>,
) -> SslAcceptor {
    let mut builder = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&identity.certificate).unwrap();
    builder.set_private_key(&identity.key).unwrap();
    if newest.is_some() {
        builder.set_min_proto_version(None).unwrap();
        builder.clear_options(openssl::ssl::SslOptions::NO_TLSV1_1);
        builder.set_max_proto_version(newest).unwrap();
    }
    if let Some(authority) = clients {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(authority.certificate.clone()).unwrap();
        builder.set_verify_cert_store(store.build()).unwrap();
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    builder.build()
}

async fn sink(acceptor: SslAcceptor) -> Sink {
    Sink::start_with(Arc::new(|_: &_| Reply::Status(200)), Some(acceptor)).await
}

async fn post(sink: &Sink, host: &str, tls: Tls) -> Result<EndpointResponse, DeliveryError> {
    post_to(&format!("https://{host}:{}/hook", sink.address.port()), tls).await
}

async fn post_to(url: &str, tls: Tls) -> Result<EndpointResponse, DeliveryError> {
    let mut endpoint = Endpoint::new(url.parse().unwrap());
    endpoint.tls = tls;
    let body = RequestBody::Bytes(Bytes::from_static(b"{}"));
    let request = Request { headers: HeaderMap::new(), names: Vec::new(), body };
    let client = Client::new().await.unwrap();
    let deadline = Instant::now() + AMPLE;
    client.deliver(&endpoint, &Guard::Open, request, deadline).await
}

fn trusting(authority: &Identity) -> Tls {
    Tls { ca: Some(authority.pem()), ..Tls::default() }
}

fn refused(outcome: Result<EndpointResponse, DeliveryError>) -> String {
    match outcome {
        Err(DeliveryError::Connect(ConnectError::Tls { reason, .. })) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn configured_authority_is_trusted() {
    let ours = Identity::authority("ours");
    let sink = sink(acceptor(&ours.server(&["localhost"]), None, None)).await;
    assert_eq!(post(&sink, "localhost", trusting(&ours)).await.unwrap().status, 200);
    assert_eq!(sink.requests()[0].body, b"{}");
}

#[tokio::test]
async fn configured_authority_replaces_the_systems_ones() {
    let (ours, other) = (Identity::authority("ours"), Identity::authority("other"));
    let sink = sink(acceptor(&ours.server(&["localhost"]), None, None)).await;
    for tls in [trusting(&other), Tls::default()] {
        let reason = refused(post(&sink, "localhost", tls).await);
        assert!(reason.starts_with("its certificate was not accepted: "), "{reason}");
    }
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn host_name_is_verified() {
    let ours = Identity::authority("ours");
    let sink = sink(acceptor(&ours.server(&["erp.example"]), None, None)).await;
    let reason = refused(post(&sink, "localhost", trusting(&ours)).await);
    assert_eq!(reason, "its certificate was not accepted: hostname mismatch");
}

#[tokio::test]
async fn an_address_is_verified_like_a_name() {
    let ours = Identity::authority("ours");
    let with = sink(acceptor(&ours.server(&["127.0.0.1"]), None, None)).await;
    assert_eq!(post(&with, "127.0.0.1", trusting(&ours)).await.unwrap().status, 200);
    let without = sink(acceptor(&ours.server(&["localhost"]), None, None)).await;
    let reason = refused(post(&without, "127.0.0.1", trusting(&ours)).await);
    assert_eq!(reason, "its certificate was not accepted: IP address mismatch");
}

#[tokio::test]
async fn a_bracketed_address_is_verified_without_its_brackets() {
    let ours = Identity::authority("ours");
    let identity = ours.server(&["::ffff:127.0.0.1"]);
    let sink = sink(acceptor(&identity, None, None)).await;
    let answer = post(&sink, "[::ffff:127.0.0.1]", trusting(&ours)).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_named_certificate_is_trusted_as_it_stands() {
    let ours = Identity::authority("ours");
    let identity = ours.server(&["localhost"]);
    let sink = sink(acceptor(&identity, None, None)).await;
    assert_eq!(post(&sink, "localhost", trusting(&identity)).await.unwrap().status, 200);
}

#[tokio::test]
async fn client_certificate_is_presented() {
    let (ours, clients) = (Identity::authority("ours"), Identity::authority("clients"));
    let sink = sink(acceptor(&ours.server(&["localhost"]), Some(&clients), None)).await;
    let own = clients.server(&[]);
    let tls = Tls {
        client_certificate: Some(own.pem()),
        client_key: Some(own.key_pem()),
        ..trusting(&ours)
    };
    assert_eq!(post(&sink, "localhost", tls).await.unwrap().status, 200);

    let without = post(&sink, "localhost", trusting(&ours)).await;
    assert!(without.is_err(), "{without:?}");
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let ours = Identity::authority("ours");
    let other = Identity::authority("other");
    let sink = sink(acceptor(&ours.server(&["localhost"]), None, None)).await;
    let encrypted = ours
        .key
        .private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"secret")
        .unwrap();
    let with = |ca: Option<&[u8]>, certificate: Option<&[u8]>, key: Option<&[u8]>| Tls {
        ca: ca.map(<[u8]>::to_vec),
        client_certificate: certificate.map(<[u8]>::to_vec),
        client_key: key.map(<[u8]>::to_vec),
        sources: Vec::new(),
    };
    let cases = [
        (with(Some(b"none"), None, None), "tls.ca holds"),
        (with(None, Some(b"none"), Some(&ours.key_pem())), "tls.client_certificate holds"),
        (with(None, Some(&ours.pem()), Some(b"none")), "tls.client_key holds"),
        (with(None, Some(&ours.pem()), Some(&encrypted)), "tls.client_key holds"),
        (with(None, Some(&ours.pem()), None), "tls.client_certificate and tls.client_key"),
        (with(None, Some(&ours.pem()), Some(&other.key_pem())), "tls.client_key does not belong"),
    ];
    for (tls, text) in cases {
        let error = post(&sink, "localhost", tls).await.unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn versions_older_than_tls_1_2_are_refused() {
    let ours = Identity::authority("ours");
    let identity = ours.server(&["localhost"]);
    let old = sink(acceptor(&identity, None, Some(SslVersion::TLS1_1))).await;
    refused(post(&old, "localhost", trusting(&ours)).await);
    let sink = sink(acceptor(&identity, None, Some(SslVersion::TLS1_2))).await;
    assert_eq!(post(&sink, "localhost", trusting(&ours)).await.unwrap().status, 200);
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_a_tls_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        assert!(tcp.read(&mut [0; 1024]).await.unwrap() > 0);
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Unread bytes would reset the connection before the client reads the response.
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let reason = refused(post_to(&url, Tls::default()).await);
    assert_eq!(reason, "wrong version number");
}
