//! Challenge and response: a client proves that it knows a password.
//!
//! The response is the digest of the password and the text of the challenge, in base64 without
//! padding.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md4::Md4;
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// A digest passwords are proved by, in the order of preference.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Digest {
    /// SHA-512.
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
    /// MD5.
    Md5,
    /// MD4.
    Md4,
}

impl Digest {
    /// All of them, the best first.
    pub const ALL: [Self; 5] = [Self::Sha512, Self::Sha256, Self::Sha1, Self::Md5, Self::Md4];

    /// The name, as it crosses the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha512 => "sha512",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
            Self::Md4 => "md4",
        }
    }

    /// The digest of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let named = |digest: &Self| name.eq_ignore_ascii_case(digest.name().as_bytes());
        Self::ALL.into_iter().find(named)
    }

    /// All names, the best first, with spaces between.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(" ")
    }

    /// The best digest that the peer's list has too; MD5 for a peer without a list.
    ///
    /// # Errors
    ///
    /// [`NoCommonDigest`].
    pub fn choose(theirs: Option<&[u8]>) -> Result<Self, NoCommonDigest> {
        let Some(theirs) = theirs else {
            return Ok(Self::Md5);
        };
        let names = theirs.split(|byte| *byte == b' ');
        names
            .filter_map(Self::named)
            .min()
            .ok_or_else(|| NoCommonDigest(theirs.to_vec()))
    }

    fn digest(self, parts: [&[u8]; 2]) -> Vec<u8> {
        fn of<D: sha2::Digest>(parts: [&[u8]; 2]) -> Vec<u8> {
            let [first, second] = parts;
            D::new()
                .chain_update(first)
                .chain_update(second)
                .finalize()
                .to_vec()
        }
        match self {
            Self::Sha512 => of::<Sha512>(parts),
            Self::Sha256 => of::<Sha256>(parts),
            Self::Sha1 => of::<Sha1>(parts),
            Self::Md5 => of::<Md5>(parts),
            Self::Md4 => of::<Md4>(parts),
        }
    }
}

/// The peer knows no digest of ours: its list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoCommonDigest(pub Vec<u8>);

/// A text that a client has not seen before. `random` must come from a secure source.
pub fn challenge(digest: Digest, random: [u8; 32]) -> String {
    STANDARD_NO_PAD.encode(digest.digest([&random, b""]))
}

/// The answer to a challenge, by who knows the password.
pub fn response(digest: Digest, password: &[u8], challenge: &[u8]) -> String {
    STANDARD_NO_PAD.encode(digest.digest([password, challenge]))
}

/// Whether `answer` is the [`response`] of who knows the password. How long that takes does not tell
/// how much of it is right.
pub fn is_response(digest: Digest, password: &[u8], challenge: &[u8], answer: &[u8]) -> bool {
    let right = response(digest, password, challenge);
    right.as_bytes().ct_eq(answer).into()
}

/// The client's line: who it is, and its answer, the end included.
pub fn answer_line(user: &[u8], response: &str) -> Vec<u8> {
    [user, b" ", response.as_bytes(), b"\n"].concat()
}

/// Splits the client's line into user and answer; `None` when it is none.
pub fn split_answer(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    Some((&line[..space], &line[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded between two stock 3.5.0 peers: user `alice`, password `s3cret`.
    const CHALLENGE: &[u8] =
        b"agInEZBZWRHUVw8Fsl16i+b3t25nH38fju6lin+LfzXxrCJB9IwLL9+a3gzi58fDvD6wm4IwiwEFBk30aORzSA";
    const ANSWER: &[u8] = b"alice wy3Vin5MjvrppJgoZtLu2PyG9lScnxC1Fifkn17ZJO1Dd53HZLkH5EFdicqf/3ky4zoLtfxmYTsfQDzxCMoktQ\n";

    #[test]
    fn the_answer_is_stock_rsyncs() {
        let response = response(Digest::Sha512, b"s3cret", CHALLENGE);
        assert_eq!(answer_line(b"alice", &response), ANSWER);
    }

    #[test]
    fn only_the_right_answer_is_taken() {
        let (user, answer) = split_answer(ANSWER.trim_ascii_end()).unwrap();
        assert_eq!(user, b"alice");
        let is_right = |password: &[u8], answer: &[u8]| {
            is_response(Digest::Sha512, password, CHALLENGE, answer)
        };
        assert!(is_right(b"s3cret", answer));
        assert!(!is_right(b"s3crets", answer));
        assert!(!is_right(b"", answer));
        assert!(!is_right(b"s3cret", &answer[1..]));
        assert!(!is_right(b"s3cret", b""));
        assert_eq!(split_answer(b"alice"), None);
    }

    #[test]
    fn the_best_common_digest_is_chosen() {
        let choose = |theirs: &str| Digest::choose(Some(theirs.as_bytes()));
        assert_eq!(choose("sha512 sha256 sha1 md5 md4"), Ok(Digest::Sha512));
        assert_eq!(choose("md4 MD5"), Ok(Digest::Md5));
        assert_eq!(choose("foo sha1 bar"), Ok(Digest::Sha1));
        assert_eq!(choose("foo"), Err(NoCommonDigest(b"foo".to_vec())));
        assert_eq!(Digest::choose(None), Ok(Digest::Md5));
    }

    /// The lengths stock 3.5.0 sends with these digests.
    #[test]
    fn a_challenge_is_as_long_as_its_digest_in_base64() {
        for (digest, len) in [(Digest::Sha512, 86), (Digest::Md5, 22)] {
            let one = challenge(digest, [1; 32]);
            assert_eq!(one.len(), len);
            assert_ne!(one, challenge(digest, [2; 32]));
        }
    }
}
