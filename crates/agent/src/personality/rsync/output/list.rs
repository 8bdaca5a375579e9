//! Lines of `--list-only`.

use barge::over_rsync::Item;

use super::clock::local_time;
use super::number;

/// One line, unescaped and without a newline.
///
/// rsync(1), `--list-only`: permissions, size, time, name, and a symbolic link's target where links
/// travel as links.
pub(super) fn line(item: &Item<'_>, human: u8) -> Vec<u8> {
    let size = number::whole(item.size, human);
    let width = if human == 0 { 11 } else { 14 };
    let mut line = format!(
        "{}{} {size:>width$} {} ",
        kind(item.mode),
        permissions(item.mode),
        local_time(item.mtime.0, ' ')
    )
    .into_bytes();
    line.extend_from_slice(item.name);
    if let Some(target) = item.link {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line
}

/// The nine letters of ls(1).
pub(super) fn permissions(mode: u32) -> String {
    let mut letters = ['r', 'w', 'x', 'r', 'w', 'x', 'r', 'w', 'x'];
    for (n, letter) in letters.iter_mut().enumerate() {
        if mode & (0o400 >> n) == 0 {
            *letter = '-';
        }
    }
    for (bit, at, with, without) in [
        (0o4000, 2, 's', 'S'),
        (0o2000, 5, 's', 'S'),
        (0o1000, 8, 't', 'T'),
    ] {
        if mode & bit != 0 {
            letters[at] = if letters[at] == 'x' { with } else { without };
        }
    }
    String::from_iter(letters)
}

fn kind(mode: u32) -> char {
    match mode & super::KIND {
        super::DIRECTORY => 'd',
        super::SYMLINK => 'l',
        super::CHARACTER_DEVICE => 'c',
        super::BLOCK_DEVICE => 'b',
        super::FIFO => 'p',
        super::SOCKET => 's',
        _ => '-',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::personality::rsync::output::tests::item;

    /// Lines of `rsync --list-only -l` 3.5.0 with `TZ=UTC`.
    const CAPTURED: &str = include_str!("../../../../tests/captured/listing.txt");

    #[test]
    fn lines_look_as_captured_from_rsync() {
        let kind = |name: &str| match name {
            "block" => super::super::BLOCK_DEVICE | 0o640,
            "char" => super::super::CHARACTER_DEVICE | 0o640,
            "fifo" => super::super::FIFO | 0o640,
            "socket" => super::super::SOCKET | 0o640,
            "link" => super::super::SYMLINK | 0o777,
            mode => 0o100_000 | u32::from_str_radix(mode, 8).unwrap(),
        };
        for captured in CAPTURED.lines() {
            let words: Vec<&str> = captured.split_whitespace().collect();
            let name = words[4];
            let mut entry = item(name, kind(name), 0);
            entry.size = words[1].replace(',', "").parse().unwrap();
            entry.mtime.0 = match name {
                "0000" => -1,
                "0644" => -2_000_000_000,
                "7777" => 4_000_000_000,
                _ => 1_234_567_890,
            };
            entry.link = (name == "link").then_some(b"target");
            let line = String::from_utf8(line(&entry, 1)).unwrap();
            // The zone of whoever runs the tests is not what is tested.
            assert_eq!(without_time(&line), without_time(captured));
        }
    }

    fn without_time(line: &str) -> String {
        line[..25].to_owned() + &line[45..]
    }

    #[test]
    fn sizes_stand_in_a_narrower_column_without_digit_groups() {
        let entry = item("f", 0o100_644, 0);
        let line = |human| String::from_utf8(line(&entry, human)).unwrap();
        assert!(
            line(0).starts_with("-rw-r--r--           5 "),
            "{}",
            line(0)
        );
        assert!(
            line(1).starts_with("-rw-r--r--              5 "),
            "{}",
            line(1)
        );
    }
}
