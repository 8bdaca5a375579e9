//! What `--chmod` makes of a mode.
//!
//! Source: rsync(1), «--chmod», and rsync 3.5.0 as it behaves.

/// The parts of one or more `--chmod` options, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chmod(Vec<Part>);

/// One part between commas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Part {
    /// Directories only, or everything but those; unset: all.
    dirs: Option<bool>,
    action: Action,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    /// These twelve bits and no others.
    Octal(u32),
    /// `who`, `op` and permissions.
    Symbolic { who: Who, op: Op, perms: Perms },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Op {
    Add,
    Take,
    Set,
}

/// Whose permissions, and which bits of those may be touched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Who {
    user: bool,
    group: bool,
    other: bool,
    /// Nobody was named: then the umask decides.
    masked: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Perms {
    /// `r`, `w`, `x` as bits, `X`, `s`, `t`.
    Bits {
        rwx: u32,
        some_x: bool,
        set_id: bool,
        sticky: bool,
    },
    /// Those that the owner (6), the group (3) or all others (0) have: how far to shift the mode.
    Of(u32),
}

impl Chmod {
    /// Reads the parts of an option and adds them. Whether they are parts.
    pub fn add(&mut self, text: &[u8]) -> bool {
        let parts: Option<Vec<Part>> = text.split(|&byte| byte == b',').map(part).collect();
        let is_fine = parts.is_some();
        self.0.extend(parts.into_iter().flatten());
        is_fine
    }

    /// Whether modes stay as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What becomes of `st_mode`, whose kind stays.
    #[must_use]
    pub fn apply(&self, st_mode: u32, is_dir: bool, umask: u32) -> u32 {
        let concerns = |part: &&Part| part.dirs.is_none_or(|dirs| dirs == is_dir);
        let parts = self.0.iter().filter(concerns);
        // What `X` does depends on the mode that came, whatever parts before it did.
        let executes = is_dir || st_mode & 0o111 != 0;
        parts.fold(st_mode, |mode, part| match part.action {
            Action::Octal(bits) => mode & !0o7777 | bits,
            Action::Symbolic { who, op, perms } => symbolic(mode, executes, umask, who, op, perms),
        })
    }
}

fn symbolic(mode: u32, executes: bool, umask: u32, who: Who, op: Op, perms: Perms) -> u32 {
    let rwx = match perms {
        Perms::Of(shift) => mode >> shift & 7,
        Perms::Bits { rwx, some_x, .. } => rwx | u32::from(some_x && executes),
    };
    let mut bits = who.spread(rwx, umask);
    if let Perms::Bits { set_id, sticky, .. } = perms {
        bits |= who.set_ids(set_id) | if sticky { 0o1000 } else { 0 };
    }
    match op {
        Op::Add => mode | bits,
        Op::Take => mode & !bits,
        Op::Set => {
            let special = match perms {
                Perms::Of(_) => who.specials(),
                Perms::Bits { .. } => 0,
            };
            mode & !(who.spread(7, 0) | special) | bits
        }
    }
}

impl Who {
    /// Gives permissions to all who are meant.
    fn spread(self, rwx: u32, umask: u32) -> u32 {
        let places = [(self.user, 6), (self.group, 3), (self.other, 0)];
        let given = places.iter().filter(|(meant, _)| *meant);
        let bits = given.fold(0, |bits, (_, shift)| bits | rwx << shift);
        match self.masked {
            true => bits & !umask,
            false => bits,
        }
    }

    /// `s`: of the group alone only where that alone is meant; of nobody in particular, the owner's.
    fn set_ids(self, wanted: bool) -> u32 {
        if !wanted {
            return 0;
        }
        let user = if self.user && !self.masked { 0o4000 } else { 0 };
        let group = if self.group && !self.masked {
            0o2000
        } else {
            0
        };
        match user | group {
            0 => 0o4000,
            bits => bits,
        }
    }

