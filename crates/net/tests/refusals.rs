//! Who is refused, by whom, and in which words: real sockets, one case after another.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute, not their helpers"
)]

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barge_net::{
    AcceptError, Acceptor, Connector, DialError, DialErrorKind, Dialer, Identity, Listener,
    MAX_HANDSHAKES, Offer, Refusal, Role, Spoken, Stream, Target, TlsError, classify,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::test]
async fn both_ends_of_one_ca_exchange_bytes_until_either_closes() {
    let ca = Ca::new("one");
    let (client, server) = meet(&ca.client(), &ca.server()).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    client.write_all(b"to the server").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "to the server");
    server.write_all(b"to the client").await.unwrap();
    server.shutdown().await.unwrap();
    text.clear();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "to the client");
}

#[tokio::test]
async fn cut_stream_is_an_error_and_not_an_end() {
    let ca = Ca::new("one");
    let (client, server) = meet(&ca.client(), &ca.server()).await;
    drop(client.unwrap());
    let error = server.unwrap().read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(classify(&error).is_none());
}

#[tokio::test]
async fn server_of_another_ca_is_refused_by_the_client() {
    let (client, server) = meet(&Ca::new("one").client(), &Ca::new("two").server()).await;
    refused(
        client,
        Refusal::OtherCa {
            whose: Role::Server,
        },
    );
    turned_away(server, Refusal::OursOtherCa);
}

#[tokio::test]
async fn server_of_another_ca_with_the_same_name_is_refused_by_the_client() {
    let (client, _) = meet(&Ca::new("one").client(), &Ca::new("one").server()).await;
    refused(
        client,
        Refusal::OtherCa {
            whose: Role::Server,
        },
    );
}

#[tokio::test]
async fn client_of_another_ca_is_refused_by_the_server() {
    let (ours, theirs) = (Ca::new("one"), Ca::new("two"));
    let client = theirs.client().trusting(&ours);
    let (client, server) = meet(&client, &ours.server()).await;
    turned_away(
        server,
        Refusal::OtherCa {
            whose: Role::Client,
        },
    );
    refused_at_first_read(client, Refusal::OursOtherCa).await;
}

#[tokio::test]
async fn expired_server_is_refused_with_the_day_it_expired() {
    let ca = Ca::new("one");
    let (client, server) = meet(&ca.client(), &ca.server().valid_between(2020, 2021)).await;
    refused(
        client,
        Refusal::Expired {
            whose: Role::Server,
            on: "2021-01-01".to_owned(),
        },
    );
    turned_away(server, Refusal::OursExpired);
}

#[tokio::test]
async fn expired_client_is_refused_with_the_day_it_expired() {
    let ca = Ca::new("one");
    let (client, server) = meet(&ca.client().valid_between(2020, 2021), &ca.server()).await;
    turned_away(
        server,
        Refusal::Expired {
            whose: Role::Client,
            on: "2021-01-01".to_owned(),
        },
    );
    refused_at_first_read(client, Refusal::OursExpired).await;
}

#[tokio::test]
async fn server_of_the_future_is_refused_with_its_first_day() {
    let ca = Ca::new("one");
    let (client, _) = meet(&ca.client(), &ca.server().valid_between(2090, 2091)).await;
    refused(
        client,
        Refusal::NotYetValid {
            whose: Role::Server,
            from: "2090-01-01".to_owned(),
        },
    );
}

#[tokio::test]
async fn client_identity_cannot_serve_and_server_identity_cannot_dial() {
    let ca = Ca::new("one");
    let purpose = ExtendedKeyUsagePurpose::ClientAuth;
    let (client, _) = meet(&ca.client(), &ca.server().with_purpose(purpose)).await;
    refused(
        client,
        Refusal::WrongPurpose {
            whose: Role::Server,
        },
    );
    let (client, server) = meet(&ca.server(), &ca.server()).await;
    turned_away(
        server,
        Refusal::WrongPurpose {
            whose: Role::Client,
        },
    );
    refused_at_first_read(
        client,
        Refusal::OursRefused {
            alert: "unsupported_certificate",
        },
    )
    .await;
}

