//! `barge keys`: an identity for each end.

use anyhow::Result;
use barge_net::{KeysError, VALIDITY};
use tracing::{error, info};

use crate::cli::KeysArgs;
use crate::exit::Exit;

/// Makes the keys of one migration.
///
/// # Errors
///
/// When the folder or a name is no good.
pub(crate) fn make(args: &KeysArgs) -> Result<Exit> {
    match barge_net::make(&args.dir, &args.host) {
        Ok(()) => {
            let days = VALIDITY.as_secs() / (24 * 3600);
            info!(dir = ?args.dir, days, "made the folders server and client: one for each end");
            Ok(Exit::Complete)
        }
        Err(error @ KeysError::Crypto(_)) => {
            error!("{:#}", anyhow::Error::from(error));
            Ok(Exit::Internal)
        }
        Err(error) => Err(error.into()),
    }
}