    /// The special bits that go with the permissions when those are copied.
    fn specials(self) -> u32 {
        let places = [
            (self.user, 0o4000),
            (self.group, 0o2000),
            (self.other, 0o1000),
        ];
        let meant = places.iter().filter(|(meant, _)| *meant);
        meant.fold(0, |bits, (_, bit)| bits | bit)
    }
}

fn part(text: &[u8]) -> Option<Part> {
    let (dirs, rest) = match text {
        [b'D', rest @ ..] => (Some(true), rest),
        [b'F', rest @ ..] => (Some(false), rest),
        rest => (None, rest),
    };
    let action = match rest.first()? {
        b'0'..=b'9' => Action::Octal(octal(rest)?),
        _ => action(rest)?,
    };
    Some(Part { dirs, action })
}

fn octal(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let bits = u32::from_str_radix(text, 8).ok()?;
    (bits <= 0o7777).then_some(bits)
}

fn action(text: &[u8]) -> Option<Action> {
    let at = text.iter().position(|byte| b"+-=".contains(byte))?;
    let (who, rest) = text.split_at(at);
    let op = match rest[0] {
        b'+' => Op::Add,
        b'-' => Op::Take,
        _ => Op::Set,
    };
    Some(Action::Symbolic {
        who: named(who)?,
        op,
        perms: perms(&rest[1..])?,
    })
}

fn named(letters: &[u8]) -> Option<Who> {
    let masked = letters.is_empty();
    let mut who = Who {
        user: masked,
        group: masked,
        other: masked,
        masked,
    };
    for letter in letters {
        match letter {
            b'u' => who.user = true,
            b'g' => who.group = true,
            b'o' => who.other = true,
            b'a' => (who.user, who.group, who.other) = (true, true, true),
            _ => return None,
        }
    }
    Some(who)
}

