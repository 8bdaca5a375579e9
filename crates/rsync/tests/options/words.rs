//! Words of command lines, in lines of a file.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use barge_rsync::options::Environment;

/// The variables in front of a command line, and the rest of it.
pub(crate) fn environment(line: &[OsString]) -> (Environment, &[OsString]) {
    let is_variable = |word: &&OsString| word.as_bytes().starts_with(b"RSYNC_");
    let (variables, rest) = line.split_at(line.iter().take_while(is_variable).count());
    let environment = Environment::read(|name| {
        let mut values = variables.iter().filter_map(|variable| {
            let value = variable.as_bytes().strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        });
        values
            .next()
            .map(|value| OsString::from_vec(value.to_vec()))
    });
    (environment, rest)
}

pub(crate) fn spell(words: &[OsString]) -> String {
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    spell_bytes(&words)
}

pub(crate) fn spell_bytes(words: &[Vec<u8>]) -> String {
    let words = words.iter().map(|word| match &word[..] {
        b"" => "''".to_owned(),
        word => word.iter().map(spell_byte).collect(),
    });
    words.collect::<Vec<String>>().join(" ")
}

fn spell_byte(byte: &u8) -> String {
    match byte {
        b'!'..=b'~' if *byte != b'\\' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    }
}

pub(crate) fn read(words: &str) -> Vec<Vec<u8>> {
    let word = |word: &str| {
        let mut parts = word.split("\\x");
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        bytes
    };
    words
        .split(' ')
        .map(|text| if text == "''" { Vec::new() } else { word(text) })
        .collect()
}