#[tokio::test]
async fn server_of_another_name_is_refused_unless_that_name_is_asked_for() {
    let ca = Ca::new("one");
    let server = ca.server().named("pod.example.org");
    let (client, _) = meet(&ca.client(), &server).await;
    refused(
        client,
        Refusal::WrongName {
            name: "127.0.0.1".to_owned(),
        },
    );
    let (client, _) = meet_as(&ca.client(), &server, Some("pod.example.org")).await;
    client.unwrap();
}

#[tokio::test]
async fn client_without_certificate_is_refused() {
    let ca = Ca::new("one");
    let (mut client, server) = meet_alien(
        &ca,
        Alien {
            certificate: false,
            ..Alien::BARGE
        },
    )
    .await;
    turned_away(
        server,
        Refusal::NoCertificate {
            whose: Role::Client,
        },
    );
    let error = client.read_u8().await.unwrap_err();
    let refusal = Refusal::OursRefused {
        alert: "certificate_required",
    };
    assert_eq!(
        classify(&error).unwrap().kind(),
        &DialErrorKind::Refused(refusal)
    );
}

#[tokio::test]
async fn client_of_tls_1_2_is_refused() {
    let ca = Ca::new("one");
    let version = &rustls::version::TLS12;
    let error = alien_meets_acceptor(
        &ca,
        Alien {
            version,
            ..Alien::BARGE
        },
    )
    .await
    .1;
    turned_away(error, Refusal::Incompatible);
}

#[tokio::test]
async fn client_that_chooses_another_protocol_is_refused() {
    let ca = Ca::new("one");
    let alien = Alien {
        protocol: Some("h2"),
        ..Alien::BARGE
    };
    let (_, server) = alien_meets_acceptor(&ca, alien).await;
    turned_away(server, Refusal::NotBarge);
}

#[tokio::test]
async fn client_that_names_no_protocol_is_verified_like_any_other() {
    let ca = Ca::new("one");
    let alien = |certificate| Alien {
        protocol: None,
        certificate,
        ..Alien::BARGE
    };
    let (_, server) = alien_meets_acceptor(&ca, alien(true)).await;
    assert_eq!(server.unwrap().spoken(), Spoken::Unnamed);
    let (_, server) = alien_meets_acceptor(&ca, alien(false)).await;
    assert!(server.is_err());
}

#[tokio::test]
async fn server_that_names_no_protocol_will_do_for_who_says_so() {
    let ca = Ca::new("one");
    for (offer, protocol, spoken) in [
        (Offer::Either, None, Spoken::Unnamed),
        (Offer::Either, Some("barge/1"), Spoken::Barge),
        (Offer::Unnamed, Some("barge/1"), Spoken::Unnamed),
    ] {
        let alien = ca.alien_server(protocol);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dialer = dialer(&ca.client(), port(&listener), None);
        dialer.connector = dialer.connector.offering(offer);
        let serve = async {
            let tcp = listener.accept().await.unwrap().0;
            alien.accept(tcp).await
        };
        let (dialed, _server) = tokio::join!(dialer.dial(), serve);
        assert_eq!(dialed.unwrap().spoken(), spoken, "{offer:?}");
    }
}

#[tokio::test]
async fn server_that_chooses_no_or_another_protocol_is_no_barge() {
    let ca = Ca::new("one");
    for protocol in [None, Some("h2")] {
        let alien = ca.alien_server(protocol);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialer = dialer(&ca.client(), port(&listener), None);
        let serve = async {
            let tcp = listener.accept().await.unwrap().0;
            // The client leaves in the midst of it.
            let _ = alien.accept(tcp).await;
        };
        refused(tokio::join!(dialer.dial(), serve).0, Refusal::NotBarge);
    }
}

#[tokio::test]
async fn plain_servers_do_not_speak_tls() {
    for greeting in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "@RSYNCD: 32.0 sha512\n",
        "SSH-2.0-x\r\n",
    ] {
        let dialed = dial_peer(Peer::Says(greeting)).await;
        refused(dialed, Refusal::NotTls);
    }
}

