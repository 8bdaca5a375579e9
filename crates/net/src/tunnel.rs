//! TLS for tunnels whose configuration says whom to trust: as much as stunnel's options do.
//!
//! A [`TunnelStream`] is another type than [`crate::Stream`], which nobody gets without having shown
//! a certificate: what is built on the one does not take the other.
//!
//! Source: stunnel(8), «verifyChain», «verifyPeer», «requireCert», «checkHost», «sslVersion».

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as RustlsError,
    OtherError, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::TlsError;
use crate::read_ahead::ReadAhead;
use crate::tls::{certificates, key_of, widen};

/// Which versions of TLS may be spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Versions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// What a peer's certificate must be.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// A client is asked for one.
    pub request: bool,
    /// A client that has none is refused.
    pub require: bool,
    /// It must be signed by one of the anchors, or be one of them.
    pub chain: bool,
    /// It must be one of the anchors itself.
    pub peer: bool,
    /// With either: it must name one of these hosts, where there are any.
    pub hosts: Vec<String>,
    anchors: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Adds the certificates of a PEM file to the anchors.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and the remedy.
    pub fn add_file(&mut self, path: &Path) -> Result<(), TlsError> {
        self.anchors.extend(certificates(path)?);
        Ok(())
    }

    /// Whether there is anything to trust.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        // One that cannot be an anchor can still be the peer's own.
        roots.add_parsable_certificates(self.anchors.iter().cloned());
        Arc::new(roots)
    }

    fn knows(&self, certificate: &CertificateDer<'_>) -> bool {
        self.anchors
            .iter()
            .any(|anchor| anchor.as_ref() == certificate.as_ref())
    }

    /// Judges a certificate, given what the chain of signatures came to.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        chain: impl FnOnce() -> Result<(), RustlsError>,
    ) -> Result<(), RustlsError> {
        let known = self.knows(certificate);
        if self.peer && !known {
            return Err(CertificateError::UnknownIssuer.into());
        }
        if self.chain {
            match chain() {
                // An anchor that shows itself is signed by nobody else; its dates were looked at
                // before this was found.
                Err(error) if known && is_authority(&error) => {}
                judged => judged?,
            }
        }
        if self.hosts.is_empty() || !(self.chain || self.peer) {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let named = self.hosts.iter().any(|host| {
            let name = ServerName::try_from(host.as_str());
            name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        });
        match named {
            true => Ok(()),
            false => Err(CertificateError::NotValidForName.into()),
        }
    }
}

/// Whether a certificate was refused for nothing but being one of an authority.
fn is_authority(error: &RustlsError) -> bool {
    let RustlsError::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else {
        return false;
    };
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// The certificate a side of a tunnel shows, with its key.
#[derive(Clone, Debug)]
pub struct Shown(Arc<CertifiedKey>);

impl Shown {
    /// Reads a chain, leaf first, and its key.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and the remedy.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(key_of(
            certificate,
            key,
            &aws_lc_rs::default_provider(),
        )?)))
    }
}

/// Begins TLS on connected sockets.
#[derive(Clone)]
pub struct TunnelConnector {
    tls: TlsConnector,
}

impl TunnelConnector {
    /// `sni` says whether the server is told which name is wanted.
    pub fn new(versions: Versions, trust: Trust, shown: Option<&Shown>, sni: bool) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions.supported())
            .expect("the provider has suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerJudge {
                roots: trust.roots(),
                trust,
                provider,
            }));
        let mut config = match shown {
            Some(Shown(key)) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))))
            }
            None => config.with_no_client_auth(),
        };
        config.enable_sni = sni;
        config.resumption = Resumption::disabled();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Shakes hands over `tcp` with the server that is called `name`; a name that is none goes
    /// without SNI.
    ///
    /// # Errors
    ///
    /// The socket's, or one that says what was wrong with the handshake.
    pub async fn connect(&self, tcp: TcpStream, name: &str) -> io::Result<TunnelStream> {
        let peer = tcp.peer_addr()?.ip();
        let name = ServerName::try_from(name.to_owned());
        let name = name.unwrap_or(ServerName::IpAddress(peer.into()));
        let socket = ReadAhead::new(tcp);
        let tls = self
            .tls
            .connect_with(name, socket, |tls| widen(tls))
            .await?;
        Ok(TunnelStream(tls.into()))
    }
}

