//! PEM files become a client or a server; the one file that says rustls.
//!
//! TLS 1.3 (RFC 8446) only, a certificate at both ends, the protocol `barge/1` or none named (ALPN,
//! RFC 7301), no session resumption. Keys are renewed by rustls when a suite's limit of
//! records nears (2^24 for AES-GCM), in each direction by its sender.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, CommonState, ConnectionCommon,
    Error as RustlsError, RootCertStore, ServerConfig,
};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tracing::warn;

use crate::read_ahead::ReadAhead;
use crate::{AcceptError, DialError, DialErrorKind, Refusal, Role, TlsError};

/// A certificate with its key, and the CA that signs the peers' certificates.
#[derive(Clone, Debug)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
}

impl Identity {
    /// Reads `tls.crt` (a chain, leaf first), `tls.key` and `ca.crt` from `dir`: the layout of a
    /// Kubernetes TLS Secret.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and the remedy.
    pub fn load(dir: &Path) -> Result<Self, TlsError> {
        let key = key_of(&dir.join("tls.crt"), &dir.join("tls.key"), &provider())?;
        Ok(Self {
            key: Arc::new(key),
            roots: Arc::new(roots(&dir.join("ca.crt"))?),
        })
    }

    /// Reads the identity for `role`: from `dir` itself when it holds a `tls.crt`, else from its
    /// folder `server` or `client`, as `barge keys` makes them.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_for(dir: &Path, role: Role) -> Result<Self, TlsError> {
        let below = dir.join(role.to_string());
        let nested = !dir.join("tls.crt").exists() && below.exists();
        Self::load(if nested { &below } else { dir })
    }
}

/// Makes connected sockets into streams, at the client.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    server_name: Option<ServerName<'static>>,
    offer: Offer,
}

/// Which languages a client offers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Offer {
    /// `barge/1`, and nothing else will do.
    #[default]
    Barge,
    /// `barge/1`, or what a server speaks that does not choose it.
    Either,
    /// None: the server speaks what it speaks to who names nothing.
    Unnamed,
}

/// What both ends of a [`Stream`] have agreed to speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spoken {
    /// `barge/1`.
    Barge,
    /// Nothing was named: the language of daemons behind a plain TLS tunnel.
    Unnamed,
}

impl Connector {
    /// Takes `server_name` for SNI and for the server's certificate, in place of the host dialled.
    ///
    /// An IP address must be among the certificate's names, and goes without SNI.
    ///
    /// # Errors
    ///
    /// [`DialErrorKind::Name`].
    pub fn new(identity: &Identity, server_name: Option<&str>) -> Result<Self, DialError> {
        Self::with_provider(identity, server_name, provider())
    }