fn perms(letters: &[u8]) -> Option<Perms> {
    match letters {
        b"u" => return Some(Perms::Of(6)),
        b"g" => return Some(Perms::Of(3)),
        b"o" => return Some(Perms::Of(0)),
        _ => {}
    }
    let (mut rwx, mut some_x, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters {
        match letter {
            b'r' => rwx |= 4,
            b'w' => rwx |= 2,
            b'x' => rwx |= 1,
            b'X' => some_x = true,
            b's' => set_id = true,
            b't' => sticky = true,
            _ => return None,
        }
    }
    Some(Perms::Bits {
        rwx,
        some_x,
        set_id,
        sticky,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modes of four files and three directories, and what they became, in octal.
    fn assert_made(before: &str, umask: u32, table: &str) {
        let modes = |text: &str| -> Vec<u32> {
            let words = text.split_whitespace();
            words
                .map(|word| u32::from_str_radix(word, 8).unwrap())
                .collect()
        };
        let before = modes(before);
        for line in table.lines().filter(|line| !line.trim().is_empty()) {
            let (option, after) = line.trim().split_once(' ').unwrap();
            let mut chmod = Chmod::default();
            assert!(chmod.add(option.as_bytes()), "{option}");
            let made: Vec<u32> = before
                .iter()
                .enumerate()
                .map(|(at, &mode)| chmod.apply(mode, at > 3, umask))
                .collect();
            assert_eq!(made, modes(after), "{option}");
        }
    }

    // All tables: what rsync 3.5.0 made of a tree with `-a --chmod=…`.

    #[test]
    fn modes_become_what_rsync_makes_of_them() {
        let table = "
            u+w 644 755 600 4755 755 700 2775
            +w 644 755 600 4755 755 700 2775
            -w 444 555 400 4555 555 500 2575
            =r 444 444 444 4444 444 444 2444
            go= 600 700 600 4700 700 700 2700
            a+X 644 755 600 4755 755 711 2775
            +X 644 755 600 4755 755 711 2775
            Dg+s 644 755 600 4755 2755 2700 2775
            F644 644 644 644 644 755 700 2775
            D755,F600 600 600 600 600 755 755 755
            ug=rwx,o=rX 774 775 774 4775 775 775 2775
            u=g 444 555 0 555 555 0 2775
            Fu+s 4644 4755 4600 4755 755 700 2775
            D+t 644 755 600 4755 1755 1700 3775
            F+t 1644 1755 1600 5755 755 700 2775
            u-s 644 755 600 755 755 700 2775
            777 777 777 777 777 777 777 777
            0 0 0 0 0 0 0 0
            Do-rwx,Fo=r 644 754 604 4754 750 700 2770
            a= 0 0 0 4000 0 0 2000
            = 0 0 0 4000 0 0 2000
            =rwX 644 755 644 4755 755 755 2755
            g+st 3644 3755 3600 7755 3755 3700 3775
            o+s 4644 4755 4600 4755 4755 4700 6775
            ugo+s 6644 6755 6600 6755 6755 6700 6775
            u+t 1644 1755 1600 5755 1755 1700 3775
            4755 4755 4755 4755 4755 4755 4755 4755
            F04755 4755 4755 4755 4755 755 700 2775
            + 644 755 600 4755 755 700 2775
            a+st 7644 7755 7600 7755 7755 7700 7775
            uo+s 4644 4755 4600 4755 4755 4700 6775
            g=s 2604 2705 2600 6705 2705 2700 2705
            u=s 4044 4055 4000 4055 4055 4000 6075
            Fa+x,D-x 755 755 711 4755 644 600 2664
            ug+Xw 664 775 620 4775 775 730 2775
            u=X 44 155 0 4155 155 100 2175
            g=X,o+X 604 715 600 4715 715 711 2715
            D=rwxs 644 755 600 4755 4755 4755 6755
            F+s 4644 4755 4600 4755 755 700 2775";
        assert_made("644 755 600 4755 755 700 2775", 0o022, table);
    }

    #[test]
    fn permissions_of_others_are_copied_as_rsync_copies_them() {
        let table = "
            u=g 444 555 0 554 555 1777 2775
            g=u 664 775 660 4774 775 1777 775
            o=u 646 757 606 4757 757 777 2777
            g+u 664 775 660 4774 775 1777 2775
            g-u 604 705 600 4704 705 1707 2705
            ug=o 444 555 0 444 555 1777 555
            a=u 666 777 666 777 777 777 777
            o+g 644 755 600 4755 755 1777 2777
            =u 644 755 644 755 755 755 755
            +u 644 755 644 4755 755 1777 2775
            a+u 666 777 666 4777 777 1777 2777
            u+g,o+r 644 755 604 4754 755 1777 2775
            a=g 444 555 0 555 555 777 777
            u-g 244 255 600 4254 255 1077 2075
            a-u 0 0 0 4000 0 1000 2000
            u=o 444 555 0 454 555 1777 2575
            -u 0 0 0 4000 0 1022 2020
            =g 444 555 0 555 555 755 755";
        assert_made("644 755 600 4754 755 1777 2775", 0o022, table);
    }

    #[test]
    fn umask_counts_where_nobody_is_named() {
        let table = "
            =rwx 700 700 700 4700 700 1700 2700
            +x 744 755 700 4754 755 1777 2775
            a+x 755 755 711 4755 755 1777 2775
            = 0 0 0 4000 0 1000 2000";
        assert_made("644 755 600 4754 755 1777 2775", 0o077, table);
    }

    #[test]
    fn what_rsync_refuses_is_refused() {
        for option in [
            "DF+w", "u+rw-x", "u+r,", ",u+r", "u+z", "D", "u", "x+r", "77777", "8", " u+r", "u=gr",
            "u=ug", "u=gx", "",
        ] {
            assert!(!Chmod::default().add(option.as_bytes()), "{option}");
        }
    }
}
