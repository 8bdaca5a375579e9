//! `proxy --source`: gives the source beside us a way to the target's proxy.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::reason;
use super::args::ProxyArgs;
use super::relay::Relay;
use super::{line, log};

/// Carries connections until one was a whole conversation.
///
/// # Errors
///
/// In words, when the port cannot be had.
pub(super) fn run(args: &ProxyArgs) -> Result<(), String> {
    let way = Arc::new(Way {
        host: args.target_address.clone().unwrap_or_default(),
        port: args.target_port,
        identifier: args.identifiers[0],
        last: Mutex::default(),
    });
    let listeners = line::listen(args.listen_port)?;
    log::info(&format!("listening on port {}", args.listen_port));
    let (done, end) = mpsc::channel();
    line::accept(listeners, move |source| {
        let (way, done) = (Arc::clone(&way), done.clone());
        thread::spawn(move || way.carry(source, &done));
    });
    end.recv()
        .map_err(|_| "nobody listens any more".to_owned())?;
    log::info("Successfully completed sync");
    Ok(())
}

/// Where connections lead to.
struct Way {
    host: String,
    port: u16,
    identifier: [u8; 32],
    /// The connection that came last.
    last: Mutex<Option<Arc<Relay>>>,
}

impl Way {
    fn carry(&self, source: TcpStream, done: &Sender<()>) {
        // Who says nothing only wanted to know whether somebody listens.
        if !matches!(source.peek(&mut [0]), Ok(1..)) {
            return;
        }
        let target = match self.dial() {
            Ok(target) => target,
            Err(text) => return log::info(&text),
        };
        let relay = Arc::new(Relay::new(source, target));
        if let Some(before) = self.last().replace(Arc::clone(&relay)) {
            // There is one source: it has given up that one.
            before.cut();
        }
        let is_done = relay.run();
        // Sockets end when nobody has them any more.
        self.last().take_if(|last| Arc::ptr_eq(last, &relay));
        if is_done {
            // The process ends with its receiver.
            let _ = done.send(());
        } else {
            log::info("the connection ended before the target was done");
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Relay>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects and says which volume it is about.
    fn dial(&self) -> Result<TcpStream, String> {
        let mut attempts = 0;
        loop {
            let connected = TcpStream::connect((&*self.host, self.port)).and_then(|mut target| {
                target.set_nodelay(true)?;
                target.write_all(&self.identifier)?;
                Ok(target)
            });
            attempts += 1;
            match connected {
                Ok(target) => return Ok(target),
                Err(_) if attempts <= MOST_ATTEMPTS => thread::sleep(BETWEEN),
                Err(error) => {
                    let (host, port, reason) = (&self.host, self.port, reason(&error));
                    return Err(format!("connecting to {host}:{port}: {reason}"));
                }
            }
        }
    }
}

const MOST_ATTEMPTS: u32 = 30;
const BETWEEN: Duration = Duration::from_secs(1);
