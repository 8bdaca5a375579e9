//! The certificate both sides of a migration hold: who shows it is who it should be.
//!
//! The Migration Toolkit for Containers gives both ends of a run the same certificate and key, and
//! tells neither of them to look. `BARGE_STUNNEL_PIN` says whether we look all the same: `prefer`,
//! the default, tells of a peer that shows another one; `require` refuses it; `off` does not look.

use std::path::PathBuf;

use barge_net::{Shown, Trust, TunnelStream};

use super::conf::Service;
use super::log::Log;

/// What a service shows, and whether it expects the same of its peer.
pub(super) struct Pin {
    mode: Mode,
    shown: Option<(Shown, PathBuf)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Require,
    Prefer,
    Off,
}

impl Pin {
    /// Reads the certificate of a service. `wanted` is the variable's value.
    ///
    /// # Errors
    ///
    /// The sentence that tells what cannot be used.
    pub(super) fn new(service: &Service, wanted: Option<&str>) -> Result<Self, String> {
        let shown = match &service.cert {
            None => None,
            Some(cert) => {
                let key = service.key.as_ref().unwrap_or(cert);
                let shown = Shown::load(cert, key).map_err(|error| error.to_string())?;
                Some((shown, cert.clone()))
            }
        };
        let told = service.verify.chain || service.verify.peer;
        let mode = match wanted {
            Some("require") if shown.is_none() => {
                return Err("BARGE_STUNNEL_PIN=require needs a \"cert\" to compare with".to_owned());
            }
            Some("require") => Mode::Require,
            Some("off") => Mode::Off,
            // Who is to be trusted is configured, or there is nothing to compare with.
            None | Some("prefer") if told || shown.is_none() => Mode::Off,
            None | Some("prefer") => Mode::Prefer,
            Some(other) => {
                return Err(format!(
                    "BARGE_STUNNEL_PIN={other:?} is none of require, prefer and off"
                ));
            }
        };
        Ok(Self { mode, shown })
    }

    /// What is shown to peers.
    pub(super) fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref().map(|(shown, _)| shown)
    }

    /// Adds to what is asked of a peer.
    ///
    /// # Errors
    ///
    /// The sentence that tells which file cannot be used.
    pub(super) fn ask(&self, trust: &mut Trust) -> Result<(), String> {
        trust.request |= self.mode != Mode::Off;
        if let (Mode::Require, Some((_, cert))) = (self.mode, &self.shown) {
            trust.require = true;
            trust.peer = true;
            trust.add_file(cert).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Tells whether the peer has shown our certificate.
    pub(super) fn look(&self, tls: &TunnelStream, log: &Log) {
        let Some((shown, _)) = &self.shown else {
            return;
        };
        match self.mode {
            Mode::Off => {}
            _ if tls.peer_shows(shown) => {
                log.notice("the peer holds the same certificate as we do")
            }
            _ => log.warning(
                "the peer is not verified: it shows another certificate than ours, or none \
                 (BARGE_STUNNEL_PIN=require refuses it)",
            ),
        }
    }
}