    fn with_provider(
        identity: &Identity,
        server_name: Option<&str>,
        provider: CryptoProvider,
    ) -> Result<Self, DialError> {
        let provider = Arc::new(provider);
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&identity.roots),
            Arc::clone(&provider),
        )
        .build()
        .expect("an identity has a root");
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_webpki_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            server_name: server_name.map(parse_name).transpose()?,
            offer: Offer::Barge,
        })
    }

    /// The same, offering something else. Whom it trusts does not change.
    #[must_use]
    pub fn offering(mut self, offer: Offer) -> Self {
        let mut config = self.tls.config().as_ref().clone();
        config.alpn_protocols = match offer {
            Offer::Barge | Offer::Either => vec![ALPN.to_vec()],
            Offer::Unnamed => Vec::new(),
        };
        self.tls = TlsConnector::from(Arc::new(config));
        self.offer = offer;
        self
    }

    /// Shakes hands over `tcp` with the server that was dialled as `host`. Has no deadline of
    /// its own.
    ///
    /// # Errors
    ///
    /// [`DialError`]. A refusal by the server may show itself on the first read only: see
    /// [`classify`].
    pub async fn connect(&self, tcp: TcpStream, host: &str) -> Result<Stream, DialError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host)?,
        };
        let socket = ReadAhead::new(tcp);
        let tls = self
            .tls
            .connect_with(name, socket, |tls| widen(tls))
            .await
            .map_err(dial_error)?;
        match (spoken(tls.get_ref().1), self.offer) {
            (Some(Spoken::Unnamed), Offer::Barge) | (None, _) => Err(Refusal::NotBarge.into()),
            _ => Ok(Stream(tls.into())),
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Makes accepted sockets into streams, at the server.
#[derive(Clone)]
pub struct Acceptor {
    /// How long a client may take over its handshake.
    pub deadline: Duration,
    tls: TlsAcceptor,
}

impl Acceptor {
    /// Accepts clients of `identity`'s CA, each within [`HANDSHAKE_DEADLINE`].
    pub fn new(identity: &Identity) -> Self {
        Self::with_provider(identity, provider())
    }

    fn with_provider(identity: &Identity, provider: CryptoProvider) -> Self {
        let provider = Arc::new(provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&identity.roots),
            Arc::clone(&provider),
        )
        .build()
        .expect("an identity has a root");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has suites of TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self {
            deadline: HANDSHAKE_DEADLINE,
            tls: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// Shakes hands over `tcp`, within the deadline.
    ///
    /// # Errors
    ///
    /// [`AcceptError`]; [`AcceptError::Probe`] is no news.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Stream, AcceptError> {
        let late = |_| AcceptError::Deadline(self.deadline);
        timeout(self.deadline, self.handshake(tcp))
            .await
            .map_err(late)?
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Stream, AcceptError> {
        if !matches!(tcp.peek(&mut [0]).await, Ok(1)) {
            return Err(AcceptError::Probe);
        }
        let accept = self
            .tls
            .accept_with(ReadAhead::new(tcp), |tls| widen(tls))
            .into_fallible();
        let tls = match accept.await {
            Ok(tls) => tls,
            Err((error, socket)) => {
                linger(socket).await;
                return Err(accept_error(error));
            }
        };
        match spoken(tls.get_ref().1) {
            Some(_) => Ok(Stream(tls.into())),
            None => Err(AcceptError::Refused {
                refusal: Refusal::NotBarge,
                source: None,
            }),
        }
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Bytes to and from a peer that has shown its certificate.
///
/// `shutdown` closes the sending half; the end of the receiving half without it is an error of
/// kind `UnexpectedEof`.
#[derive(Debug)]
pub struct Stream(TlsStream<ReadAhead>);

impl Stream {
    /// What both ends have agreed to speak.
    pub fn spoken(&self) -> Spoken {
        let (_, common) = self.0.get_ref();
        spoken(common).expect("no stream is made of another")
    }
}

/// `None` for a protocol that is none of ours.
fn spoken(common: &CommonState) -> Option<Spoken> {
    match common.alpn_protocol() {
        Some(ALPN) => Some(Spoken::Barge),
        None => Some(Spoken::Unnamed),
        Some(_) => None,
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Finds the server's refusal in an error of a client's first read.
///
/// In TLS 1.3 a client's handshake is done before the server has seen the client's certificate,
/// so the server's alert comes later. A write may fail before it: read then, to learn why.
/// `None` for every error that is no such alert.
pub fn classify(error: &io::Error) -> Option<DialError> {
    match rustls_error(error)? {
        RustlsError::AlertReceived(alert) => alert_refusal(*alert).map(DialError::from),
        _ => None,
    }
}

/// Whether a certificate can name `host`: a DNS name, also with `*.` before it, or an IP address.
pub(crate) fn is_host(host: &str) -> bool {
    ServerName::try_from(host.strip_prefix("*.").unwrap_or(host)).is_ok()
}

fn parse_name(name: &str) -> Result<ServerName<'static>, DialError> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        DialError::new(
            DialErrorKind::Name {
                name: name.to_owned(),
            },
            None,
        )
    })
}

/// The suites of TLS 1.3, AES first for machines with its instructions.
///
/// AES-128 before AES-256 took about 4 % less CPU time over loopback, within the noise.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

/// A chain, leaf first, with its key.
pub(crate) fn key_of(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let no_key = |source| TlsError::NoKey {
        path: key.to_owned(),
        source,
    };
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| no_key(error.into()))?;
    warn_if_world_readable(key);
    CertifiedKey::from_der(chain, der, provider).map_err(|error| match error {
        RustlsError::InconsistentKeys(_) => TlsError::KeyMismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        },
        other => no_key(other.into()),
    })
}

pub(crate) fn widen<Data>(tls: &mut ConnectionCommon<Data>) {
    tls.set_buffer_limit(Some(WRITE_BUFFER));
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => TlsError::Missing {
            path: path.to_owned(),
        },
        _ => TlsError::Unreadable {
            path: path.to_owned(),
            source,
        },
    })
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |source| TlsError::NoCertificate {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refuse(Some(error.into())))?;
    if certificates.is_empty() {
        Err(refuse(None))
    } else {
        Ok(certificates)
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::NoCertificate {
                path: path.to_owned(),
                source: Some(error.into()),
            })?;
    }
    Ok(roots)
}

