//! Sockets and pipes as the mover's halves of a connection.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use barge::over_rsync::{Connection, Input, Output};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use super::interrupt;

/// A connection over what is read and what is written: two ends of pipes, or one socket twice.
///
/// # Errors
///
/// Those of `fcntl(2)`.
pub(super) fn connection(input: OwnedFd, output: OwnedFd) -> io::Result<Connection> {
    never_block(&input)?;
    never_block(&output)?;
    Ok(Connection {
        input: Box::new(Reads(input.into())),
        output: Box::new(Writes(Some(output.into()))),
    })
}

/// A connection over a socket.
///
/// # Errors
///
/// Those of `dup(2)` and `fcntl(2)`.
pub(super) fn socket(socket: OwnedFd) -> io::Result<Connection> {
    connection(socket.try_clone()?, socket)
}

fn never_block(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

struct Reads(File);

impl Input for Reads {
    fn read(&mut self, buf: &mut [u8], patience: Option<Duration>) -> io::Result<usize> {
        loop {
            check()?;
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.0, PollFlags::POLLIN, patience)?;
                }
                // The peer went without a goodbye: the roles know what that means.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                result => return result,
            }
        }
    }
}

struct Writes(Option<File>);

impl Output for Writes {
    fn write(&mut self, pieces: &[IoSlice<'_>], patience: Option<Duration>) -> io::Result<usize> {
        let Some(file) = &mut self.0 else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        loop {
            check()?;
            match file.write_vectored(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&*file, PollFlags::POLLOUT, patience)?;
                }
                result => return result,
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(file) = self.0.take() else {
            return Ok(());
        };
        use std::os::fd::AsRawFd;
        match shutdown(file.as_raw_fd(), Shutdown::Write) {
            // A pipe ends when it is closed; a peer that has gone needs no word.
            Ok(()) | Err(Errno::ENOTSOCK | Errno::ENOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Waits until a call on `fd` would not block.
fn wait(fd: &impl AsFd, flags: PollFlags, patience: Option<Duration>) -> io::Result<()> {
    let timeout = match patience {
        None => PollTimeout::NONE,
        Some(patience) => {
            // Rounded up, so that no wait ends before its time.
            let millis = patience.as_micros().div_ceil(1000);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        }
    };
    let mut fds = vec![PollFd::new(fd.as_fd(), flags)];
    fds.extend(interrupt::bell().map(|bell| PollFd::new(bell, PollFlags::POLLIN)));
    match poll(&mut fds, timeout) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A run that was interrupted reads and writes no more.
fn check() -> io::Result<()> {
    match interrupt::caught() {
        true => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const SHORT: Option<Duration> = Some(Duration::from_millis(10));

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_wait_on_either_half_ends_with_its_patience() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut here = socket(here.into()).unwrap();
        let timed_out = Some(io::ErrorKind::TimedOut);
        assert_eq!(kind(here.input.read(&mut [0], SHORT)), timed_out);
        let bytes = [0; 65_536];
        let pieces = [IoSlice::new(&bytes)];
        let full = loop {
            if let Err(error) = here.output.write(&pieces, SHORT) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_closed_half_still_hears() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut here, mut there) = (socket(here.into()).unwrap(), socket(there.into()).unwrap());
        here.output.close().unwrap();
        here.output.close().unwrap();
        assert_eq!(there.input.read(&mut [0], None).unwrap(), 0);
        there.output.write(&[IoSlice::new(b"x")], None).unwrap();
        assert_eq!(here.input.read(&mut [0], None).unwrap(), 1);
    }

    #[test]
    fn a_pipe_ends_when_its_writing_half_is_closed() {
        let (reading, writing) = nix::unistd::pipe().unwrap();
        let mut connection = connection(reading, writing).unwrap();
        connection
            .output
            .write(&[IoSlice::new(b"abc")], None)
            .unwrap();
        connection.output.close().unwrap();
        let mut buf = [0; 8];
        assert_eq!(connection.input.read(&mut buf, None).unwrap(), 3);
        assert_eq!(connection.input.read(&mut buf, None).unwrap(), 0);
    }
}
