//! Arguments that nobody means well.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use barge_rsync::options::{
    Command, Environment, Policy, Transport, parse, parse_connection, parse_server, server_args,
};
use proptest::prelude::*;

/// Flags as they are spelled, bundles, values, and bytes of any kind.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let names = include_str!("names.txt").split_whitespace();
    let names: Vec<&str> = names.filter(|name| name.starts_with('-')).collect();
    let name = prop::sample::select(names);
    let value = prop_oneof![
        any::<Vec<u8>>(),
        "[0-9]{0,25}[.]?[0-9]{0,3}[bkmgtpKiB+-]{0,4}".prop_map(String::into_bytes),
        "(all|none|del|name2|md5|zlib|xxh3|auto|,|:|/|\\.|-|=){0,5}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        name.clone().prop_map(|name| name.as_bytes().to_vec()),
        (name, value.clone()).prop_map(|(name, value)| [name.as_bytes(), b"=", &value].concat()),
        "-[a-zA-Z0-9@]{1,8}(e\\.[a-zA-Z]{0,8})?".prop_map(String::into_bytes),
        value,
    ]
}

proptest! {
    #[test]
    fn no_words_make_a_parser_panic(
        words in prop::collection::vec(word(), 0..12),
        patterns in "[!*?a-z \\[\\]-]{0,20}",
        split in any::<prop::sample::Index>(),
    ) {
        let os: Vec<OsString> = words.iter().cloned().map(OsString::from_vec).collect();
        let _ = parse_server(&os, None);
        let policy = Policy { refuse: patterns.into_bytes() };
        let (first, second) = words.split_at(split.index(words.len() + 1));
        for second in [None, Some(second)] {
            if let Err(refusal) = parse_connection(first, second, &policy) {
                prop_assert_eq!(refusal.exit_code, 4);
                prop_assert!(!refusal.text.is_empty());
            }
        }
        let Ok(Command::Client(mut options)) = parse(&os, &Environment::default()) else {
            return Ok(());
        };
        for transport in [Transport::Shell, Transport::Daemon] {
            for sender in [false, true] {
                options.sender = sender;
                let args = server_args(&options, &os, transport);
                prop_assert_eq!(&args.first[0], "--server");
            }
        }
    }
}