fn warn_if_world_readable(path: &Path) {
    let mode = fs::metadata(path).map(|meta| meta.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o004 != 0) {
        warn!(
            ?path,
            "every user may read the private key: chmod 600, or defaultMode 0400 in a pod"
        );
    }
}

/// Sends what is left of an alert, then reads until the client closes, a second at most.
///
/// A socket closed with unread bytes sends a reset, and a reset may overtake the alert.
async fn linger(mut socket: ReadAhead) {
    let tcp = socket.socket_mut();
    let drain = async {
        tcp.shutdown().await?;
        let mut bytes = [0; 4096];
        while tcp.read(&mut bytes).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection is lost in any case.
    let _ = timeout(LINGER, drain).await;
}

fn dial_error(source: io::Error) -> DialError {
    let kind = match rustls_error(&source).and_then(|error| refusal(error, Role::Server)) {
        Some(refusal) => DialErrorKind::Refused(refusal),
        None if source.kind() == io::ErrorKind::UnexpectedEof => DialErrorKind::Closed,
        None => DialErrorKind::Broken,
    };
    DialError::new(kind, Some(source))
}

fn accept_error(source: io::Error) -> AcceptError {
    match rustls_error(&source).and_then(|error| refusal(error, Role::Client)) {
        Some(refusal) => AcceptError::Refused {
            refusal,
            source: Some(source),
        },
        None => AcceptError::Broken(source),
    }
}

/// Digs through nested errors. `io::Error::source` skips what it wraps, so that is asked first.
fn rustls_error(error: &io::Error) -> Option<&RustlsError> {
    let mut next: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Why a handshake with `peer` failed for good; `None` when another attempt may succeed.
fn refusal(error: &RustlsError, peer: Role) -> Option<Refusal> {
    match error {
        RustlsError::InvalidMessage(_) => Some(Refusal::NotTls),
        RustlsError::PeerIncompatible(_) => Some(Refusal::Incompatible),
        RustlsError::NoApplicationProtocol => Some(Refusal::NotBarge),
        RustlsError::NoCertificatesPresented => Some(Refusal::NoCertificate { whose: peer }),
        RustlsError::InvalidCertificate(error) => Some(certificate_refusal(error, peer)),
        RustlsError::AlertReceived(alert) => alert_refusal(*alert),
        _ => None,
    }
}

fn certificate_refusal(error: &CertificateError, whose: Role) -> Refusal {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => Refusal::Expired {
            whose,
            on: day(*not_after),
        },
        CertificateError::NotValidYetContext { not_before, .. } => Refusal::NotYetValid {
            whose,
            from: day(*not_before),
        },
        // A signature that does not fit: another CA of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Refusal::OtherCa { whose }
        }
        CertificateError::NotValidForNameContext { expected, .. } => Refusal::WrongName {
            name: expected.to_str().into_owned(),
        },
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::WrongPurpose { whose }
        }
        _ => Refusal::BadCertificate { whose },
    }
}

/// What an alert of the peer refuses (RFC 8446, section 6); `None` when it refuses nothing of ours.
fn alert_refusal(alert: AlertDescription) -> Option<Refusal> {
    use AlertDescription as Alert;
    let refused = |alert| Some(Refusal::OursRefused { alert });
    match alert {
        Alert::CertificateExpired => Some(Refusal::OursExpired),
        Alert::UnknownCA => Some(Refusal::OursOtherCa),
        Alert::BadCertificate => refused("bad_certificate"),
        Alert::UnsupportedCertificate => refused("unsupported_certificate"),
        Alert::CertificateRevoked => refused("certificate_revoked"),
        Alert::CertificateUnknown => refused("certificate_unknown"),
        Alert::CertificateRequired => refused("certificate_required"),
        Alert::AccessDenied => refused("access_denied"),
        Alert::DecryptError => refused("decrypt_error"),
        Alert::NoApplicationProtocol => Some(Refusal::NotBarge),
        Alert::UnrecognisedName => Some(Refusal::UnknownName),
        Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            Some(Refusal::Incompatible)
        }
        _ => None,
    }
}

/// The day in UTC as `YYYY-MM-DD`, or the seconds since 1970 where no calendar reaches.
fn day(time: UnixTime) -> String {
    let secs = time.as_secs();
    match i64::try_from(secs)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
    {
        Some(time) => time.date().to_string(),
        None => format!("second {secs}"),
    }
}