#[tokio::test]
async fn plain_client_does_not_speak_tls() {
    let server = send_to_acceptor(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    turned_away(server, Refusal::NotTls);
}

#[tokio::test]
async fn end_of_file_reset_and_silence_may_be_dialled_again() {
    let closed = dial_peer(Peer::Closes).await.unwrap_err();
    assert_eq!(closed.kind(), &DialErrorKind::Closed);
    let reset = dial_peer(Peer::Resets).await.unwrap_err();
    assert_eq!(reset.kind(), &DialErrorKind::Broken);
    let silent = dial_peer(Peer::IsSilent).await.unwrap_err();
    assert_eq!(silent.kind(), &DialErrorKind::Deadline(SHORT));
    for error in [closed, reset, silent] {
        assert!(!error.is_final(), "{error}");
    }
}

#[tokio::test]
async fn refused_connection_names_its_address_and_may_be_dialled_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let dialer = dialer(&Ca::new("one").client(), port(&listener), None);
    drop(listener);
    let error = dialer.dial().await.unwrap_err();
    assert_eq!(error.kind(), &DialErrorKind::Connect { addr });
    assert!(!error.is_final());
    assert!(error.source().unwrap().to_string().contains("refused"));
}

#[tokio::test]
async fn name_that_is_none_is_final() {
    let client = Ca::new("one").client().load();
    let error = Connector::new(&client, Some("two words")).unwrap_err();
    assert_eq!(
        error.kind(),
        &DialErrorKind::Name {
            name: "two words".to_owned()
        }
    );
    assert!(error.is_final());
}

#[tokio::test]
async fn silent_client_meets_the_deadline_and_a_probe_is_no_news() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut acceptor = Acceptor::new(&Ca::new("one").server().load());
    acceptor.deadline = SHORT;
    let silent = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let error = listener
        .accept()
        .await
        .handshake(&acceptor)
        .await
        .unwrap_err();
    assert!(matches!(error, AcceptError::Deadline(SHORT)), "{error}");
    drop(silent);
    let probe = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    probe.set_zero_linger().unwrap();
    drop(probe);
    let error = listener
        .accept()
        .await
        .handshake(&acceptor)
        .await
        .unwrap_err();
    assert!(matches!(error, AcceptError::Probe), "{error}");
}

#[tokio::test]
async fn oldest_handshake_makes_way_when_all_places_are_taken() {
    let ca = Ca::new("one");
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (acceptor, addr) = (
        Acceptor::new(&ca.server().load()),
        listener.local_addr().unwrap(),
    );
    let mut silent = Vec::new();
    let mut handshakes = JoinSet::new();
    for n in 0..=MAX_HANDSHAKES {
        silent.push(TcpStream::connect(addr).await.unwrap());
        let (incoming, acceptor) = (listener.accept().await, acceptor.clone());
        handshakes.spawn(async move { (n, incoming.handshake(&acceptor).await) });
    }
    let (first, error) = handshakes.join_next().await.unwrap().unwrap();
    assert_eq!(first, 0);
    assert!(matches!(error, Err(AcceptError::Crowded)), "{error:?}");
    // Who comes now and speaks is heard.
    let dialer = dialer(&ca.client(), addr.port(), None);
    let serve = async { listener.accept().await.handshake(&acceptor).await };
    let (client, server) = tokio::join!(dialer.dial(), serve);
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn handshakes_that_are_over_leave_their_places() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (acceptor, addr) = (
        Acceptor::new(&Ca::new("one").server().load()),
        listener.local_addr().unwrap(),
    );
    let _silent = TcpStream::connect(addr).await.unwrap();
    let incoming = listener.accept().await;
    for _ in 0..2 * MAX_HANDSHAKES {
        drop(TcpStream::connect(addr).await.unwrap());
        let error = listener.accept().await.handshake(&acceptor).await;
        assert!(matches!(error, Err(AcceptError::Probe)), "{error:?}");
    }
    let still = tokio::time::timeout(SHORT, incoming.handshake(&acceptor)).await;
    assert!(still.is_err(), "{still:?}");
}

#[tokio::test]
async fn client_that_leaves_in_the_midst_of_its_hello_is_no_refusal() {
    let error = send_to_acceptor(&[0x16, 3, 1, 2, 0, 1]).await.unwrap_err();
    assert!(matches!(error, AcceptError::Broken(_)), "{error}");
}

