//! Messages to test with.

use barge_types::{
    Changes, Class, Device, Entry, Failure, Kind, Meta, Mode, Name, Outcome, Owner, RelPath, Side,
    Tally, Timestamp, Xattr, XattrName,
};
use bytes::Bytes;
use proptest::prelude::*;

use crate::control::{AbortCode, Control, DirId, Ending, Item, LinkGroup, Segment, SegmentId, Tie};

pub(crate) fn meta() -> Meta {
    let xattr = |name: &[u8]| Xattr {
        name: XattrName::new(name).unwrap(),
        value: (*b"value").into(),
    };
    Meta {
        mode: Mode::new(0o4755).unwrap(),
        owner: Owner::new(u32::MAX - 1, 7).unwrap(),
        mtime: Timestamp::new(-3, 999_999_999).unwrap(),
        xattrs: vec![xattr(b"trusted.a"), xattr(b"user.b")],
    }
}

/// One entry of every kind and tie; the first is a regular file.
pub(crate) fn items() -> Vec<Item> {
    let device = Device {
        major: u32::MAX,
        minor: 3,
    };
    let group = LinkGroup(9);
    let kinds = [
        (Kind::File { size: 1 << 40 }, Tie::None),
        (Kind::Directory, Tie::Directory(DirId(1))),
        (
            Kind::Symlink {
                target: (*b"\xff/../x").into(),
            },
            Tie::None,
        ),
        (Kind::CharDevice(device), Tie::Leader(group)),
        (
            Kind::BlockDevice(device),
            Tie::Follower { group, last: false },
        ),
        (Kind::Fifo, Tie::Follower { group, last: true }),
        (Kind::Socket, Tie::None),
    ];
    let item = |(n, (kind, tie)): (usize, (Kind, Tie))| Item {
        entry: Entry {
            name: Name::new(format!("name {n}\n").as_bytes()).unwrap(),
            kind,
            meta: Meta {
                xattrs: if n % 2 == 0 {
                    meta().xattrs
                } else {
                    Vec::new()
                },
                mtime: Timestamp::new(i64::MAX - n as i64, n as u32).unwrap(),
                ..meta()
            },
        },
        tie,
        digest: (n == 0).then_some(u128::MAX - 5),
    };
    kinds.into_iter().enumerate().map(item).collect()
}

pub(crate) fn failure() -> Failure {
    Failure {
        side: Side::Source,
        op: "openat".into(),
        errno: 13,
        class: Class::Denied,
    }
}

fn endings() -> Vec<Ending> {
    let changes = Changes::CONTENT | Changes::MTIME;
    [
        Outcome::Unchanged,
        Outcome::Unchanged,
        Outcome::Created,
        Outcome::Updated(changes),
        Outcome::Metadata(Changes::MODE),
        Outcome::Linked,
        Outcome::Failed(failure()),
    ]
    .map(Ending::Outcome)
    .into_iter()
    .chain([Ending::Redo, Ending::Later, Ending::Later])
    .collect()
}

/// Every message of the control lane.
pub(crate) fn controls() -> Vec<Control> {
    let path = RelPath::new(b"a/b\xff").unwrap();
    let tally = Tally {
        unchanged: 1,
        failed: 1 << 59,
        ..Tally::default()
    };
    vec![
        Control::Open {
            dir: DirId(0),
            path: RelPath::root(),
            meta: Some(meta()),
        },
        Control::Open {
            dir: DirId(8),
            path: path.clone(),
            meta: None,
        },
        Control::Segment(Segment {
            id: SegmentId(3),
            dir: DirId(0),
            last: true,
            clean: false,
            items: items(),
        }),
        Control::ListEnd {
            items: 1 << 33,
            tally,
        },
        Control::Goodbye,
        Control::Want {
            segment: SegmentId(u32::MAX),
            indexes: vec![0, 65535],
        },
        Control::Done {
            segment: SegmentId(1),
            endings: endings(),
        },
        Control::Notice {
            path,
            outcome: Outcome::Deleted,
        },
        Control::Finished {
            tally,
            undeleted: 12,
        },
        Control::Abort {
            code: AbortCode::TargetFull,
            text: "full".into(),
            tally,
        },
    ]
}

/// Any bytes as a message's payload.
pub(crate) fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}