/// The protocol both ends must choose (RFC 7301).
pub const ALPN: &[u8] = b"barge/1";

/// How long a client may take over its handshake unless told otherwise.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Plaintext taken and encrypted before a write waits for the socket: sixteen records.
const WRITE_BUFFER: usize = 256 << 10;

/// How long a refused client may take to read its alert.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::cipher::{
        AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm,
        UnsupportedOperationError,
    };
    use rustls::{
        CipherSuiteCommon, ConnectionTrafficSecrets, SupportedCipherSuite, Tls13CipherSuite,
    };
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::split;
    use tokio::net::TcpListener;

    /// Records under one key in these tests.
    const LIMIT: u64 = 64;

    #[tokio::test]
    async fn stream_renews_its_keys_in_both_directions_and_loses_nothing() {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::tempdir().unwrap();
        crate::make(dir.path(), &[]).unwrap();
        let load = |role| Identity::load_for(dir.path(), role).unwrap();
        let connector =
            Connector::with_provider(&load(Role::Client), None, short_lived_keys(&KEYS)).unwrap();
        let acceptor = Acceptor::with_provider(&load(Role::Server), short_lived_keys(&KEYS));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let server = async {
            acceptor
                .accept(listener.accept().await.unwrap().0)
                .await
                .unwrap()
        };
        let (client, server) = tokio::join!(connector.connect(tcp, "localhost"), server);
        tokio::join!(both_ways(client.unwrap(), 1, 2), both_ways(server, 2, 1));
        assert!(KEYS.load(Ordering::Relaxed) > 2 * 100);
    }

    /// Sends and expects a hundred times what one key may carry, each byte known by its place.
    async fn both_ways(stream: Stream, sent: usize, expected: usize) {
        const PIECE: usize = 100_003;
        let pieces = 100 * LIMIT as usize * 16_384 / PIECE + 1;
        let fill = move |n: usize, salt: usize| -> Vec<u8> {
            (0..PIECE).map(|i| ((i + n) * salt % 251) as u8).collect()
        };
        let (mut reader, mut writer) = split(stream);
        let send = tokio::spawn(async move {
            for n in 0..pieces {
                writer.write_all(&fill(n, sent)).await.unwrap();
            }
            writer.flush().await.unwrap();
            writer
        });
        let mut piece = vec![0; PIECE];
        for n in 0..pieces {
            reader.read_exact(&mut piece).await.unwrap();
            assert!(piece == fill(n, expected), "piece {n}");
        }
        send.await.unwrap();
    }

    /// Counts the keys that records are encrypted with.
    struct Counted {
        aead: &'static dyn Tls13AeadAlgorithm,
        keys: &'static AtomicU64,
    }

    impl Tls13AeadAlgorithm for Counted {
        fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
            self.keys.fetch_add(1, Ordering::Relaxed);
            self.aead.encrypter(key, iv)
        }

        fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
            self.aead.decrypter(key, iv)
        }

        fn key_len(&self) -> usize {
            self.aead.key_len()
        }

        fn extract_keys(
            &self,
            key: AeadKey,
            iv: Iv,
        ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
            self.aead.extract_keys(key, iv)
        }
    }

    fn short_lived_keys(keys: &'static AtomicU64) -> CryptoProvider {
        let mut provider = provider();
        for suite in &mut provider.cipher_suites {
            let whole = suite.tls13().unwrap();
            let aead = Counted {
                aead: whole.aead_alg,
                keys,
            };
            let common = CipherSuiteCommon {
                confidentiality_limit: LIMIT,
                ..whole.common
            };
            *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common,
                aead_alg: Box::leak(Box::new(aead)),
                ..*whole
            })));
        }
        provider
    }

    #[test]
    fn rustls_error_is_found_below_other_errors() {
        let inner = RustlsError::AlertReceived(AlertDescription::UnknownCA);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        let error = classify(&wrapped).unwrap();
        assert_eq!(error.kind(), &DialErrorKind::Refused(Refusal::OursOtherCa));
        assert!(error.is_final());
        for other in [
            io::ErrorKind::UnexpectedEof.into(),
            io::Error::other(RustlsError::DecryptError),
        ] {
            assert!(classify(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn day_reads_as_a_date_and_survives_any_number() {
        let at = |secs| day(UnixTime::since_unix_epoch(Duration::from_secs(secs)));
        assert_eq!(at(1_704_164_645), "2024-01-02");
        assert_eq!(at(u64::MAX), format!("second {}", u64::MAX));
    }
}