#[test]
fn identity_names_the_file_that_is_missing_or_broken() {
    let identity = Ca::new("one").client();
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        let dir = identity.write();
        let path = dir.path().join(file);
        fs::remove_file(&path).unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(
            matches!(&error, TlsError::Missing { path: p } if *p == path),
            "{error}"
        );
        fs::create_dir(&path).unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(
            matches!(&error, TlsError::Unreadable { path: p, .. } if *p == path),
            "{error}"
        );
        fs::remove_dir(&path).unwrap();
        for text in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(&path, text).unwrap();
            let error = Identity::load(dir.path()).unwrap_err();
            let named = match &error {
                TlsError::NoCertificate { path, .. } if file != "tls.key" => path,
                TlsError::NoKey { path, .. } if file == "tls.key" => path,
                _ => panic!("{file}: {error}"),
            };
            assert_eq!(*named, path);
        }
    }
}

#[test]
fn identity_refuses_a_key_that_is_not_the_certificates() {
    let dir = Ca::new("one").client().write();
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(dir.path().join("tls.key"), other).unwrap();
    let error = Identity::load(dir.path()).unwrap_err();
    assert!(
        matches!(&error, TlsError::KeyMismatch { key, .. } if *key == dir.path().join("tls.key")),
        "{error}"
    );
}

#[test]
fn identity_is_read_from_the_folder_itself_before_its_folders_by_role() {
    let dir = tempfile::tempdir().unwrap();
    barge_net::make(dir.path(), &[]).unwrap();
    Identity::load_for(dir.path(), Role::Server).unwrap();
    Identity::load_for(&dir.path().join("server"), Role::Server).unwrap();
    let error = Identity::load_for(Path::new("/nonexistent"), Role::Client).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/tls.crt"),
        "{error}"
    );
}

/// A deadline for peers that would never answer.
const SHORT: Duration = Duration::from_millis(200);

