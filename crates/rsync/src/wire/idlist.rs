//! Names of users and groups: in the entries of incremental lists, else in tables behind the list.
//!
//! Source: the rsync protocol as recorded between two stock 3.5.0 peers.

/// Names that came with a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdNames {
    /// Users by id, each once in a connection.
    pub users: Vec<(u32, Box<[u8]>)>,
    /// Groups by id, each once in a connection.
    pub groups: Vec<(u32, Box<[u8]>)>,
}

/// What a sender knows of the ids of its host: nothing where they are to stay numbers.
pub trait Names {
    /// A user's name: 1 to 255 bytes.
    fn user(&mut self, uid: u32) -> Option<Vec<u8>>;

    /// A group's.
    fn group(&mut self, gid: u32) -> Option<Vec<u8>>;
}
