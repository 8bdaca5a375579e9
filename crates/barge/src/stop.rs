//! A request to end a run before its time.

use tokio::sync::watch;

/// Ends runs that were given a clone of it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Nothing is to end yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Asks all runs to end; what is in flight is committed or removed.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was asked for.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked for.
    pub async fn wait(&self) {
        // The sender is in `self`: waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}