/// A CA that, other than that of `barge keys`, can make what must be refused.
struct Ca(Arc<CertifiedIssuer<'static, KeyPair>>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(Arc::new(
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        ))
    }

    fn server(&self) -> Order {
        Order::new(self, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Order {
        Order::new(self, "client", ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn alien_server(&self, protocol: Option<&str>) -> tokio_rustls::TlsAcceptor {
        let (chain, key) = self.server().der();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocol
            .map(|name| name.as_bytes().to_vec())
            .into_iter()
            .collect();
        Arc::new(config).into()
    }

    fn alien_client(&self, alien: &Alien) -> tokio_rustls::TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = rustls::ClientConfig::builder_with_protocol_versions(&[alien.version])
            .with_root_certificates(roots);
        let mut config = match alien.certificate {
            true => {
                let (chain, key) = self.client().der();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alien
            .protocol
            .map(|name| name.as_bytes().to_vec())
            .into_iter()
            .collect();
        Arc::new(config).into()
    }
}

/// A TLS client that is no barge in one respect.
struct Alien {
    version: &'static rustls::SupportedProtocolVersion,
    protocol: Option<&'static str>,
    certificate: bool,
}

impl Alien {
    const BARGE: Self = Self {
        version: &rustls::version::TLS13,
        protocol: Some("barge/1"),
        certificate: true,
    };
}

/// An identity to be made.
struct Order {
    ca: Arc<CertifiedIssuer<'static, KeyPair>>,
    trusts: Arc<CertifiedIssuer<'static, KeyPair>>,
    params: CertificateParams,
}

impl Order {
    fn new(ca: &Ca, name: &str, purpose: ExtendedKeyUsagePurpose) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        Self {
            ca: Arc::clone(&ca.0),
            trusts: Arc::clone(&ca.0),
            params,
        }
    }

    fn trusting(mut self, ca: &Ca) -> Self {
        self.trusts = Arc::clone(&ca.0);
        self
    }

    fn valid_between(mut self, first: i32, last: i32) -> Self {
        self.params.not_before = date_time_ymd(first, 1, 1);
        self.params.not_after = date_time_ymd(last, 1, 1);
        self
    }

    fn with_purpose(mut self, purpose: ExtendedKeyUsagePurpose) -> Self {
        self.params.extended_key_usages = vec![purpose];
        self
    }

    fn named(mut self, name: &str) -> Self {
        self.params.subject_alt_names = CertificateParams::new([name.to_owned()])
            .unwrap()
            .subject_alt_names;
        self
    }

    fn write(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = self.params.signed_by(&key, &*self.ca).unwrap();
        fs::write(dir.path().join("tls.crt"), certificate.pem()).unwrap();
        fs::write(dir.path().join("tls.key"), key.serialize_pem()).unwrap();
        fs::write(dir.path().join("ca.crt"), self.trusts.pem()).unwrap();
        dir
    }

    fn load(&self) -> Identity {
        Identity::load(self.write().path()).unwrap()
    }

    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let dir = self.write();
        let chain = CertificateDer::from_pem_file(dir.path().join("tls.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.path().join("tls.key")).unwrap();
        (vec![chain], key)
    }
}

/// What answers a dial in place of a server.
#[derive(Clone, Copy)]
enum Peer {
    Says(&'static str),
    Closes,
    Resets,
    IsSilent,
}

async fn dial_peer(peer: Peer) -> Result<Stream, DialError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut dialer = dialer(&Ca::new("one").client(), port(&listener), None);
    if matches!(peer, Peer::IsSilent) {
        dialer.deadline = SHORT;
    }
    let answer = async {
        let mut tcp = listener.accept().await.unwrap().0;
        let mut hello = [0; 4096];
        assert!(tcp.read(&mut hello).await.unwrap() > 0);
        match peer {
            Peer::Says(greeting) => tcp.write_all(greeting.as_bytes()).await.unwrap(),
            Peer::Closes => tcp.shutdown().await.unwrap(),
            Peer::Resets => tcp.set_zero_linger().unwrap(),
            Peer::IsSilent => tokio::time::sleep(2 * SHORT).await,
        }
    };
    tokio::join!(dialer.dial(), answer).0
}

async fn send_to_acceptor(bytes: &[u8]) -> Result<Stream, AcceptError> {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let acceptor = Acceptor::new(&Ca::new("one").server().load());
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    listener.accept().await.handshake(&acceptor).await
}

async fn meet(
    client: &Order,
    server: &Order,
) -> (Result<Stream, DialError>, Result<Stream, AcceptError>) {
    meet_as(client, server, None).await
}

async fn meet_as(
    client: &Order,
    server: &Order,
    name: Option<&str>,
) -> (Result<Stream, DialError>, Result<Stream, AcceptError>) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let acceptor = Acceptor::new(&server.load());
    let dialer = dialer(client, listener.local_addr().unwrap().port(), name);
    let serve = async { listener.accept().await.handshake(&acceptor).await };
    tokio::join!(dialer.dial(), serve)
}

async fn meet_alien(
    ca: &Ca,
    alien: Alien,
) -> (
    tokio_rustls::client::TlsStream<TcpStream>,
    Result<Stream, AcceptError>,
) {
    let (client, server) = alien_meets_acceptor(ca, alien).await;
    (client.unwrap(), server)
}

async fn alien_meets_acceptor(
    ca: &Ca,
    alien: Alien,
) -> (
    io::Result<tokio_rustls::client::TlsStream<TcpStream>>,
    Result<Stream, AcceptError>,
) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let acceptor = Acceptor::new(&ca.server().load());
    let tcp = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let connector = ca.alien_client(&alien);
    let serve = async { listener.accept().await.handshake(&acceptor).await };
    tokio::join!(
        connector.connect("127.0.0.1".try_into().unwrap(), tcp),
        serve
    )
}

fn dialer(client: &Order, port: u16, name: Option<&str>) -> Dialer {
    let connector = Connector::new(&client.load(), name).unwrap();
    Dialer::new(
        Target::parse(&format!("127.0.0.1:{port}")).unwrap(),
        connector,
    )
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

#[track_caller]
fn refused(dialed: Result<Stream, DialError>, refusal: Refusal) {
    let error = dialed.unwrap_err();
    assert_eq!(error.kind(), &DialErrorKind::Refused(refusal));
    assert!(error.is_final());
}

async fn refused_at_first_read(dialed: Result<Stream, DialError>, refusal: Refusal) {
    let error = dialed.unwrap().read_u8().await.unwrap_err();
    let error = classify(&error).unwrap_or_else(|| panic!("{error}"));
    assert_eq!(error.kind(), &DialErrorKind::Refused(refusal));
    assert!(error.is_final());
}

#[track_caller]
fn turned_away(accepted: Result<Stream, AcceptError>, expected: Refusal) {
    match accepted.unwrap_err() {
        AcceptError::Refused { refusal, .. } => assert_eq!(refusal, expected),
        other => panic!("{other:?}"),
    }
}