/// Answers TLS on accepted sockets.
#[derive(Clone)]
pub struct TunnelAcceptor {
    tls: TlsAcceptor,
}

impl TunnelAcceptor {
    /// Shows `shown` to clients that `trust` lets in.
    pub fn new(versions: Versions, trust: Trust, shown: &Shown) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions.supported())
            .expect("the provider has suites of both versions");
        let config = match trust.request {
            true => config.with_client_cert_verifier(Arc::new(ClientJudge::new(trust, provider))),
            false => config.with_no_client_auth(),
        };
        let key = Arc::clone(&shown.0);
        let config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        Self {
            tls: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// Shakes hands over `tcp`.
    ///
    /// # Errors
    ///
    /// The socket's, or one that says what was wrong with the handshake.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<TunnelStream> {
        let socket = ReadAhead::new(tcp);
        let tls = self.tls.accept_with(socket, |tls| widen(tls)).await?;
        Ok(TunnelStream(tls.into()))
    }
}

impl Versions {
    fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => vec![&version::TLS13, &version::TLS12],
            Self::Tls12 => vec![&version::TLS12],
            Self::Tls13 => vec![&version::TLS13],
        }
    }
}

/// Judges servers.
#[derive(Debug)]
struct ServerJudge {
    trust: Trust,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        self.trust.judge(end_entity, || {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Judges clients.
#[derive(Debug)]
struct ClientJudge {
    trust: Trust,
    /// Where there are anchors to build chains to.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ClientJudge {
    fn new(trust: Trust, provider: Arc<CryptoProvider>) -> Self {
        let roots = trust.roots();
        let chains = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        Self {
            trust,
            chains: chains.build().ok(),
            provider,
        }
    }
}

impl ClientCertVerifier for ClientJudge {
    fn client_auth_mandatory(&self) -> bool {
        self.trust.require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.chains {
            Some(chains) if self.trust.chain => chains.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        self.trust.judge(end_entity, || match &self.chains {
            Some(chains) => chains
                .verify_client_cert(end_entity, intermediates, now)
                .map(|_| ()),
            None => Err(CertificateError::UnknownIssuer.into()),
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Bytes to and from a peer that is who the tunnel's configuration wants it to be.
///
/// `shutdown` closes the sending half; the end of the receiving half without it is an error of
/// kind `UnexpectedEof`.
#[derive(Debug)]
pub struct TunnelStream(TlsStream<ReadAhead>);

impl TunnelStream {
    /// What was agreed on: version and suite, as in logs.
    pub fn agreed(&self) -> String {
        let (_, common) = self.0.get_ref();
        let version = match common.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        };
        let suite = common.negotiated_cipher_suite();
        let suite = suite.map(|suite| format!("{:?}", suite.suite()));
        format!("{version} ciphersuite: {}", suite.unwrap_or_default())
    }

    /// Whether the peer has shown the same certificate.
    pub fn peer_shows(&self, own: &Shown) -> bool {
        let shown = self.0.get_ref().1.peer_certificates();
        let leaf = shown.and_then(<[_]>::first);
        leaf.is_some() && leaf == own.0.cert.first()
    }

    /// The end of the connection is to be a reset: something went wrong.
    pub fn reset(&self) {
        let _ = socket2::SockRef::from(self.0.get_ref().0.socket()).set_linger(Some(NOW));
    }
}

/// Waiting no time for what was not sent makes the kernel send a reset (socket(7), `SO_LINGER`).
const NOW: std::time::Duration = std::time::Duration::ZERO;

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
